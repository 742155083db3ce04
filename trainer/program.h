/* trainer/program.h: a training step as data. A program is a list of nodes (operation, output tensors,
 * input tensors, attributes) over a list of tensors (shape, role, place, need of a gradient). Modules
 * (nn_*) write the forward part by calling operations (op.h), which append nodes; program_backward
 * walks a span of nodes backwards and lets every operation append its own gradient, only for tensors
 * that need one. Nothing is computed here: planner.h places the tensors, runner.h walks the list, the
 * counter (cost.h) and the dump read it.
 *
 * Faults are sticky: after the first one every call returns TENSOR_NONE and does nothing, and
 * program_finish reports it. So a forward function reads like the equations it stands for.
 *
 *     int x = program_batch(p, "x", ROLE_STORAGE, (int64_t[]){ N, C }, 2);
 *     int w = program_param(p, (int64_t[]){ D, C }, 2, "%sfc.weight", prefix);
 *     int y = op_linear(p, x, w, TENSOR_NONE);
 *     program_probe(p, y, "fc.out");
 *
 * Reading order: this header, op.h, then op_linear.c as the example of an operation. One thread. */
#ifndef DEEM_TRAINER_PROGRAM_H
#define DEEM_TRAINER_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "kernels/table.h"
#include "trainer/params.h"

enum { TENSOR_NONE = 0 }; /* an optional operand left out, or a fault */

/* What a number is for decides its type. CPU: storage is float32. CUDA: bf16. */
enum role {
    ROLE_STORAGE, /* weights and activations */
    ROLE_EXACT,   /* float32 on every backend: the islands of model.md 0 */
    ROLE_INDEX,   /* int32: ids, offsets, masks that count or select */
};

enum place {
    PLACE_PARAMETER, /* params.h */
    PLACE_GRADIENT,  /* gradient of a parameter: the second block of params.h */
    PLACE_BATCH,     /* written by the host before the run */
    PLACE_ARENA,     /* the planner's */
};

struct tensor {
    const char *name; /* "" for temporaries */
    enum role role;
    enum place place;
    int rank;
    int64_t shape[VIEW_RANK_MAX];
    int64_t count; /* elements */
    bool needs_gradient;
    bool kept;    /* may be read after the run: its memory is not used again */
    bool started; /* gradients: somebody has written it */
    int gradient; /* the tensor that sums this one's gradient, or TENSOR_NONE */
    int base;     /* shares the memory of this tensor from element `offset`, or TENSOR_NONE */
    int64_t offset;
    size_t param; /* index into params, for the first two places */
};

struct program;
struct node;

/* What an operation knows. Gradient operations are entries as well, without append_gradient. */
struct op_shape {
    enum role role;
    int rank;
    int64_t shape[VIEW_RANK_MAX];
};
/* Shapes and roles of the outputs from inputs and attributes: fills out[0..n_out). Refuses operands
 * that do not fit: CAUSE_ARG. */
typedef enum status op_shape_fn(const struct program *p, const struct node *n, struct op_shape *out,
                                struct error *err);
/* Appends the gradient of node `n` (a copy: the list may move). */
typedef void op_gradient_fn(struct program *p, const struct node *n);
/* Multiplications and additions of one call, as model.md 8 counts them: products only. */
typedef double op_flops_fn(const struct program *p, const struct node *n);

struct op {
    const char *name;
    op_shape_fn *shape;       /* NULL: outputs are given and the kernel checks them */
    enum kernel run;          /* KERNEL_NONE: no backend runs it */
    op_gradient_fn *gradient; /* NULL: nothing flows back */
    op_flops_fn *flops;       /* NULL: no products */
    double hardware;          /* executed products as a multiple of `flops`; 0 means 1 */
    unsigned saves_in;        /* bit i: input i is read again by the gradient */
    unsigned saves_out;       /* bit i: output i is */
};

struct node {
    const struct op *op;
    const int *out, *in;
    int n_out, n_in;
    const void *attrs; /* struct of the kernel's header; owned by the program */
    size_t attrs_bytes;
    const char *part; /* "llm", "unet", ...: what the cost tables sum over */
    bool again;       /* a forward node appended again by recomputation */
};

/* A run of nodes. Spans nest; a program's tables of spans is in order of their begin. */
struct span {
    const char *name;
    int begin, end; /* nodes [begin, end) */
    bool recompute; /* backward keeps only its inputs and appends its forward again */
    bool repeated;  /* run several times: what it reads from outside stays alive throughout */
};

struct program {
    struct params *params;  /* borrowed */
    struct tensor *tensors; /* [0] is TENSOR_NONE */
    int n_tensors, cap_tensors;
    struct node *nodes;
    int n_nodes, cap_nodes;
    struct span *spans;
    int n_spans, cap_spans;
    int *param_tensor;     /* by parameter index: its tensor here, or TENSOR_NONE */
    size_t n_param_tensor; /* entries of it */
    const char *part;
    bool again;
    bool keep_probes; /* named intermediates stay readable after the run */
    bool failed;
    struct error err;
    struct arena memory; /* names, operand lists, attributes */
};

/* `keep_probes`: reference runs look at intermediates; training does not. */
enum status program_open(struct program **out, struct params *params, bool keep_probes,
                         struct error *err);
void program_close(struct program **p);
/* ST_OK, or the first fault of all calls so far. */
enum status program_finish(const struct program *p, struct error *err);
/* Records a fault found by a module: CAUSE_ARG. Returns TENSOR_NONE. */
int program_fault(struct program *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Tensors. The name's format comes last because names are composed: prefix, layer, suffix. */
int program_param(struct program *p, const int64_t *shape, int rank, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A table that is computed, saved in checkpoints and never trains. */
int program_buffer(struct program *p, const int64_t *shape, int rank, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int program_batch(struct program *p, const char *name, enum role role, const int64_t *shape,
                  int rank);
int program_arena(struct program *p, enum role role, const int64_t *shape, int rank);
/* A batch tensor that needs a gradient (reference cases ask for those of inputs). */
void program_require_gradient(struct program *p, int t);
/* Another shape over the same memory; costs nothing, gradients go to the same memory, too. */
int program_reshape(struct program *p, int t, const int64_t *shape, int rank);
/* Rows [first, first + rows) of axis 0, in place. */
int program_rows(struct program *p, int t, int64_t first, int64_t rows);
/* Names an intermediate for dumps and reference cases; returns t. */
int program_probe(struct program *p, int t, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Keeps t readable until the end of the run, in every program; returns t. */
int program_keep(struct program *p, int t);
/* The tensor of that name, or TENSOR_NONE. */
int program_find(const struct program *p, const char *name);

static inline const struct tensor *program_tensor(const struct program *p, int t)
{
    return &p->tensors[t];
}
static inline int64_t program_axis(const struct program *p, int t, int axis)
{
    return p->tensors[t].shape[axis];
}
/* The tensor whose memory t lies in. */
int program_root(const struct program *p, int t);

/* Nodes. program_apply makes the outputs by the shape rule and returns their ids in out[0..n_out)
 * (all TENSOR_NONE after a fault); program_append writes into tensors that exist. Both copy the
 * attributes. */
void program_apply(struct program *p, const struct op *op, int *out, int n_out, const int *in,
                   int n_in, const void *attrs, size_t attrs_bytes);
void program_append(struct program *p, const struct op *op, const int *out, int n_out,
                    const int *in, int n_in, const void *attrs, size_t attrs_bytes);
/* The common case: one output. */
int program_apply_one(struct program *p, const struct op *op, const int *in, int n_in,
                      const void *attrs, size_t attrs_bytes);
/* What the following nodes are counted as; `part` must outlive the program. Returns the old part. */
const char *program_part(struct program *p, const char *part);

enum { SPAN_RECOMPUTE = 1, SPAN_REPEATED = 2 };
int program_span_begin(struct program *p, int flags, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void program_span_end(struct program *p, int span);
/* Index of the span of that name, or -1. */
int program_find_span(const struct program *p, const char *name);

/* Backward (program_backward.c). Appends the gradient of nodes [begin, end), last first. Spans inside that
 * are marked for recomputation get their forward appended again first. */
void program_backward(struct program *p, int begin, int end);
/* Tensor that holds the gradient of `t` so far, in the shape of t; TENSOR_NONE where nothing has
 * been written. For operations: the incoming gradient of an output. */
int program_gradient(struct program *p, int t);
/* Where the next writer puts its part of the gradient of t: sets *beta to 0 for the first writer
 * (overwrite) and 1 for later ones (add). TENSOR_NONE where t needs none. */
int program_gradient_target(struct program *p, int t, float *beta);
/* Makes `gradient` (same count) the gradient of t, already written: where a backward pass starts. */
void program_gradient_seed(struct program *p, int t, int gradient);
/* Makes sure the gradient of t exists: zero-filled here unless somebody has written it. Spans that
 * run several times add into tensors of outside, which must be prepared by this. */
int program_gradient_prepare(struct program *p, int t);

/* Text: one line a tensor or node, as the tests hold it. */
enum status program_dump(const struct program *p, struct buffer *out, struct error *err);

#endif
