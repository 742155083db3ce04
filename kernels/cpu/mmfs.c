/* kernels/cpu/mmfs.c: the sampling, written like the equations: for each query and head a softmax over
 * all samples of the visible images and the null slot. Locations and weights in double. Forward runs
 * queries in parallel; backward heads, which share no output. */
#include "kernels/mmfs.h"

#include <inttypes.h>

#include "kernels/cpu/cpu_private.h"

enum { LEFT_OUT = -1 };

struct call {
    const struct mmfs_attrs *at;
    int64_t Q, D, d, S, N, R, K; /* d: head width */
    int64_t level_at[MMFS_LEVELS_MAX];
    int64_t off_width, att_width; /* of a row */
    const float *off_q, *off_r, *att_q, *att_r, *value, *ignore, *ref;
    const int32_t *start, *image, *rank;
};

static bool levels_fit(struct call *c)
{
    const struct mmfs_attrs *at = c->at;
    int64_t rows = 0;
    if (at->heads < 1 || at->points < 1 || at->levels < 1 || at->levels > MMFS_LEVELS_MAX ||
        at->queries_per_list < 1 || !(at->base > 0.0f))
        return false;
    for (int l = 0; l < at->levels; l++) {
        if (at->height[l] < 1 || at->width[l] < 1)
            return false;
        c->level_at[l] = rows;
        rows += (int64_t)at->height[l] * at->width[l];
    }
    return rows == c->S;
}

/* `in` starts at off_q. */
static bool call_of(struct call *c, const struct view *in, int64_t Q, int64_t D,
                    const struct mmfs_attrs *at)
{
    *c = (struct call){ .at = at,
                        .Q = Q,
                        .D = D,
                        .N = in[4].shape[0],
                        .S = in[4].shape[1],
                        .R = view_rows(&in[1]),
                        .K = view_rows(&in[6]) };
    if (in[4].rank != 3 || in[4].shape[2] != D || !levels_fit(c) || D % at->heads != 0 ||
        Q % at->queries_per_list != 0)
        return false;
    c->d = D / at->heads;
    c->off_width = (int64_t)at->heads * at->points * 2;
    c->att_width = (int64_t)at->heads * at->levels * (at->points + 1);
    c->off_q = in[0].data;
    c->off_r = in[1].data;
    c->att_q = in[2].data;
    c->att_r = in[3].data;
    c->value = in[4].data;
    c->ignore = in[5].data;
    c->ref = in[6].data;
    c->start = in[7].data;
    c->image = in[8].data;
    c->rank = in[9].data;
    return view_f32(&in[0], Q * c->off_width) && view_f32(&in[1], c->R * c->off_width) &&
           view_f32(&in[2], Q * c->att_width) && view_f32(&in[3], c->R * c->att_width) &&
           view_f32(&in[4], c->N * c->S * D) && view_maybe_f32(&in[5], D) &&
           view_f32(&in[6], c->K * 2) && view_last(&in[6]) == 2 && c->K > 0 &&
           view_is(&in[7], DT_I32, Q / at->queries_per_list + 1) &&
           view_is(&in[8], DT_I32, view_count(&in[8])) &&
           view_is(&in[9], DT_I32, view_count(&in[8]));
}

/* Lists ascend from 0 and name images and ranks that exist. *longest: pairs of the longest list. */
static enum status check_lists(const struct call *c, int64_t capacity, int64_t *longest,
                               struct error *err)
{
    const int64_t lists = c->Q / c->at->queries_per_list;
    *longest = 0;
    for (int64_t i = 0; i < lists; i++) {
        if (c->start[i] < 0 || c->start[i + 1] < c->start[i] || c->start[i + 1] > capacity)
            return error_set(err, ST_FAIL, CAUSE_ARG,
                             "mmfs: list %" PRId64 ": got pairs %" PRId32 " to %" PRId32
                             ", want ascending within %" PRId64,
                             i, c->start[i], c->start[i + 1], capacity);
        *longest = max_i64(*longest, c->start[i + 1] - c->start[i]);
    }
    for (int64_t j = lists ? c->start[0] : 0; j < (lists ? c->start[lists] : 0); j++)
        if (c->image[j] < 0 || c->image[j] >= c->N || c->rank[j] < 1 || c->rank[j] >= c->R)
            return error_set(err, ST_FAIL, CAUSE_ARG,
                             "mmfs: pair %" PRId64 ": got image %" PRId32 ", rank %" PRId32
                             ", want image in [0,%" PRId64 "), rank in [1,%" PRId64 ")",
                             j, c->image[j], c->rank[j], c->N, c->R);
    return ST_OK;
}

/* Channels touched by all samples: what a call costs. */
static int64_t work_of(const struct call *c)
{
    const int64_t pairs =
        c->start[c->Q / c->at->queries_per_list] * (int64_t)c->at->queries_per_list;
    return pairs * c->at->levels * c->at->points * c->D;
}

/* One query and head, and the samples it takes: pair x level x point. */
struct view_point {
    int64_t q, h;
    int64_t begin, end; /* pairs */
    double top, sum,
        null_weight; /* softmax: maximum, sum of exp(logit - top), share of the null slot */
};

static int64_t off_at(const struct call *c, const struct view_point *v, int p)
{
    return (v->h * c->at->points + p) * 2;
}
static int64_t att_at(const struct call *c, const struct view_point *v, int l, int p)
{
    return (v->h * c->at->levels + l) * (c->at->points + 1) + p;
}
static double logit(const struct call *c, const struct view_point *v, int64_t pair, int l, int p)
{
    const int64_t at = att_at(c, v, l, p);
    return (double)c->att_q[v->q * c->att_width + at] +
           (double)c->att_r[c->rank[pair] * c->att_width + at];
}

static struct view_point view_point_at(const struct call *c, int64_t q, int64_t h)
{
    const int64_t list = q / c->at->queries_per_list;
    struct view_point v = { q, h, c->start[list], c->start[list + 1], 0.0, 0.0, 0.0 };
    for (int64_t j = v.begin; j < v.end; j++)
        for (int l = 0; l < c->at->levels; l++)
            for (int p = 0; p < c->at->points; p++)
                v.top = fmax(v.top, logit(c, &v, j, l, p));
    v.sum = exp(-v.top);
    for (int64_t j = v.begin; j < v.end; j++)
        for (int l = 0; l < c->at->levels; l++)
            for (int p = 0; p < c->at->points; p++)
                v.sum += exp(logit(c, &v, j, l, p) - v.top);
    v.null_weight = exp(-v.top) / v.sum;
    return v;
}

/* A sample: element offsets of its four corners in `value` (LEFT_OUT outside the map) in the order (row,
 * col) = 00, 01, 10, 11, their bilinear weights and the fractions. */
struct sample {
    int64_t at[4];
    double weight[4];
    double fx, fy;
};

static struct sample sample_at(const struct call *c, const struct view_point *v, int64_t pair,
                               int l, int p)
{
    const int w = c->at->width[l], h = c->at->height[l];
    const double scale = (double)c->at->shape[l] / (double)c->at->base;
    const float *ref = c->ref + v->q % c->K * 2;
    const float *off_q = c->off_q + v->q * c->off_width + off_at(c, v, p);
    const float *off_r = c->off_r + c->rank[pair] * c->off_width + off_at(c, v, p);
    const double x = (double)ref[0] * w + ((double)off_q[0] + (double)off_r[0]) * scale - 0.5;
    const double y = (double)ref[1] * h + ((double)off_q[1] + (double)off_r[1]) * scale - 0.5;
    struct sample s = { { LEFT_OUT, LEFT_OUT, LEFT_OUT, LEFT_OUT }, { 0 }, 0.0, 0.0 };

    if (!(x > -1.0 && x < w && y > -1.0 && y < h)) /* refuses NaN too */
        return s;
    const int64_t col = (int64_t)floor(x), row = (int64_t)floor(y);
    const int64_t first = c->image[pair] * c->S + c->level_at[l];
    s.fx = x - (double)col;
    s.fy = y - (double)row;
    for (int k = 0; k < 4; k++) {
        const int64_t i = row + k / 2, j = col + k % 2;
        s.weight[k] = (k / 2 ? s.fy : 1.0 - s.fy) * (k % 2 ? s.fx : 1.0 - s.fx);
        if (i >= 0 && i < h && j >= 0 && j < w)
            s.at[k] = (first + i * w + j) * c->D + v->h * c->d;
    }
    return s;
}

/* o (d) = the head's output. */
static void point_fwd(float *o, const struct call *c, const struct view_point *v)
{
    const float *t = c->ignore ? c->ignore + v->h * c->d : NULL;
    for (int64_t e = 0; e < c->d; e++)
        o[e] = t ? (float)v->null_weight * t[e] : 0.0f;
    for (int64_t n = 0; n < (v->end - v->begin) * c->at->levels * c->at->points; n++) {
        const int p = (int)(n % c->at->points), l = (int)(n / c->at->points % c->at->levels);
        const int64_t pair = v->begin + n / c->at->points / c->at->levels;
        const struct sample s = sample_at(c, v, pair, l, p);
        const double w = exp(logit(c, v, pair, l, p) - v->top) / v->sum;
        for (int k = 0; k < 4; k++) {
            if (s.at[k] == LEFT_OUT)
                continue;
            const float share = (float)(w * s.weight[k]);
            const float *corner = c->value + s.at[k];
            for (int64_t e = 0; e < c->d; e++)
                o[e] += share * corner[e];
        }
    }
}

enum status mmfs_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    const int64_t Q = view_rows(&out[0]), D = view_last(&out[0]);
    float *o = out[0].data;
    struct call c;
    int64_t longest;
    (void)k;

    if (!call_of(&c, in, Q, D, attrs) || !view_f32(&out[0], Q * D))
        return check_refuse("mmfs", out, 1, in, 10, err);
    if (check_lists(&c, view_count(&in[8]), &longest, err) != ST_OK)
        return ST_FAIL;
    const int64_t work = work_of(&c);
    (void)work; /* where the build has no OpenMP */
#pragma omp parallel for schedule(static) if (work > PARALLEL_MIN)
    for (int64_t n = 0; n < Q * c.at->heads; n++) {
        const struct view_point v = view_point_at(&c, n / c.at->heads, n % c.at->heads);
        point_fwd(o + v.q * D + v.h * c.d, &c, &v);
    }
    return ST_OK;
}

/* Gradients of a call; each may be NULL. `tables` holds the head's sums over queries in double: for each
 * rank the offsets' 2 points, then the logits' levels (points+1); then the ignore token's d. */
struct gradients {
    const float *go;
    float *off_q, *att_q, *value;
};
struct head {
    double *off_r, *att_r, *ignore;
    double *dA; /* by sample: gradient of its weight */
};

/* The four dot products of the gradient with a sample's corners, 0 outside. */
static void corner_dots(double dot[4], const struct call *c, const struct sample *s, const float *g)
{
    for (int k = 0; k < 4; k++) {
        dot[k] = 0.0;
        for (int64_t e = 0; e < (s->at[k] == LEFT_OUT ? 0 : c->d); e++)
            dot[k] += (double)g[e] * (double)c->value[s->at[k] + e];
    }
}

/* One sample: adds to dvalue and the offsets, returns the gradient of its weight w. */
static double sample_bwd(const struct call *c, const struct view_point *v,
                         const struct gradients *g, struct head *t, int64_t pair, int l, int p,
                         double w)
{
    const struct sample s = sample_at(c, v, pair, l, p);
    const float *go = g->go + v->q * c->D + v->h * c->d;
    const double scale = (double)c->at->shape[l] / (double)c->at->base;
    double dot[4], dA = 0.0;

    corner_dots(dot, c, &s, go);
    for (int k = 0; k < 4; k++) {
        dA += s.weight[k] * dot[k];
        for (int64_t e = 0; e < (g->value && s.at[k] != LEFT_OUT ? c->d : 0); e++)
            g->value[s.at[k] + e] += (float)(w * s.weight[k]) * go[e];
    }
    const double dx = w * ((1.0 - s.fy) * (dot[1] - dot[0]) + s.fy * (dot[3] - dot[2]));
    const double dy = w * ((1.0 - s.fx) * (dot[2] - dot[0]) + s.fx * (dot[3] - dot[1]));
    double *table = t->off_r + ((int64_t)c->rank[pair] * c->at->points + p) * 2;
    table[0] += dx * scale;
    table[1] += dy * scale;
    if (g->off_q) {
        float *row = g->off_q + v->q * c->off_width + off_at(c, v, p);
        row[0] += (float)(dx * scale);
        row[1] += (float)(dy * scale);
    }
    return dA;
}

static void point_bwd(const struct call *c, const struct view_point *v, const struct gradients *g,
                      struct head *t)
{
    const float *go = g->go + v->q * c->D + v->h * c->d;
    const int64_t samples = (v->end - v->begin) * c->at->levels * c->at->points;
    const int points = c->at->points, levels = c->at->levels;
    double mean = 0.0; /* of the weights' gradients, the null slot included */

    for (int64_t e = 0; e < c->d; e++) {
        mean +=
            v->null_weight * (double)go[e] * (c->ignore ? (double)c->ignore[v->h * c->d + e] : 0.0);
        t->ignore[e] += v->null_weight * (double)go[e];
    }
    for (int64_t n = 0; n < samples; n++) {
        const int p = (int)(n % points), l = (int)(n / points % levels);
        const int64_t pair = v->begin + n / points / levels;
        const double w = exp(logit(c, v, pair, l, p) - v->top) / v->sum;
        t->dA[n] = sample_bwd(c, v, g, t, pair, l, p, w);
        mean += w * t->dA[n];
    }
    for (int64_t n = 0; n < samples; n++) {
        const int p = (int)(n % points), l = (int)(n / points % levels);
        const int64_t pair = v->begin + n / points / levels;
        const double w = exp(logit(c, v, pair, l, p) - v->top) / v->sum;
        const double dl = w * (t->dA[n] - mean);
        t->att_r[(c->rank[pair] * levels + l) * (points + 1) + p] += dl;
        if (g->att_q)
            g->att_q[v->q * c->att_width + att_at(c, v, l, p)] += (float)dl;
    }
}

/* Writes a head's sums over queries to its columns of the tables; each may be NULL. */
static void head_store(const struct call *c, const struct head *t, int64_t h,
                       const struct view *out)
{
    const struct mmfs_attrs *at = c->at;
    float *off_r = out[1].data, *att_r = out[3].data, *ignore = out[5].data;
    const int64_t off = (int64_t)at->points * 2, att = (int64_t)at->levels * (at->points + 1);
    for (int64_t r = 0; r < c->R; r++) {
        for (int64_t j = 0; j < (off_r ? off : 0); j++) {
            float *to = off_r + r * c->off_width + h * off + j;
            *to = blend((float)t->off_r[r * off + j], *to, at->beta_doff_r);
        }
        for (int64_t j = 0; j < (att_r ? att : 0); j++) {
            float *to = att_r + r * c->att_width + h * att + j;
            *to = blend((float)t->att_r[r * att + j], *to, at->beta_datt_r);
        }
    }
    for (int64_t e = 0; e < (ignore ? c->d : 0); e++)
        ignore[h * c->d + e] = blend((float)t->ignore[e], ignore[h * c->d + e], at->beta_dignore);
}

static bool head_bwd(const struct call *c, const struct gradients *g, int64_t h, int64_t longest,
                     const struct view *out)
{
    const int64_t off = c->R * c->at->points * 2, att = c->R * c->at->levels * (c->at->points + 1);
    const int64_t samples = longest * c->at->levels * c->at->points;
    double *sums = mem_calloc((size_t)(off + att + c->d + samples), sizeof *sums);
    struct head t = { sums, sums + off, sums + off + att, sums + off + att + c->d };
    if (!sums)
        return false;
    for (int64_t q = 0; q < c->Q; q++) {
        const struct view_point v = view_point_at(c, q, h);
        point_bwd(c, &v, g, &t);
    }
    head_store(c, &t, h, out);
    mem_free(sums);
    return true;
}

enum status mmfs_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    const struct mmfs_attrs *at = attrs;
    const int64_t Q = view_rows(&in[0]), D = view_last(&in[0]);
    const struct gradients g = { in[0].data, out[0].data, out[2].data, out[4].data };
    struct call c;
    int64_t longest;
    int failed = 0;
    (void)k;

    if (!call_of(&c, in + 1, Q, D, at) || !view_f32(&in[0], Q * D) ||
        !view_maybe_f32(&out[0], Q * c.off_width) || !view_maybe_f32(&out[1], c.R * c.off_width) ||
        !view_maybe_f32(&out[2], Q * c.att_width) || !view_maybe_f32(&out[3], c.R * c.att_width) ||
        !view_maybe_f32(&out[4], c.N * c.S * D) || !view_maybe_f32(&out[5], D))
        return check_refuse("mmfs_bwd", out, 6, in, 11, err);
    if (check_lists(&c, view_count(&in[9]), &longest, err) != ST_OK)
        return ST_FAIL;
    const int64_t work = work_of(&c);
    (void)work; /* where the build has no OpenMP */
    if (g.off_q)
        scale_in_place(g.off_q, Q * c.off_width, at->beta_doff_q);
    if (g.att_q)
        scale_in_place(g.att_q, Q * c.att_width, at->beta_datt_q);
    if (g.value)
        scale_in_place(g.value, c.N * c.S * D, at->beta_dvalue);
#pragma omp parallel for schedule(dynamic) reduction(| : failed) if (work > PARALLEL_MIN)
    for (int64_t h = 0; h < at->heads; h++)
        failed |= !head_bwd(&c, &g, h, longest, out);
    return failed ? error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: mmfs_bwd") : ST_OK;
}
