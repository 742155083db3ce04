/* tests/kernels/cuda/test_cuda_attention.c: attention and deformable sampling, forward and backward. */
#include "tests/kernels/cuda/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/mmfs.h"

#define S TRIAL_STORAGE
#define E TRIAL_EXACT

struct attention_case {
    const char *what;
    int64_t B, Lq, Lk;
    int heads;
    int64_t D;
    int causal, windows, one_batch;
    float dropout;
};
static const struct attention_case attention_cases[] = {
    { "one of everything", 1, 1, 1, 1, 1, 0, 0, 0, 0.0f },
    { "narrow heads", 2, 33, 33, 2, 6, 1, 0, 0, 0.0f },
    { "heads of 12", 2, 7, 31, 3, 12, 0, 0, 0, 0.0f },
    { "causal", 1, 70, 70, 2, 64, 1, 0, 0, 0.0f },
    { "causal, more keys", 1, 17, 50, 1, 128, 1, 0, 0, 0.0f },
    { "causal, more queries", 1, 50, 17, 1, 64, 1, 0, 0, 0.0f },
    { "windows", 3, 9, 77, 2, 64, 0, 1, 0, 0.0f },
    { "causal windows", 3, 40, 40, 2, 40, 1, 1, 0, 0.0f },
    { "wide head", 1, 10, 35, 1, 300, 0, 0, 0, 0.0f },
    { "dropout", 2, 20, 33, 2, 32, 0, 0, 0, 0.3f },
    { "causal windows and dropout", 3, 33, 33, 2, 16, 1, 1, 0, 0.5f },
    { "shared keys", 3, 9, 33, 2, 64, 0, 0, 1, 0.0f },
    { "a model's tiles", 1, 130, 200, 2, 64, 0, 0, 0, 0.0f },
    { "a model's causal tiles", 1, 200, 200, 1, 128, 1, 0, 0, 0.0f },
    { "long rows with windows", 3, 150, 140, 2, 8, 1, 1, 0, 0.0f },
    { "long rows with dropout", 2, 130, 140, 1, 8, 0, 0, 0, 0.2f },
    { "long rows, shared keys", 2, 130, 140, 2, 16, 0, 0, 1, 0.0f },
    { "more scores than the workspace holds", 1, 350, 400, 1, 8, 1, 0, 0, 0.0f },
};

/* first, count, draws */
static void window_inputs(struct trial *t, const struct attention_case *c)
{
    static const int32_t first[] = { 0, 3, 5 }, count[] = { 20, 0, 9 };
    if (c->windows) {
        memcpy(trial_index(t, 0, 1, SHAPE(c->B)), first, sizeof first);
        memcpy(trial_index(t, 0, 1, SHAPE(c->B)), count, sizeof count);
    } else {
        trial_in_none(t);
        trial_in_none(t);
    }
    if (c->dropout > 0.0f)
        trial_index(t, INT32_MIN, INT32_MAX, SHAPE(c->B, 4));
    else
        trial_in_none(t);
}

static void attend(const struct attention_case *c, float scale, int beta)
{
    const int64_t W = c->heads * c->D, Bk = c->one_batch ? 1 : c->B;
    const struct attention_attrs at = { c->heads,    c->causal,          scale,      c->dropout,
                                        (float)beta, 1.0f - (float)beta, (float)beta };
    const size_t q_bytes = (size_t)(c->B * c->Lq * W) * 4, k_bytes = (size_t)(Bk * c->Lk * W) * 4;
    const int64_t points = c->B * c->heads * c->Lq;
    float *q = malloc(q_bytes), *k = malloc(k_bytes), *v = malloc(k_bytes), *o = malloc(q_bytes);
    float *lse = malloc((size_t)points * 4);
    struct trial t = trial_make(KERNEL_attention_fwd, c->what, &at);
    assert_true(q && k && v && o && lse);
    memcpy(q, trial_in(&t, S, 1.0f, SHAPE(c->B, c->Lq, W)), q_bytes);
    memcpy(k, trial_in(&t, S, 1.0f, SHAPE(Bk, c->Lk, W)), k_bytes);
    memcpy(v, trial_in(&t, S, 1.0f, SHAPE(Bk, c->Lk, W)), k_bytes);
    window_inputs(&t, c);
    trial_out(&t, S, SHAPE(c->B, c->Lq, W));
    trial_out(&t, E, SHAPE(c->B, c->heads, c->Lq));
    trial_cpu(&t, (float *[]){ o, lse });
    trial_run(&t, 1e-5);
    if (!c->one_batch) {
        t = trial_make(KERNEL_attention_bwd, c->what, &at);
        trial_in(&t, S, 1.0f, SHAPE(c->B, c->Lq, W));
        memcpy(trial_in(&t, S, 1.0f, SHAPE(c->B, c->Lq, W)), q, q_bytes);
        memcpy(trial_in(&t, S, 1.0f, SHAPE(Bk, c->Lk, W)), k, k_bytes);
        memcpy(trial_in(&t, S, 1.0f, SHAPE(Bk, c->Lk, W)), v, k_bytes);
        memcpy(trial_in(&t, S, 1.0f, SHAPE(c->B, c->Lq, W)), o, q_bytes);
        memcpy(trial_in(&t, E, 1.0f, SHAPE(c->B, c->heads, c->Lq)), lse, (size_t)points * 4);
        window_inputs(&t, c);
        trial_out(&t, S, SHAPE(c->B, c->Lq, W));
        trial_out(&t, S, SHAPE(Bk, c->Lk, W));
        trial_out(&t, S, SHAPE(Bk, c->Lk, W));
        trial_run(&t, 3e-5);
    }
    free(q);
    free(k);
    free(v);
    free(o);
    free(lse);
}

static void attention_agrees(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof attention_cases / sizeof *attention_cases; i++) {
        const struct attention_case *c = &attention_cases[i];
        attend(c, 1.0f / sqrtf((float)c->D), (int)(i % 2));
        if (i < 4)
            attend(c, 4.0f, 0); /* sharp: nearly one key each */
    }
}

struct mmfs_case {
    const char *what;
    struct mmfs_attrs at;
    int64_t Q, d, N, R, K;
    int null_slot; /* the ignore token is there */
};
static const struct mmfs_case mmfs_cases[] = {
    { "one of everything",
      { 1, 1, 1, { 1 }, { 1 }, { 1 }, 1.0f, 1, 0, 0, 0, 0, 0, 0 },
      1,
      1,
      1,
      2,
      1,
      0 },
    { "a language model's",
      { 2, 4, 3, { 8, 4, 2 }, { 6, 3, 1 }, { 8, 4, 2 }, 8.0f, 1, 0, 1, 0, 1, 0, 1 },
      9,
      12,
      3,
      5,
      1,
      1 },
    { "a UNet's",
      { 3, 8, 4, { 8, 4, 2, 1 }, { 8, 4, 2, 1 }, { 8, 4, 2, 1 }, 8.0f, 16, 1, 0, 1, 0, 1, 0 },
      32,
      64,
      2,
      2,
      16,
      1 },
    { "wide heads",
      { 1, 2, 1, { 5 }, { 7 }, { 5 }, 5.0f, 3, 0, 0, 0, 0, 0, 0 },
      9,
      130,
      2,
      3,
      3,
      1 },
};

static void mmfs_inputs(struct trial *t, const struct mmfs_case *c)
{
    const struct mmfs_attrs *at = &c->at;
    const int64_t lists = c->Q / at->queries_per_list, D = at->heads * c->d;
    const int64_t off = (int64_t)at->heads * at->points * 2;
    const int64_t att = (int64_t)at->heads * at->levels * (at->points + 1);
    int64_t rows = 0;
    for (int l = 0; l < at->levels; l++)
        rows += (int64_t)at->height[l] * at->width[l];
    trial_in(t, E, 3.0f, SHAPE(c->Q, off));
    trial_in(t, E, 1.0f, SHAPE(c->R, off));
    trial_in(t, E, 2.0f, SHAPE(c->Q, att));
    trial_in(t, E, 1.0f, SHAPE(c->R, att));
    trial_in(t, S, 1.0f, SHAPE(c->N, rows, D));
    if (c->null_slot)
        trial_in(t, S, 1.0f, SHAPE(D));
    else
        trial_in_none(t);
    float *ref = trial_in(t, E, 0.5f, SHAPE(c->K, 2));
    for (int64_t i = 0; i < 2 * c->K; i++)
        ref[i] += 0.5f;
    int32_t *start = trial_index(t, 0, 1, SHAPE(lists + 1));
    for (int64_t i = 0; i <= lists; i++) /* lists of 0, 1, 2, 0, ... pairs */
        start[i] = i == 0 ? 0 : start[i - 1] + (int32_t)((lists == 1 ? 1 : i - 1) % 3);
    const int64_t pairs = start[lists] + 2;
    trial_index(t, 0, (int32_t)c->N, SHAPE(pairs));
    trial_index(t, 1, (int32_t)c->R, SHAPE(pairs));
}

static void sampling_agrees(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mmfs_cases / sizeof *mmfs_cases; i++) {
        const struct mmfs_case *c = &mmfs_cases[i];
        const int64_t D = c->at.heads * c->d;
        struct trial t = trial_make(KERNEL_mmfs_fwd, c->what, &c->at);
        mmfs_inputs(&t, c);
        trial_out(&t, S, SHAPE(c->Q, D));
        trial_run(&t, 1e-5);
        for (int left_out = -1; left_out < 6; left_out++) {
            t = trial_make(KERNEL_mmfs_bwd, c->what, &c->at);
            trial_in(&t, S, 1.0f, SHAPE(c->Q, D));
            mmfs_inputs(&t, c);
            for (int j = 0; j < 6; j++) {
                /* the gradient of an input has its shape; tables and queries are exact */
                const struct trial_operand like = t.in[1 + j];
                if (j == left_out || (j == 5 && !c->null_slot))
                    trial_out_none(&t);
                else
                    trial_out(&t, j < 4 ? E : S, like.shape, like.rank);
            }
            trial_run(&t, 2e-5);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_agrees),
        cmocka_unit_test(sampling_agrees),
    };
    return trial_main(tests, sizeof tests / sizeof *tests, 1, "attention");
}
