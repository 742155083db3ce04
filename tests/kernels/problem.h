/* tests/kernels/problem.h: a kernel against bare loops in double. A problem is a set of operands and the
 * operation written out plainly (`reference`). problem_forward compares the kernel's output with it;
 * problem_backward compares the kernel's gradients of L = sum of g y, g random, with central differences
 * of L through the reference. Operands are drawn from a seed that is printed on failure. */
#ifndef DEEM_TESTS_KERNELS_PROBLEM_H
#define DEEM_TESTS_KERNELS_PROBLEM_H

#include "tests/support/support.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"

enum { OPERANDS = 12 };

struct problem {
    const char *name;
    struct view in[OPERANDS]; /* float32 or int32; data NULL: left out */
    double *exact[OPERANDS];  /* the same values in double; NULL for int32 */
    struct view out;          /* the one output that has a reference */
    double *expected;
    const void *attrs;
    unsigned differentiable; /* bit i: the gradient of input i is checked */
    /* Fills y from x (p->exact, or a copy that differs in one element). */
    void (*reference)(const struct problem *p, double *y, double *const *x);
    /* Calls the kernels; grads[i].data is NULL where no gradient is wanted. */
    enum status (*backward)(const struct problem *p, const struct view *dy, struct view *grads,
                            float beta, struct error *err);
    uint64_t state; /* of the draws */
};

struct problem problem_make(const char *name, uint64_t seed);
void problem_free(struct problem *p);
/* Input i, uniform in [low, high). */
void problem_input(struct problem *p, int i, double low, double high, int rank,
                   const int64_t *shape);
/* Input i, integers in [low, high). */
void problem_index(struct problem *p, int i, int64_t low, int64_t high, int rank,
                   const int64_t *shape);
void problem_output(struct problem *p, int rank, const int64_t *shape);
/* A fresh float32 view full of NaN, so that what is not written shows. Free with free(v.data). */
struct view view_make(int rank, const int64_t *shape);
struct view view_like(const struct view *v);
double problem_draw(struct problem *p); /* [0, 1) */

/* Runs `forward` with out[0] = p->out and the given further outputs; relative L2 error below `tolerance`. */
void problem_forward(struct problem *p, kernel_fn *forward, double tolerance);
void problem_forward_outs(struct problem *p, kernel_fn *forward, const struct view *outs,
                          int n_outs, double tolerance);
/* All gradients, set and then added to (twice the value); at most 48 elements of each are differenced. */
void problem_backward(struct problem *p, double tolerance);

/* |got - want| at most `tolerance`; NaN fails. */
#define assert_near(got, want, tolerance)                                                          \
    problem_near(got, want, tolerance, #got, __FILE__, __LINE__)
void problem_near(double got, double want, double tolerance, const char *what, const char *file,
                  int line);
double relative_error(const float *got, const double *want, int64_t n);
/* Fails the test unless the kernel refuses with CAUSE_ARG and a message that holds `word`. */
void assert_refused(kernel_fn *kernel, const struct view *out, const struct view *in,
                    const void *attrs, const char *word);

#define SHAPE(...)                                                                                 \
    (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[])                       \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* The sizes of style.md part 4. */
static const int64_t odd_sizes[] = { 1, 7, 31, 32, 33, 768 };
enum { ODD_SIZES = 6 };

#endif
