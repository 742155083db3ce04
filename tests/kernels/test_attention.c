/* tests/kernels/test_attention.c: attention, rope, cross-entropy. */
#include "tests/kernels/problem.h"

#include "core/rng.h"
#include "kernels/attention.h"
#include "kernels/rope.h"
#include "kernels/xent.h"

struct attention_case {
    struct attention_attrs at; /* first: the kernel's attributes */
    int64_t B, Lq, Lk, D;
    int64_t kv_batch;
    bool ranges; /* first and count are given */
};

static bool is_visible(const struct problem *p, int64_t b, int64_t i, int64_t j)
{
    const struct attention_case *c = p->attrs;
    const int64_t first = c->ranges ? ((const int32_t *)p->in[3].data)[b] : 0;
    const int64_t count = c->ranges ? ((const int32_t *)p->in[4].data)[b] : c->Lk;
    return j >= first && j < first + count && (!c->at.causal || j <= i + c->Lk - c->Lq);
}

/* Factor that dropout gives probability (h, i, j) of row b. */
static double kept(const struct problem *p, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const struct attention_case *c = p->attrs;
    struct rng r = { 0 };
    if (c->at.dropout == 0.0f)
        return 1.0;
    memcpy(r.h, (const int32_t *)p->in[5].data + 4 * b, sizeof r.h);
    const uint64_t word = rng_word_at(&r, (uint64_t)((h * c->Lq + i) * c->Lk + j));
    return (double)(word >> 11) * 0x1p-53 < (double)c->at.dropout
               ? 0.0
               : 1.0 / (1.0 - (double)c->at.dropout);
}

static void query_reference(const struct problem *p, double *o, double *const *x, int64_t b,
                            int64_t h, int64_t i)
{
    const struct attention_case *c = p->attrs;
    const int64_t H = c->at.heads, D = c->D, kb = c->kv_batch == 1 ? 0 : b;
    double sum = 0.0;
    for (int64_t d = 0; d < D; d++)
        o[d] = 0.0;
    for (int64_t j = 0; j < c->Lk; j++) {
        double s = 0.0;
        if (!is_visible(p, b, i, j))
            continue;
        for (int64_t d = 0; d < D; d++)
            s += x[0][((b * c->Lq + i) * H + h) * D + d] * x[1][((kb * c->Lk + j) * H + h) * D + d];
        const double e = exp(s * (double)c->at.scale);
        sum += e;
        for (int64_t d = 0; d < D; d++)
            o[d] += e * kept(p, b, h, i, j) * x[2][((kb * c->Lk + j) * H + h) * D + d];
    }
    for (int64_t d = 0; d < (sum > 0.0 ? D : 0); d++)
        o[d] /= sum;
}

static void attention_reference(const struct problem *p, double *y, double *const *x)
{
    const struct attention_case *c = p->attrs;
    const int64_t H = c->at.heads;
    for (int64_t n = 0; n < c->B * c->Lq * H; n++)
        query_reference(p, y + n * c->D, x, n / H / c->Lq, n % H, n / H % c->Lq);
}

/* The forward kernel's own output and statistics, which backward reads. */
static struct view lse;

static enum status attention_backward(const struct problem *p, const struct view *dy,
                                      struct view *grads, float beta, struct error *err)
{
    struct attention_attrs at = *(const struct attention_attrs *)p->attrs;
    const struct view in[] = { *dy, p->in[0], p->in[1], p->in[2], p->out,
                               lse, p->in[3], p->in[4], p->in[5] };
    struct kctx k = { 0 };
    at.beta_dq = at.beta_dk = at.beta_dv = beta;
    return attention_bwd_cpu(&k, grads, in, &at, err);
}

static void run_attention(struct attention_case c, uint64_t seed)
{
    struct problem p = problem_make("attention", seed);
    const int64_t H = c.at.heads;
    problem_input(&p, 0, -2, 2, SHAPE(c.B, c.Lq, H * c.D));
    problem_input(&p, 1, -2, 2, SHAPE(c.kv_batch, c.Lk, H * c.D));
    problem_input(&p, 2, -2, 2, SHAPE(c.kv_batch, c.Lk, H * c.D));
    if (c.ranges) {
        problem_index(&p, 3, 0, c.Lk / 2 + 1, SHAPE(c.B));
        problem_index(&p, 4, 1, c.Lk / 2 + 2, SHAPE(c.B));
        ((int32_t *)p.in[4].data)[c.B - 1] = 0; /* a row that sees nothing */
    }
    if (c.at.dropout > 0.0f)
        problem_index(&p, 5, -2000000000, 2000000000, SHAPE(c.B, 4));
    problem_output(&p, SHAPE(c.B, c.Lq, H * c.D));
    lse = view_make(SHAPE(c.B, H, c.Lq));
    p.attrs = &c;
    p.reference = attention_reference;
    p.backward = attention_backward;
    p.differentiable = 7;
    problem_forward_outs(&p, attention_fwd_cpu, &lse, 1, 1e-5);
    if (c.kv_batch == c.B)
        problem_backward(&p, 2e-5);
    problem_free(&p);
    free(lse.data);
}

static void attention_of_every_mask_and_width_matches_loops(void **state)
{
    static const struct attention_case cases[] = {
        { { 2, 0, 0.3f, 0, 0, 0, 0 }, 2, 7, 9, 6, 2, false },     /* full */
        { { 3, 1, 0.3f, 0, 0, 0, 0 }, 2, 33, 33, 12, 2, false },  /* causal */
        { { 1, 1, 0.3f, 0, 0, 0, 0 }, 1, 3, 31, 16, 1, false },   /* causal behind a cache */
        { { 2, 1, 0.3f, 0, 0, 0, 0 }, 1, 9, 4, 8, 1, false },     /* first queries see nothing */
        { { 2, 0, 0.3f, 0, 0, 0, 0 }, 3, 5, 32, 7, 3, true },     /* lengths and left padding */
        { { 2, 1, 0.3f, 0, 0, 0, 0 }, 3, 32, 32, 7, 3, true },    /* both */
        { { 2, 0, 0.3f, 0.3f, 0, 0, 0 }, 2, 5, 7, 6, 2, false },  /* dropout */
        { { 2, 1, 0.3f, 0.5f, 0, 0, 0 }, 2, 7, 7, 6, 2, true },   /* everything */
        { { 2, 0, 0.3f, 0, 0, 0, 0 }, 3, 5, 7, 6, 1, false },     /* shared keys */
        { { 1, 0, 1.0f, 0, 0, 0, 0 }, 1, 1, 1, 1, 1, false },     /* one of everything */
        { { 1, 1, 0.3f, 0, 0, 0, 0 }, 1, 130, 300, 4, 1, false }, /* several tiles each way */
        { { 1, 0, 0.3f, 0.1f, 0, 0, 0 }, 1, 65, 260, 3, 1, true },
        { { 1, 0, 0.9f, 0, 0, 0, 0 },
          1,
          66,
          600,
          2,
          1,
          false }, /* later tiles hold larger scores */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run_attention(cases[i], 41 + i);
}

static void large_scores_do_not_overflow(void **state)
{
    const struct attention_attrs at = { 1, 0, 1.0f, 0, 0, 0, 0 };
    float q[] = { 1000 }, k[] = { 1, 2, -5 }, v[] = { 10, 20, 30 }, o[1];
    const struct view in[OPERANDS] = { { q, DT_F32, 3, { 1, 1, 1 } },
                                       { k, DT_F32, 3, { 1, 3, 1 } },
                                       { v, DT_F32, 3, { 1, 3, 1 } } };
    const struct view out[] = { { o, DT_F32, 3, { 1, 1, 1 } }, { 0 } };
    struct kctx ctx = { 0 };
    (void)state;
    assert_int_equal(attention_fwd_cpu(&ctx, out, in, &at, NULL), ST_OK);
    assert_near(o[0], 20.0, 0.0);
}

/* ---- rope ---- */

static void rope_reference(const struct problem *p, double *y, double *const *x)
{
    const struct rope_attrs *at = p->attrs;
    const int64_t W = p->in[0].shape[2], D = W / at->heads, L = view_count(&p->in[1]);
    for (int64_t n = 0; n < view_count(&p->in[0]) / W; n++)
        for (int64_t c = 0; c < W; c++) {
            const int64_t k = c % D % (D / 2), other = c % D < D / 2 ? c + D / 2 : c - D / 2;
            const double position = (double)((const int32_t *)p->in[1].data)[n % L];
            const double a = position * pow((double)at->base, -2.0 * (double)k / (double)D);
            const double sign = (c % D < D / 2) == (at->inverse == 0) ? -1.0 : 1.0;
            y[n * W + c] = x[0][n * W + c] * cos(a) + sign * x[0][n * W + other] * sin(a);
        }
}

static enum status rope_backward(const struct problem *p, const struct view *dy, struct view *grads,
                                 float beta, struct error *err)
{
    struct rope_attrs at = *(const struct rope_attrs *)p->attrs;
    const struct view in[] = { *dy, p->in[1] };
    struct kctx k = { 0 };
    at.inverse = !at.inverse;
    at.beta = beta;
    return rope_fwd_cpu(&k, grads, in, &at, err);
}

static void rotations_match_loops_and_turn_back(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        const struct rope_attrs at = { 3, 10000.0f, i & 1, 0.0f };
        struct problem p = problem_make("rope", 61 + (uint64_t)i);
        problem_input(&p, 0, -1, 1, SHAPE(2, 5, 3 * 8));
        if (i < 2)
            problem_index(&p, 1, 0, 60, SHAPE(5));
        else
            problem_index(&p, 1, 0, 60, SHAPE(2, 5));
        problem_output(&p, SHAPE(2, 5, 3 * 8));
        p.attrs = &at;
        p.reference = rope_reference;
        p.backward = rope_backward;
        p.differentiable = 1;
        problem_forward(&p, rope_fwd_cpu, 2e-5);
        problem_backward(&p, 2e-5);
        problem_free(&p);
    }
}

/* ---- cross-entropy ---- */

static void cross_entropy_matches_loops_and_differences(void **state)
{
    (void)state;
    for (int i = 0; i < ODD_SIZES; i++) {
        const int64_t R = 5, V = odd_sizes[i];
        const struct xent_attrs at = { 3.0f };
        struct problem p = problem_make("xent", 71 + (uint64_t)i);
        struct view out[2] = { view_make(SHAPE(R, V)), view_make(SHAPE(R)) };
        struct kctx k = { 0 };
        float divisor = 4.0f, *x, *d = out[0].data, *loss = out[1].data;
        int32_t *target;
        problem_input(&p, 0, -5, 5, SHAPE(R, V));
        problem_index(&p, 1, 0, V, SHAPE(R));
        target = p.in[1].data;
        target[3] = XENT_IGNORE;
        p.in[2] = (struct view){ &divisor, DT_F32, 1, { 1 } };
        assert_int_equal(xent_fwd_cpu(&k, out, p.in, &at, NULL), ST_OK);
        x = p.in[0].data;
        for (int64_t r = 0; r < R; r++) {
            double sum = 0.0;
            for (int64_t v = 0; v < V; v++)
                sum += exp((double)x[r * V + v]);
            const bool counts = target[r] != XENT_IGNORE;
            const double want = counts ? log(sum) - (double)x[r * V + target[r]] : 0.0;
            assert_true(fabs((double)loss[r] - want) < 1e-5);
            for (int64_t v = 0; v < V; v++) {
                const double g = exp((double)x[r * V + v]) / sum - (v == target[r] ? 1.0 : 0.0);
                assert_true(fabs((double)d[r * V + v] - (counts ? g * 3.0 / 4.0 : 0.0)) < 1e-6);
            }
        }
        p.in[2].data = NULL; /* on the stack */
        problem_free(&p);
        free(out[0].data);
        free(out[1].data);
    }
}

static void cross_entropy_writes_over_its_logits_and_refuses_foreign_targets(void **state)
{
    const struct xent_attrs at = { 1.0f };
    float x[] = { 1, 2, 3, 4, 5, 6 }, loss[2], divisor = 0.0f;
    int32_t target[] = { 2, 3 };
    const struct view logits = { x, DT_F32, 2, { 2, 3 } };
    const struct view in[] = { logits,
                               { target, DT_I32, 1, { 2 } },
                               { &divisor, DT_F32, 1, { 1 } } };
    const struct view out[] = { logits, { loss, DT_F32, 1, { 2 } } };
    struct kctx k = { 0 };
    (void)state;
    assert_refused(xent_fwd_cpu, out, in, &at, "target 1: got 3");
    assert_near(x[0], 1.0, 0.0); /* nothing was touched */
    target[1] = 0;
    assert_int_equal(xent_fwd_cpu(&k, out, in, &at, NULL), ST_OK);
    for (int i = 0; i < 6; i++)
        assert_near(x[i], 0.0, 0.0); /* no valid target: no gradient */
    assert_near(loss[0], 0.40760596, 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_of_every_mask_and_width_matches_loops),
        cmocka_unit_test(large_scores_do_not_overflow),
        cmocka_unit_test(rotations_match_loops_and_turn_back),
        cmocka_unit_test(cross_entropy_matches_loops_and_differences),
        cmocka_unit_test(cross_entropy_writes_over_its_logits_and_refuses_foreign_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
