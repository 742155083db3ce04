/* kernels/cuda/table.cu: the kernels of CUDA by number. */
#include "kernels/device.h"

#include "kernels/activation.h"

kernel_fn *const kernel_table_cuda[KERNEL_COUNT] = {
    NULL,          gelu_fwd_cuda,   silu_fwd_cuda,   relu_fwd_cuda,  gelu_bwd_cuda,  silu_bwd_cuda,
    relu_bwd_cuda, swiglu_fwd_cuda, swiglu_bwd_cuda, geglu_fwd_cuda, geglu_bwd_cuda,
};
