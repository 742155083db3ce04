/* trainer/dry_run.c: see dry_run.h. */
#include "trainer/dry_run.h"

#include <inttypes.h>
#include <string.h>

#include "trainer/deem.h"
#include "trainer/param_groups.h"
#include "trainer/setup.h"

/* The dead CLIP projection that the authors' trainer counts in stage I (spec model.md 2.2.2). */
static const int64_t UNUSED_PROJECTION = 2131200;

/* The first pattern that a name holds says its part; in the order of spec model.md 2.10. */
static const struct {
    const char *pattern, *part;
} part_of_name[] = {
    { "llama_cross_attn", "LLM cross-attention" },
    { "mm_decoder.layers.", "LLaMA layers" },
    { "mm_decoder.", "embeddings, final norm" },
    { "text_decoder.head_new", "new rows of the head" },
    { "text_decoder.head", "text head" },
    { "vision_model.visual.trunk.", "ConvNeXt trunk" },
    { "vision_model.adapter_", "adapters" },
    { "visual_tokenizer.pos_", "position projection, norms" },
    { "visual_tokenizer.post_ln", "position projection, norms" },
    { "visual_tokenizer.perceiver_resampler.", "Perceiver #1" },
    { "visual_tokenizer.proj_", "proj_t, proj_i" },
    { "visual_tokenizer.feature_extractor.", "mask-aware extractor" },
    { "visual_tokenizer.encoder.unet.", "UNet" },
    { "visual_tokenizer.encoder.vae.", "VAE" },
    { "visual_tokenizer.encoder.mmfs_module.", "MMFSNet" },
    { "image_decoder.neg_prompt_embeds", "neg_prompt_embeds" },
    { "image_decoder.", "Perceiver #2" },
    { "context_feat_proj.", "context_feat_proj" },
    { "soi_token", "soi_token" },
    { "", "rest" },
};

static struct dry_part *find_part(struct dry_run *d, const char *name)
{
    size_t k = 0;
    while (!strstr(name, part_of_name[k].pattern)) /* the last pattern is in every name */
        k++;
    for (int i = 0; i < d->n_parts; i++)
        if (strcmp(d->part[i].name, part_of_name[k].part) == 0)
            return &d->part[i];
    d->part[d->n_parts].name = part_of_name[k].part;
    return &d->part[d->n_parts++];
}

static void count_parameters(struct dry_run *d, const struct params *params,
                             const struct group_rules *rules)
{
    for (size_t i = 0; i < params->count; i++) {
        const struct param *q = &params->list[i];
        if (q->buffer) {
            d->buffers += q->count;
            continue;
        }
        struct dry_part *part = find_part(d, q->name);
        const bool trains = param_state(rules, q->name) == PARAM_TRAINS;
        part->tensors++;
        part->parameters += q->count;
        part->trainable += trains ? q->count : 0;
        d->parameters += q->count;
        d->trainable += trains ? q->count : 0;
        d->reached += q->trainable ? q->count : 0;
    }
}

/* Rows and tokens are the recipe's; pictures as asked, or what a row of the stage usually has. */
static struct deem_shape planned_shape(const struct recipe *r)
{
    const int64_t usual = r->stage == STAGE_2 ? 1 : r->stage == STAGE_3 ? 8 : 10;
    const int64_t I = r->batch_images > 0 ? r->batch_images : usual * r->batch_micro;
    const int64_t per_row = (I + r->batch_micro - 1) / r->batch_micro;
    return (struct deem_shape){
        .B = r->batch_micro,
        .L = r->seq_len,
        .I = I,
        .context = r->seq_len,
        .pairs = r->batch_micro * r->seq_len * per_row,
        .passes = r->batch_pictures,
    };
}

static int64_t batch_bytes(const struct program *p)
{
    int64_t bytes = 0;
    for (int t = 1; t < p->n_tensors; t++)
        if (p->tensors[t].place == PLACE_BATCH && p->tensors[t].base == TENSOR_NONE)
            bytes += p->tensors[t].count * (int64_t)role_bytes(p->tensors[t].role, DT_BF16);
    return bytes;
}

static enum status plan_program(struct dry_run *d, const struct deem *m, struct error *err)
{
    struct memory_plan *plan = NULL;
    const int losses = (m->options.weight_nip != 0.0) + (m->options.weight_csr != 0.0);
    const double runs = (double)(losses * m->shape.I) / (double)m->shape.passes;
    enum status st = planner_open(&plan, m->p, DT_BF16, err);
    if (st == ST_OK)
        st = cost_count(&d->cost, m->p, plan, runs, err);
    if (st == ST_OK) {
        d->arena_bytes = plan->arena_bytes;
        d->live_bytes = plan->live_bytes;
        d->batch_bytes = batch_bytes(m->p);
    }
    planner_close(&plan);
    return st;
}

enum status dry_run_make(struct dry_run *out, const struct recipe *r, struct error *err)
{
    struct deem_config config;
    struct deem_options options;
    struct group_rules rules;
    struct params *params = NULL;
    struct deem *m = NULL;
    enum status st = ST_FAIL;
    const struct deem_shape shape = planned_shape(r);
    *out = (struct dry_run){ .rows = shape.B, .tokens = shape.B * shape.L, .pictures = shape.I };
    group_rules_from_recipe(&rules, r);
    setup_model(&config, r);
    setup_losses(&options, r);
    if (params_open(&params, param_reached, &rules, err) != ST_OK ||
        deem_declare(&config, r->stage != STAGE_3, params, err) != ST_OK ||
        deem_open(&m, &config, &shape, &options, params, err) != ST_OK)
        goto done;
    count_parameters(out, params, &rules);
    st = plan_program(out, m, err);
done:
    deem_close(&m);
    params_close(&params);
    return st;
}

static enum status print_parameters(struct buffer *out, const struct dry_run *d,
                                    const struct recipe *r, struct error *err)
{
    enum status st = buffer_printf(out, err, "%-28s %8s %16s %16s\n", "parameters", "tensors",
                                   "all", "trainable");
    for (int i = 0; i < d->n_parts && st == ST_OK; i++)
        st = buffer_printf(out, err, "%-28s %8" PRId64 " %16" PRId64 " %16" PRId64 "\n",
                           d->part[i].name, d->part[i].tensors, d->part[i].parameters,
                           d->part[i].trainable);
    if (st == ST_OK)
        st = buffer_printf(out, err, "%-28s %8s %16" PRId64 " %16" PRId64 "\n", "sum", "",
                           d->parameters, d->trainable);
    if (st == ST_OK && r->stage == STAGE_1)
        st = buffer_printf(out, err, "%-28s %8s %16s %16" PRId64 "\n", "as the authors count", "",
                           "", d->trainable + UNUSED_PROJECTION);
    if (st == ST_OK)
        st = buffer_printf(out, err, "%-28s %8s %16s %16" PRId64 "\n\n", "reached by a loss", "",
                           "", d->reached);
    return st;
}

static enum status print_cost(struct buffer *out, const struct dry_run *d, struct error *err)
{
    const double tera = 1e-12, giga = 1e-9;
    enum status st = buffer_printf(
        out, err,
        "one micro-batch: %" PRId64 " rows, %" PRId64 " tokens, %" PRId64 " pictures\n"
        "%-28s %8s %14s %14s %12s\n",
        d->rows, d->tokens, d->pictures, "part", "nodes", "model TFLOP", "done TFLOP", "peak GB");
    for (int i = 0; i < d->cost.n_parts && st == ST_OK; i++) {
        const struct cost_part *c = &d->cost.part[i];
        st = buffer_printf(out, err, "%-28s %8" PRId64 " %14.2f %14.2f %12.3f\n",
                           c->name[0] ? c->name : "rest", c->nodes, c->model * tera,
                           c->hardware * tera, (double)c->peak_bytes * giga);
    }
    if (st == ST_OK)
        st = buffer_printf(out, err, "%-28s %8" PRId64 " %14.2f %14.2f\n\n", "sum", d->cost.nodes,
                           d->cost.model * tera, d->cost.hardware * tera);
    return st;
}

/* Bytes a parameter: weight 2, gradient 4, and for the optimizer low bits 2, m 4, v 4 (gpu.md 4.6). */
static enum status print_memory(struct buffer *out, const struct dry_run *d, struct error *err)
{
    const double giga = 1e-9;
    const double weights = 2.0 * (double)(d->parameters + d->buffers);
    const double gradients = 4.0 * (double)d->reached, state = 10.0 * (double)d->reached;
    const double arena = (double)d->arena_bytes, batch = (double)d->batch_bytes;
    return buffer_printf(out, err,
                         "memory, one rank, bf16 storage                GB\n"
                         "weights                              %11.3f\n"
                         "gradients, float32                   %11.3f\n"
                         "optimizer state                      %11.3f\n"
                         "batch                                %11.3f\n"
                         "arena, planned peak                  %11.3f\n"
                         "  largest sum of live tensors        %11.3f\n"
                         "sum                                  %11.3f\n",
                         weights * giga, gradients * giga, state * giga, batch * giga, arena * giga,
                         (double)d->live_bytes * giga,
                         (weights + gradients + state + batch + arena) * giga);
}

enum status dry_run_print(struct buffer *out, const struct dry_run *d, const struct recipe *r,
                          struct error *err)
{
    if (print_parameters(out, d, r, err) != ST_OK || print_cost(out, d, err) != ST_OK)
        return ST_FAIL;
    return print_memory(out, d, err);
}
