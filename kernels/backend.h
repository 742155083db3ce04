/* kernels/backend.h: what every operation is called with, on every backend. An operation is a header
 * kernels/NAME.h (shapes, units, tolerance, source, attribute struct) and kernels/cpu/NAME.c,
 * kernels/cuda/NAME.cu under the same stem. All kernels share one function type: arrays of views out
 * and in (the header says which index is what) and a pointer to the operation's attribute struct. */
#ifndef DEEM_KERNELS_BACKEND_H
#define DEEM_KERNELS_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum backend { BACKEND_CPU, BACKEND_CUDA, BACKEND_COUNT };

enum dtype { DT_NONE = 0, DT_F32 = 1, DT_BF16 = 2, DT_I32 = 3, DT_I64 = 4, DT_U8 = 5 };
static inline size_t dtype_size(enum dtype t)
{
    return t == DT_F32 || t == DT_I32 ? 4 : t == DT_BF16 ? 2 : t == DT_I64 ? 8 : t == DT_U8 ? 1 : 0;
}

enum { VIEW_RANK_MAX = 6 };
/* A dense row-major tensor in the backend's memory. data NULL: an optional operand left out. */
struct view {
    void *data;
    enum dtype type;
    int rank;
    int64_t shape[VIEW_RANK_MAX];
};
static inline int64_t view_count(const struct view *v)
{
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++)
        n *= v->shape[i];
    return n;
}

/* The context of a call: one per backend instance, used by one thread at a time. */
struct kctx {
    void *stream;  /* cudaStream_t; NULL on the CPU */
    void *scratch; /* workspace the kernel may use during the call */
    size_t scratch_bytes;
    int deterministic; /* CUDA: take the order-independent form */
    void *state;       /* backend's own: library handles, plan caches */
};

/* ST_FAIL: CAUSE_ARG (shapes or attributes the header forbids), CAUSE_NOMEM, CAUSE_CUDA. CPU: done on
 * return. CUDA: device pointers, asynchronous on k->stream. Kernels marked "adds" in their header
 * accumulate into the output; all others overwrite it. */
typedef enum status kernel_fn(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err);

#ifdef __cplusplus
}
#endif
#endif
