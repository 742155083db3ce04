/* kernels/cpu/table.c: the kernels of the CPU by number. */
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

kernel_fn *const kernel_table_cpu[KERNEL_COUNT] = {
#define ENTRY(name) [KERNEL_##name] = name##_cpu,
    KERNEL_LIST(ENTRY)
#undef ENTRY
};

const char *kernel_name(enum kernel id)
{
    static const char *const names[KERNEL_COUNT] = { "none",
#define ENTRY(name) #name,
                                                     KERNEL_LIST(ENTRY)
#undef ENTRY
    };
    return names[id];
}
