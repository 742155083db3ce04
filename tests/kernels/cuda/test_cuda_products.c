/* tests/kernels/cuda/test_cuda_products.c: products, convolutions, norms, cross-entropy. */
#include "tests/kernels/cuda/trial.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/conv2d.h"
#include "kernels/depthwise.h"
#include "kernels/groupnorm.h"
#include "kernels/layernorm.h"
#include "kernels/linear.h"
#include "kernels/matmul.h"
#include "kernels/rmsnorm.h"
#include "kernels/xent.h"

#define S TRIAL_STORAGE
#define E TRIAL_EXACT
#define FOR_SIZES(C)                                                                               \
    for (int size_ = 0; size_ < 6; size_++)                                                        \
        for (int64_t C = trial_sizes[size_], once_ = 1; once_; once_ = 0)

static void products_agree(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 8; i++) {
        const struct matmul_attrs at = { i & 1, i >> 1 & 1, 0.5f, i & 4 ? 1.0f : 0.0f };
        const int64_t M = 33, N = i & 1 ? 7 : 40, B = i < 4 ? 3 : 1;
        struct trial t = trial_make(KERNEL_matmul_fwd, "", &at);
        trial_in(&t, S, 1.0f, i & 1 ? (const int64_t[]){ B, C, M } : (const int64_t[]){ B, M, C },
                 3);
        trial_in(&t, S, 1.0f, i & 2 ? (const int64_t[]){ 1, N, C } : (const int64_t[]){ 1, C, N },
                 3);
        trial_out(&t, i & 4 ? E : S, SHAPE(B, M, N));
        trial_run(&t, 1e-5);
    }
}

static void linear_layers_agree(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 4; i++) {
        const struct linear_attrs at = { (float)(i & 1) };
        const int64_t D = i & 2 ? 32 : 9;
        struct trial t = trial_make(KERNEL_linear_fwd, i & 2 ? "bias" : "no bias", &at);
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        trial_in(&t, S, 1.0f, SHAPE(D, C));
        if (i & 2)
            trial_in(&t, S, 1.0f, SHAPE(D));
        else
            trial_in_none(&t);
        trial_out(&t, i == 3 ? E : S, SHAPE(3, 5, D));
        trial_run(&t, 1e-5);
        /* i of 2 and 3: the gradient of an exact output, so that in bf16 the operands' types differ */
        t = trial_make(KERNEL_linear_dx, i & 2 ? "exact dy" : "", &at);
        trial_in(&t, i & 2 ? E : S, 1.0f, SHAPE(3, 5, D));
        trial_in(&t, S, 1.0f, SHAPE(D, C));
        trial_out(&t, S, SHAPE(3, 5, C));
        trial_run(&t, 1e-5);
        t = trial_make(KERNEL_linear_dw, i & 2 ? "exact dy" : "", &at);
        trial_in(&t, i & 2 ? E : S, 1.0f, SHAPE(3, 5, D));
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        trial_out(&t, E, SHAPE(D, C));
        trial_run(&t, 1e-5);
        t = trial_make(KERNEL_linear_db, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(300, C));
        trial_out(&t, E, SHAPE(C));
        trial_run(&t, 1e-5);
    }
}

struct conv_case {
    int64_t I, H, W, C, D, kh, kw;
    int stride, top, left, bottom, right;
};

static void convolutions_agree(void **state)
{
    static const struct conv_case cases[] = {
        { 2, 5, 7, 8, 16, 3, 3, 1, 1, 1, 1, 1 },  { 1, 6, 6, 5, 7, 3, 3, 2, 0, 0, 1, 1 },
        { 2, 8, 8, 3, 9, 4, 4, 4, 0, 0, 0, 0 },   { 3, 4, 6, 8, 8, 2, 2, 2, 0, 0, 0, 0 },
        { 2, 3, 3, 33, 17, 1, 1, 1, 0, 0, 0, 0 }, { 1, 1, 1, 1, 1, 3, 3, 1, 1, 1, 1, 1 },
        { 1, 9, 4, 16, 8, 3, 1, 2, 1, 0, 1, 0 },  { 1, 12, 12, 40, 40, 3, 3, 1, 1, 1, 1, 1 },
        { 2, 5, 5, 8, 8, 1, 1, 2, 0, 0, 0, 0 },
    };
    (void)state;
    for (size_t n = 0; n < 2 * sizeof cases / sizeof *cases; n++) {
        const struct conv_case c = cases[n / 2];
        const int i = (int)(n % 2);
        const struct conv2d_attrs at = { c.stride, c.top, c.left, c.bottom, c.right, (float)i };
        const int64_t P = conv2d_side(c.H, c.kh, c.stride, c.top + c.bottom);
        const int64_t Q = conv2d_side(c.W, c.kw, c.stride, c.left + c.right);
        struct trial t = trial_make(KERNEL_conv2d_fwd, i ? "bias" : "no bias", &at);
        trial_in(&t, S, 1.0f, SHAPE(c.I, c.H, c.W, c.C));
        trial_in(&t, S, 1.0f, SHAPE(c.D, c.C, c.kh, c.kw));
        if (i)
            trial_in(&t, S, 1.0f, SHAPE(c.D));
        else
            trial_in_none(&t);
        trial_out(&t, S, SHAPE(c.I, P, Q, c.D));
        trial_run(&t, 1e-5);
        t = trial_make(KERNEL_conv2d_dx, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(c.I, P, Q, c.D));
        trial_in(&t, S, 1.0f, SHAPE(c.D, c.C, c.kh, c.kw));
        trial_out(&t, S, SHAPE(c.I, c.H, c.W, c.C));
        trial_run(&t, 1e-5);
        t = trial_make(KERNEL_conv2d_dw, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(c.I, P, Q, c.D));
        trial_in(&t, S, 1.0f, SHAPE(c.I, c.H, c.W, c.C));
        trial_out(&t, E, SHAPE(c.D, c.C, c.kh, c.kw));
        trial_run(&t, 1e-5);
    }
}

static void depthwise_convolutions_agree(void **state)
{
    static const int64_t cases[][5] = { { 2, 9, 11, 33, 7 }, { 1, 3, 2, 768, 7 },
                                        { 3, 8, 8, 32, 7 },  { 1, 1, 1, 1, 3 },
                                        { 2, 5, 5, 7, 9 },   { 2, 12, 8, 40, 5 } };
    (void)state;
    for (int n = 0; n < 12; n++) {
        const int64_t *c = cases[n / 2], k = c[4];
        const struct depthwise_attrs at = { (float)(n % 2) };
        const int64_t x[4] = { c[0], c[1], c[2], c[3] }, w[4] = { c[3], 1, k, k };
        struct trial t = trial_make(KERNEL_depthwise_fwd, n % 2 ? "bias" : "no bias", &at);
        trial_in(&t, S, 1.0f, x, 4);
        trial_in(&t, S, 1.0f, w, 4);
        if (n % 2)
            trial_in(&t, S, 1.0f, SHAPE(c[3]));
        else
            trial_in_none(&t);
        trial_out(&t, S, x, 4);
        trial_run(&t, 1e-5);
        t = trial_make(KERNEL_depthwise_dx, "", &at);
        trial_in(&t, S, 1.0f, x, 4);
        trial_in(&t, S, 1.0f, w, 4);
        trial_out(&t, S, x, 4);
        trial_run(&t, 1e-5);
        t = trial_make(KERNEL_depthwise_dw, "", &at);
        trial_in(&t, S, 1.0f, x, 4);
        trial_in(&t, S, 1.0f, x, 4);
        trial_out(&t, E, w, 4);
        trial_run(&t, 1e-5);
    }
}

/* Forward of a norm, then backward with its statistics. vectors: bit 0 weight, bit 1 bias. */
static void norm(enum kernel forward, enum kernel backward, const void *at, int64_t C, int stats,
                 bool affine, bool bias)
{
    const int64_t N = 70;
    float *kept[3] = { NULL, calloc((size_t)N, 4), calloc((size_t)N, 4) };
    struct trial t = trial_make(forward, affine ? "affine" : "bare", at);
    float *x = trial_in(&t, S, 2.0f, SHAPE(2, 35, C)), *copy = malloc((size_t)(N * C) * 4);
    assert_non_null(copy);
    for (int64_t i = 0; i < N * C; i++)
        copy[i] = x[i] += C == 1 ? 3.0f : 0.5f;
    for (int i = 0; i < 1 + bias; i++)
        if (affine)
            trial_in(&t, S, 1.0f, SHAPE(C));
        else
            trial_in_none(&t);
    trial_out(&t, S, SHAPE(2, 35, C));
    for (int i = 0; i < stats; i++)
        trial_out(&t, E, SHAPE(N));
    trial_cpu(&t, kept);
    /* one channel has no spread: what layernorm gives is rounding */
    if (C == 1 && stats == 2)
        trial_run_f32(&t, 1e-2);
    else
        trial_run(&t, 5e-6);
    t = trial_make(backward, affine ? "affine" : "bare", at);
    trial_in(&t, S, 1.0f, SHAPE(2, 35, C));
    memcpy(trial_in(&t, S, 1.0f, SHAPE(2, 35, C)), copy, (size_t)(N * C) * 4);
    if (affine)
        trial_in(&t, S, 1.0f, SHAPE(C));
    else
        trial_in_none(&t);
    for (int i = 0; i < stats; i++)
        memcpy(trial_in(&t, E, 1.0f, SHAPE(N)), kept[1 + i], (size_t)N * 4);
    trial_out(&t, S, SHAPE(2, 35, C));
    trial_out(&t, E, SHAPE(C));
    if (bias)
        trial_out(&t, E, SHAPE(C));
    if (C == 1)
        trial_run_f32(&t, 1.0);
    else
        trial_run(&t, 2e-5);
    free(copy);
    free(kept[1]);
    free(kept[2]);
}

static void row_norms_agree(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 2; i++) {
        const struct layernorm_attrs layer = { 1e-5f, (float)i, 0.0f, 1.0f };
        const struct rmsnorm_attrs rms = { 1e-5f, (float)i, 1.0f };
        norm(KERNEL_layernorm_fwd, KERNEL_layernorm_bwd, &layer, C, 2, i == 0, true);
        norm(KERNEL_rmsnorm_fwd, KERNEL_rmsnorm_bwd, &rms, C, 1, i == 0, false);
    }
}

static void group_norms_agree(void **state)
{
    static const int64_t cases[][5] = { { 2, 3, 5, 32, 8 }, { 1, 4, 4, 320, 32 },
                                        { 3, 2, 2, 6, 3 },  { 1, 7, 1, 33, 1 },
                                        { 2, 8, 8, 12, 4 }, { 1, 16, 16, 64, 32 } };
    (void)state;
    for (int n = 0; n < 12; n++) {
        const int64_t *c = cases[n / 2], count = c[0] * c[1] * c[2] * c[3], groups = c[0] * c[4];
        const struct groupnorm_attrs at = { (int)c[4], n % 2, 1e-5f, (float)(n % 2), 0.0f, 1.0f };
        float *kept[3] = { NULL, calloc((size_t)groups, 4), calloc((size_t)groups, 4) };
        float *copy = malloc((size_t)count * 4);
        assert_non_null(copy);
        struct trial t = trial_make(KERNEL_groupnorm_fwd, n % 2 ? "silu" : "plain", &at);
        memcpy(copy, trial_in(&t, S, 2.0f, SHAPE(c[0], c[1], c[2], c[3])), (size_t)count * 4);
        trial_in(&t, S, 1.0f, SHAPE(c[3]));
        trial_in(&t, S, 1.0f, SHAPE(c[3]));
        trial_out(&t, S, SHAPE(c[0], c[1], c[2], c[3]));
        trial_out(&t, E, SHAPE(c[0], c[4]));
        trial_out(&t, E, SHAPE(c[0], c[4]));
        trial_cpu(&t, kept);
        trial_run(&t, 1e-5);
        t = trial_make(KERNEL_groupnorm_bwd, n % 2 ? "silu" : "plain", &at);
        trial_in(&t, S, 1.0f, SHAPE(c[0], c[1], c[2], c[3]));
        memcpy(trial_in(&t, S, 1.0f, SHAPE(c[0], c[1], c[2], c[3])), copy, (size_t)count * 4);
        trial_in(&t, S, 1.0f, SHAPE(c[3]));
        trial_in(&t, S, 1.0f, SHAPE(c[3]));
        memcpy(trial_in(&t, E, 1.0f, SHAPE(c[0], c[4])), kept[1], (size_t)groups * 4);
        memcpy(trial_in(&t, E, 1.0f, SHAPE(c[0], c[4])), kept[2], (size_t)groups * 4);
        trial_out(&t, S, SHAPE(c[0], c[1], c[2], c[3]));
        trial_out(&t, E, SHAPE(c[3]));
        trial_out(&t, E, SHAPE(c[3]));
        trial_run(&t, 2e-5);
        free(copy);
        free(kept[1]);
        free(kept[2]);
    }
}

static void cross_entropy_agrees(void **state)
{
    static const struct xent_attrs at = { 0.7f };
    (void)state;
    FOR_SIZES(V)
    for (int i = 0; i < 3; i++) {
        struct trial t = trial_make(KERNEL_xent_fwd, i == 1 ? "large logits" : "", &at);
        trial_in(&t, S, i == 1 ? 80.0f : 3.0f, SHAPE(9, V));
        int32_t *target = trial_index(&t, 0, (int32_t)V, SHAPE(9));
        target[2] = target[8] = XENT_IGNORE;
        if (i == 2)
            trial_in_none(&t);
        else
            *trial_in(&t, E, 1.0f, SHAPE(1)) = i == 0 ? 7.0f : 0.0f;
        if (i == 2)
            trial_out_none(&t);
        else
            trial_out(&t, S, SHAPE(9, V));
        trial_out(&t, E, SHAPE(9));
        trial_run(&t, 1e-5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree),       cmocka_unit_test(linear_layers_agree),
        cmocka_unit_test(convolutions_agree),   cmocka_unit_test(depthwise_convolutions_agree),
        cmocka_unit_test(row_norms_agree),      cmocka_unit_test(group_norms_agree),
        cmocka_unit_test(cross_entropy_agrees),
    };
    return trial_main(tests, sizeof tests / sizeof *tests, 0, "products");
}
