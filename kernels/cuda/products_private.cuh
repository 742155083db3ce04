/* kernels/cuda/products_private.cuh: matrix products of row-major operands. cuBLASLt does them; a plain kernel
 * serves what it has no algorithm for. float32 operands are multiplied in float32, never in TF32; where one operand
 * is bf16 and the other float32, the first is widened. */
#ifndef DEEM_KERNELS_CUDA_PRODUCTS_PRIVATE_CUH
#define DEEM_KERNELS_CUDA_PRODUCTS_PRIVATE_CUH

#include "kernels/cuda/cuda_private.cuh"

/* C [M,N] = alpha op(A) op(B) + beta C + bias, in `batch` matrices that lie `step` elements apart (0: the same
 * one each time). Rows are ld elements apart. A and B have one type. Zero sizes are legal. */
struct product {
    int trans_a, trans_b;
    int64_t M, N, K, batch;
    struct ref A, B, C;
    int64_t lda, ldb, ldc, step_a, step_b, step_c;
    float alpha, beta;
    struct ref bias; /* [N], added to each row; left out: none */
    void *room;      /* workspace for operands of mixed types; NULL: the plain kernel takes them */
    size_t room_bytes;
};
enum status products_open(void **lt, struct error *err);
void products_close(void **lt);
size_t products_version(void);
/* ST_FAIL: CAUSE_CUDA. */
enum status product_run(struct kctx *k, const struct product *p, const char *op, struct error *err);
/* By cuBLASLt; *done is false where it has no algorithm for the operands. */
enum status product_lt(struct kctx *k, const struct product *p, bool *done, struct error *err);

#endif
