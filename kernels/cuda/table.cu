/* kernels/cuda/table.cu: the kernels of CUDA by number. */
#include "kernels/table.h"

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/add.h"
#include "kernels/attention.h"
#include "kernels/conv2d.h"
#include "kernels/copy.h"
#include "kernels/ddpm.h"
#include "kernels/depthwise.h"
#include "kernels/dropout.h"
#include "kernels/gather.h"
#include "kernels/groupnorm.h"
#include "kernels/layernorm.h"
#include "kernels/linear.h"
#include "kernels/matmul.h"
#include "kernels/mmfs.h"
#include "kernels/pool.h"
#include "kernels/random.h"
#include "kernels/reduce.h"
#include "kernels/resize.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/scale.h"
#include "kernels/sinusoid.h"
#include "kernels/xent.h"

kernel_fn *const kernel_table_cuda[KERNEL_COUNT] = { NULL,
#define ENTRY(name) name##_cuda,
                                                     KERNEL_LIST(ENTRY)
#undef ENTRY
};
