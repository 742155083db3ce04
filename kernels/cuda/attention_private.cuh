/* kernels/cuda/attention_private.cuh: an attention call, checked, for the plain and the tuned kernels. */
#ifndef DEEM_KERNELS_CUDA_ATTENTION_PRIVATE_CUH
#define DEEM_KERNELS_CUDA_ATTENTION_PRIVATE_CUH

#include "kernels/attention.h"
#include "kernels/cuda/draw_private.cuh"

struct attention_call {
    int64_t B, Lq, Lk, W; /* W = H D */
    int H, D, causal;
    int64_t step_k; /* elements from one row's keys to the next row's; 0: all rows share them */
    float scale, dropout, keep; /* keep = 1 / (1 - dropout) */
    struct ref o, q, k, v;
    float *lse;
    const int32_t *first, *count, *draws;
};

/* `in`: q, k, v, first, count, draws of the forward. False: operands that do not fit. */
bool attention_call_of(struct attention_call *c, const struct view *q, const struct view *k,
                       const struct view *v, const struct view *first, const struct view *count,
                       const struct view *draws, const struct attention_attrs *at);

/* The gradients of a call; each may be left out. */
struct attention_grads {
    struct attention_call c;
    struct ref go, dq, dk, dv;
    float *delta; /* [B,H,Lq]: do . o */
    float beta_dq, beta_dk, beta_dv;
};

/* attention_products.cu: whether products of matrices pay, and both ways by them. *done is false where the workspace
 * is too small; its first `used` bytes stay as they are. */
bool attention_is_long(const struct attention_call *c);
enum status attention_products_fwd(struct kctx *k, const struct attention_call *c, bool *done,
                                   struct error *err);
enum status attention_products_bwd(struct kctx *k, const struct attention_grads *g, size_t used,
                                   bool *done, struct error *err);

/* Keys [begin, end) that query i of row b sees. */
__device__ static inline void attention_visible(int64_t *begin, int64_t *end,
                                                const struct attention_call &c, int64_t b,
                                                int64_t i)
{
    *begin = c.first ? c.first[b] : 0;
    *end = c.count ? *begin + c.count[b] : c.Lk;
    if (c.causal && *end > i + c.Lk - c.Lq + 1)
        *end = i + c.Lk - c.Lq + 1;
    if (*begin < 0)
        *begin = 0;
    if (*end > c.Lk)
        *end = c.Lk;
}

/* 0 or `keep`, by the draw of the probability of (h, i, j). */
__device__ static inline float attention_kept(const struct attention_call &c, struct draws *d,
                                              int64_t b, int64_t h, int64_t i, int64_t j)
{
    if (c.dropout == 0.0f)
        return 1.0f;
    return draw_unit(d, b, (uint64_t)((h * c.Lq + i) * c.Lk + j)) < (double)c.dropout ? 0.0f
                                                                                      : c.keep;
}

#endif
