/* cli/golden_mmfs.c: module case "mmfs". The program works on lists of visible pairs and keeps queries
 * and the table of relative positions apart; what the case wants per (query, picture) is put together
 * here from the probes. */
#include <math.h>
#include <string.h>

#include "cli/golden.h"
#include "trainer/nn_mmfs.h"

struct mmfs_case {
    struct mmfs_config c;
    int64_t B, Lq, N;
    const int32_t *visible; /* [B,Lq,N] */
    struct golden_pairs pairs;
};

static void read_levels(struct golden *g, struct mmfs_config *c)
{
    const struct json_value *v = golden_value(g, "config.level_sizes");
    int n = 0;
    for (const struct json_value *l = v ? v->child : NULL; l && n < MMFS_LEVELS_MAX;
         l = l->next, n++)
        if (l->count != 2 || !json_value_int64(l->child, &c->height[n]) ||
            !json_value_int64(l->child->next, &c->width[n]) || c->height[n] < 1 || c->width[n] < 1)
            golden_problem(g, "case.json: config.level_sizes: want pairs of sizes");
    c->levels = golden_ints(g, "config.spatial_shapes", c->shape, MMFS_LEVELS_MAX);
    if (n != c->levels)
        golden_problem(g, "case.json: config.level_sizes: %d levels, want %d", n, c->levels);
}

static void read_config(struct golden *g, struct mmfs_case *m)
{
    struct mmfs_config *c = &m->c;
    c->query_width = golden_int(g, "config.query_width");
    c->value_width = golden_int(g, "config.value_width");
    c->inner_width = golden_int(g, "config.inner_width");
    c->out_width = golden_int(g, "config.out_width");
    c->heads = golden_int(g, "config.heads");
    c->points = golden_int(g, "config.points");
    c->max_images = golden_int(g, "config.max_images");
    c->base = golden_positive(g, "config.base_spatial_shape");
    c->probe = true;
    m->B = golden_int(g, "config.batch");
    m->Lq = golden_int(g, "config.queries");
    m->N = golden_int(g, "config.images");
    read_levels(g, c);
    m->visible = golden_ids(g, "visible", 3, (int64_t[]){ m->B, m->Lq, m->N });
}

enum status golden_pairs_make(struct golden *g, struct golden_pairs *out, const int32_t *visible,
                              int64_t B, int64_t L, int64_t N, int64_t max_images,
                              struct error *err)
{
    const int64_t T = B * L;
    *out = (struct golden_pairs){ .T = T };
    out->begin = arena_alloc(&g->memory, (size_t)T + 1, sizeof *out->begin);
    out->image = arena_alloc(&g->memory, (size_t)(T * N) + 1, sizeof *out->image);
    out->rank = arena_alloc(&g->memory, (size_t)(T * N) + 1, sizeof *out->rank);
    if (!out->begin || !out->image || !out->rank)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: pairs");
    out->begin[0] = 0;
    for (int64_t t = 0; t < T; t++) {
        const int32_t *a = visible + t * N;
        int32_t seen = 0;
        for (int64_t n = 0; n < N; n++)
            seen += a[n] != 0;
        if (seen >= max_images)
            golden_problem(g,
                           "inputs.safetensors: visible: %d pictures in view, but %d relative "
                           "positions",
                           (int)seen, (int)max_images);
        for (int64_t n = 0; n < N; n++)
            if (a[n]) {
                out->image[out->n] = (int32_t)(t / L * N + n);
                out->rank[out->n++] = seen--;
            }
        out->begin[t + 1] = (int32_t)out->n;
    }
    return golden_ready(g, err);
}

struct mmfs_view golden_pairs_view(struct program *p, const struct golden_pairs *pairs,
                                   int64_t points)
{
    const int64_t n = pairs->n > 0 ? pairs->n : 1;
    return (struct mmfs_view){
        .begin = program_batch(p, "pair_begin", ROLE_INDEX, (int64_t[]){ pairs->T + 1 }, 1),
        .image = program_batch(p, "pair_image", ROLE_INDEX, &n, 1),
        .rank = program_batch(p, "pair_rank", ROLE_INDEX, &n, 1),
        .points = program_batch(p, "reference_points", ROLE_EXACT, (int64_t[]){ points, 2 }, 2),
        .queries_per_list = 1,
    };
}

void golden_pairs_set(struct runner *r, const struct program *p, const struct golden_pairs *pairs)
{
    const size_t n = (size_t)pairs->n * sizeof *pairs->image;
    memcpy(runner_data(r, program_find(p, "pair_begin")), pairs->begin,
           ((size_t)pairs->T + 1) * sizeof *pairs->begin);
    memcpy(runner_data(r, program_find(p, "pair_image")), pairs->image, n);
    memcpy(runner_data(r, program_find(p, "pair_rank")), pairs->rank, n);
}

static void write_program(struct program *p, const struct mmfs_case *m)
{
    const int64_t T = m->B * m->Lq, S = mmfs_rows(&m->c);
    const int query =
        program_batch(p, "query", ROLE_STORAGE, (int64_t[]){ T, m->c.query_width }, 2);
    const int features = program_batch(p, "features", ROLE_STORAGE,
                                       (int64_t[]){ m->B * m->N, S, m->c.value_width }, 3);
    const struct mmfs_view view = golden_pairs_view(p, &m->pairs, m->Lq);
    program_require_gradient(p, query);
    program_require_gradient(p, features);
    const int value = nn_mmfs_value(p, &m->c, "", features, TENSOR_NONE, TENSOR_NONE);
    const int out = program_probe(p, nn_mmfs(p, &m->c, "", query, value, &view), "out");
    const int seed =
        program_batch(p, "cotangent.out", ROLE_STORAGE, (int64_t[]){ T, m->c.out_width }, 2);
    program_gradient_seed(p, out, seed);
    program_backward(p, 0, p->n_nodes);
}

static const float *probe(struct runner *r, const struct program *p, const char *name)
{
    return runner_data(r, program_find(p, name));
}

/* What the case wants for every (query, picture), zero where invisible. */
struct pair_view {
    float *offsets, *logits, *locations, *weights, *null_weight;
    int32_t *rank;
};

/* Offsets, logits and locations of pair k of query t. */
static void fill_pair(const struct mmfs_case *m, struct runner *r, const struct program *p,
                      struct pair_view *v, int64_t t, int32_t k)
{
    const struct mmfs_config *c = &m->c;
    const int64_t H = c->heads, P = c->points, Y = c->levels, n = m->pairs.image[k] % m->N;
    const int64_t at = t * m->N + n, rank = m->pairs.rank[k];
    const float *qo = probe(r, p, "query_offsets") + t * H * P * 2;
    const float *ro = probe(r, p, "rank_offsets") + rank * H * P * 2;
    const float *ql = probe(r, p, "query_logits") + t * H * Y * (P + 1);
    const float *rl = probe(r, p, "rank_logits") + rank * H * Y * (P + 1);
    const float *points = probe(r, p, "reference_points") + t % m->Lq * 2;
    v->rank[at] = (int32_t)rank;
    for (int64_t i = 0; i < H * P * 2; i++)
        v->offsets[at * H * P * 2 + i] = qo[i] + ro[i];
    for (int64_t h = 0; h < H; h++)
        for (int64_t y = 0; y < Y; y++)
            for (int64_t q = 0; q < P; q++) {
                const int64_t from = (h * Y + y) * (P + 1) + q;
                const int64_t to = ((at * H + h) * Y + y) * P + q;
                const float *d = v->offsets + ((at * H + h) * P + q) * 2;
                const double scale = (double)c->shape[y] / c->base;
                v->logits[to] = ql[from] + rl[from];
                v->locations[2 * to] =
                    (float)((double)points[0] + (double)d[0] * scale / (double)c->width[y]);
                v->locations[2 * to + 1] =
                    (float)((double)points[1] + (double)d[1] * scale / (double)c->height[y]);
            }
}

/* Softmax over all visible logits of a head and the null slot, whose logit is 0. */
static void fill_weights(const struct mmfs_case *m, struct pair_view *v, int64_t t)
{
    const int64_t H = m->c.heads, row = m->c.levels * m->c.points;
    for (int64_t h = 0; h < H; h++) {
        double sum = 1.0;
        for (int32_t k = m->pairs.begin[t]; k < m->pairs.begin[t + 1]; k++)
            for (int64_t i = 0; i < row; i++) {
                const int64_t at = ((t * m->N + m->pairs.image[k] % m->N) * H + h) * row + i;
                sum += exp((double)v->logits[at]);
            }
        for (int32_t k = m->pairs.begin[t]; k < m->pairs.begin[t + 1]; k++)
            for (int64_t i = 0; i < row; i++) {
                const int64_t at = ((t * m->N + m->pairs.image[k] % m->N) * H + h) * row + i;
                v->weights[at] = (float)(exp((double)v->logits[at]) / sum);
            }
        v->null_weight[t * H + h] = (float)(1.0 / sum);
    }
}

static void put_pairs(struct golden *g, const struct mmfs_case *m, struct runner *r,
                      const struct program *p)
{
    const struct mmfs_config *c = &m->c;
    const int64_t T = m->B * m->Lq, D = c->heads * c->points * 2,
                  Y = c->heads * c->levels * c->points;
    struct pair_view v = {
        .offsets = golden_memory(g, T * m->N * D, 4),
        .logits = golden_memory(g, T * m->N * Y, 4),
        .locations = golden_memory(g, T * m->N * Y * 2, 4),
        .weights = golden_memory(g, T * m->N * Y, 4),
        .null_weight = golden_memory(g, T * c->heads, 4),
        .rank = golden_memory(g, T * m->N, 4),
    };
    if (golden_ready(g, NULL) != ST_OK)
        return;
    for (int64_t t = 0; t < T; t++) {
        for (int32_t k = m->pairs.begin[t]; k < m->pairs.begin[t + 1]; k++)
            fill_pair(m, r, p, &v, t, k);
        fill_weights(m, &v, t);
    }
    golden_put(g, "offsets", v.offsets, T * m->N * D);
    golden_put(g, "logits", v.logits, T * m->N * Y);
    golden_put(g, "locations", v.locations, T * m->N * Y * 2);
    golden_put(g, "weights", v.weights, T * m->N * Y);
    golden_put(g, "null_weight", v.null_weight, T * c->heads);
    golden_put_ids(g, "rank", v.rank, T * m->N);
}

enum status golden_mmfs(struct golden *g, struct error *err)
{
    struct mmfs_case m = { 0 };
    struct params *params = NULL;
    struct program *p = NULL;
    struct runner *r = NULL;
    enum status st = ST_FAIL;
    read_config(g, &m);
    if (golden_ready(g, err) != ST_OK ||
        golden_pairs_make(g, &m.pairs, m.visible, m.B, m.Lq, m.N, m.c.max_images, err) != ST_OK ||
        golden_program(g, &params, &p, err) != ST_OK)
        goto done;
    write_program(p, &m);
    if (golden_runner(g, params, p, &r, err) != ST_OK)
        goto done;
    golden_set(g, r, p, "query");
    golden_set(g, r, p, "features");
    golden_set(g, r, p, "reference_points");
    golden_set(g, r, p, "cotangent.out");
    golden_pairs_set(r, p, &m.pairs);
    if (golden_ready(g, err) != ST_OK || runner_run(r, 0, p->n_nodes, err) != ST_OK)
        goto done;
    golden_put_probes(g, r, p, "");
    golden_put_grad_in(g, r, p, "query");
    golden_put_grad_in(g, r, p, "features");
    golden_put_gradients(g, params);
    put_pairs(g, &m, r, p);
    st = golden_ready(g, err);
done:
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}
