/* kernels/table.h: every kernel by number, so that a program names operations and a backend answers with
 * functions. */
#ifndef DEEM_KERNELS_TABLE_H
#define DEEM_KERNELS_TABLE_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* clang-format off */
#define KERNEL_LIST(X)                                                                            \
    X(gelu_fwd) X(silu_fwd) X(relu_fwd) X(gelu_bwd) X(silu_bwd) X(relu_bwd) X(swiglu_fwd)         \
    X(swiglu_bwd) X(geglu_fwd) X(geglu_bwd) X(adamw_fwd) X(add_fwd) X(axpby_fwd)                  \
    X(add_table_fwd) X(add_table_bwd) X(add_image_fwd) X(add_image_bwd) X(gated_add_fwd)          \
    X(gated_add_bwd) X(add_scaled_fwd) X(attention_fwd) X(attention_bwd) X(conv2d_fwd)            \
    X(conv2d_dx) X(conv2d_dw) X(fill_fwd) X(cast_fwd) X(concat_fwd) X(split_fwd)                  \
    X(transpose_fwd) X(ddpm_table_fwd) X(ddpm_noise_fwd) X(ddpm_loss_fwd) X(ddpm_step_fwd)        \
    X(ddpm_posterior_fwd) X(depthwise_fwd) X(depthwise_dx) X(depthwise_dw) X(dropout_fwd)         \
    X(dropout_path_fwd) X(gather_fwd) X(gather_bwd) X(gather_sum_fwd) X(scatter_fwd)              \
    X(scatter_dx) X(groupnorm_fwd) X(groupnorm_bwd) X(layernorm_fwd) X(layernorm_bwd)             \
    X(linear_fwd) X(linear_dx) X(linear_dw) X(linear_db) X(matmul_fwd) X(mmfs_fwd)                \
    X(mmfs_bwd) X(pool_mean_fwd) X(pool_mean_bwd) X(pool_mask_fwd) X(pool_mask_bwd)               \
    X(random_normal_fwd) X(random_uniform_fwd) X(reduce_sum_fwd) X(reduce_squares_fwd)            \
    X(resize_bicubic_fwd) X(resize_bilinear_fwd) X(upsample2_fwd) X(upsample2_bwd)                \
    X(rmsnorm_fwd) X(rmsnorm_bwd) X(rope_fwd) X(scale_channels_fwd) X(scale_channels_bwd)         \
    X(scale_rows_fwd) X(sinusoid_grid_fwd) X(sinusoid_row_fwd) X(sinusoid_time_fwd)               \
    X(xent_fwd)
/* clang-format on */

enum kernel {
    KERNEL_NONE,
#define KERNEL_NUMBER(name) KERNEL_##name,
    KERNEL_LIST(KERNEL_NUMBER)
#undef KERNEL_NUMBER
        KERNEL_COUNT
};

/* By enum kernel; entry KERNEL_NONE is NULL. */
extern kernel_fn *const kernel_table_cpu[KERNEL_COUNT];
extern kernel_fn *const kernel_table_cuda[KERNEL_COUNT];
/* "linear_fwd": the name without its backend; "none" for KERNEL_NONE. */
const char *kernel_name(enum kernel id);

#ifdef __cplusplus
}
#endif
#endif
