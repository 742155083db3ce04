/* trainer/nn_vistok.c: see nn_vistok.h. */
#include "trainer/nn_vistok.h"

#include <stdio.h>

#include "trainer/op.h"

static const float VISTOK_EPS = 1e-6f;

struct writer {
    struct program *p;
    const struct vistok_config *c;
    const struct vistok_inputs *in;
    const char *prefix;
    int64_t I;
};

static int dense(struct writer *w, int x, int64_t in, int64_t out, const char *name)
{
    const int m = program_param(w->p, (int64_t[]){ out, in }, 2, "%s%s.weight", w->prefix, name);
    const int b = program_param(w->p, (int64_t[]){ out }, 1, "%s%s.bias", w->prefix, name);
    return op_linear(w->p, x, m, b);
}

static int norm(struct writer *w, int x, const char *name)
{
    const int64_t F = w->c->width;
    const int g = program_param(w->p, &F, 1, "%s%s.weight", w->prefix, name);
    const int b = program_param(w->p, &F, 1, "%s%s.bias", w->prefix, name);
    return op_layernorm(w->p, x, g, b, VISTOK_EPS);
}

/* [side,side,F] as [side^2,F] behind a row of zeros, the CLS token's. */
static int with_cls_row(struct writer *w, int table, int64_t side)
{
    const int64_t F = w->c->width;
    const int rows = program_reshape(w->p, table, (int64_t[]){ side * side, F }, 2);
    const int zeros = op_constant(w->p, ROLE_STORAGE, (int64_t[]){ 1, F }, 2, 0.0f);
    return op_concat(w->p, zeros, rows, 0);
}

static void make_tables(struct writer *w, struct vistok *t)
{
    const int base = op_grid_table(w->p, w->c->grid, w->c->width);
    t->pos_embed = with_cls_row(w, base, w->c->grid);
    for (int l = 0; l < VISTOK_LEVELS; l++)
        t->pos[l] = op_resize_table(w->p, base, vistok_side(w->c, l));
    t->pos_tokens = with_cls_row(w, t->pos[2], vistok_side(w->c, 2)); /* c4 has the tokens' side */
}

static void make_features(struct writer *w, struct vistok *t)
{
    for (int l = 0; l < VISTOK_LEVELS; l++) {
        t->feature[l] = op_add_table(w->p, w->in->adapted[l], t->pos[l]);
        if (w->in->mask != TENSOR_NONE)
            t->mask[l] = op_resize_mask(w->p, w->in->mask, vistok_side(w->c, l), true);
    }
}

/* G of 2.2.5: rows outside the region are zero before the last norm, the CLS row never. */
static int make_tokens(struct writer *w, const struct vistok *t)
{
    const int64_t F = w->c->width, side = vistok_side(w->c, 2), n = side * side;
    const int cls = program_reshape(w->p, w->in->cls, (int64_t[]){ w->I, 1, F }, 3);
    const int c4 = program_reshape(w->p, w->in->adapted[2], (int64_t[]){ w->I, n, F }, 3);
    int g = norm(w, dense(w, op_concat(w->p, cls, c4, 1), F, F, "pos_proj"), "pos_ln");
    g = op_add_table(w->p, g, t->pos_tokens);
    if (w->in->mask != TENSOR_NONE) {
        const int one = op_constant(w->p, ROLE_EXACT, (int64_t[]){ w->I, 1 }, 2, 1.0f);
        const int m = program_reshape(w->p, t->mask[2], (int64_t[]){ w->I, n }, 2);
        g = op_scale_rows(w->p, g, op_concat(w->p, one, m, 1));
    }
    return norm(w, g, "post_ln");
}

/* The five mask tokens of 2.2.6: one pooled from each level, one made from the mask itself. */
static int make_mask_tokens(struct writer *w, struct vistok *t)
{
    const int64_t F = w->c->width, n = w->c->mask_side * w->c->mask_side;
    const char *mlp = "feature_extractor.mask_linear.layers.";
    char name[80];
    int tokens = TENSOR_NONE;
    for (int l = 0; l < VISTOK_LEVELS; l++) {
        const int mean = op_pool_mask(w->p, t->feature[l], t->mask[l]);
        const int u = dense(w, mean, F, F, "feature_extractor.mask_feat_linear");
        const int one = program_reshape(w->p, u, (int64_t[]){ w->I, 1, F }, 3);
        tokens = l == 0 ? one : op_concat(w->p, tokens, one, 1);
    }
    const int small = op_resize_mask(w->p, w->in->mask, w->c->mask_side, false);
    t->mlp_input = program_reshape(w->p, small, (int64_t[]){ w->I, n }, 2);
    int x = t->mlp_input;
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%d", mlp, i);
        x = dense(w, x, i == 0 ? n : F, F, name);
        x = i < 2 ? op_relu(w->p, x) : x;
    }
    return op_concat(w->p, tokens, program_reshape(w->p, x, (int64_t[]){ w->I, 1, F }, 3), 1);
}

void nn_vistok_perceive(struct program *p, const struct vistok_config *c, struct vistok *t,
                        int tokens, const char *prefix, const char *probe, const char *suffix,
                        bool probe_last)
{
    struct writer w = { .p = p, .c = c, .prefix = prefix };
    char name[160];
    if (p->failed)
        return;
    const struct qformer_keys keys = { .images = program_axis(p, tokens, 0),
                                       .length = program_axis(p, tokens, 1),
                                       .tokens = tokens };
    snprintf(name, sizeof name, "%sperceiver_resampler.", prefix);
    t->v = nn_qformer(p, &c->perceiver, &keys, name, probe, suffix, probe_last);
    t->vis_embed = dense(&w, t->v, c->perceiver.hidden, c->llm_width, "proj_t");
    t->dif_embed = dense(&w, t->v, c->perceiver.hidden, c->diffusion_width, "proj_i");
}

struct vistok nn_vistok(struct program *p, const struct vistok_config *c,
                        const struct vistok_inputs *in, const char *prefix, const char *probe,
                        const char *suffix, bool probe_last)
{
    struct vistok t = { 0 };
    struct writer w = { .p = p, .c = c, .in = in, .prefix = prefix };
    if (c->side % 32 || c->width % 4) {
        program_fault(p, "side %d is not divisible by 32, or width %d by 4", (int)c->side,
                      (int)c->width);
        return t;
    }
    if (c->mask_align && in->mask == TENSOR_NONE)
        program_fault(p, "mask tokens need a region mask");
    if (p->failed)
        return t;
    w.I = program_axis(p, in->cls, 0);
    make_tables(&w, &t);
    make_features(&w, &t);
    t.tokens = make_tokens(&w, &t);
    int all = t.tokens;
    if (c->mask_align) {
        t.mask_tokens = make_mask_tokens(&w, &t);
        all = op_concat(p, t.mask_tokens, t.tokens, 1);
    }
    nn_vistok_perceive(p, c, &t, all, prefix, probe, suffix, probe_last);
    return t;
}
