/* tests/kernels/problem.c */
#include "tests/kernels/problem.h"

enum { DIFFERENCED = 48 };

struct problem problem_make(const char *name, uint64_t seed)
{
    struct problem p = { .name = name, .state = seed * 2 + 1 };
    return p;
}

void problem_free(struct problem *p)
{
    for (int i = 0; i < OPERANDS; i++) {
        free(p->in[i].data);
        free(p->exact[i]);
    }
    free(p->out.data);
    free(p->expected);
}

double problem_draw(struct problem *p)
{
    p->state = p->state * 6364136223846793005u + 1442695040888963407u;
    return (double)(p->state >> 11) * 0x1p-53;
}

struct view view_make(int rank, const int64_t *shape)
{
    struct view v = { NULL, DT_F32, rank, { 0 } };
    memcpy(v.shape, shape, (size_t)rank * sizeof *shape);
    const size_t n = (size_t)view_count(&v);
    float *data = malloc((n ? n : 1) * sizeof *data);
    assert_non_null(data);
    for (size_t i = 0; i < n; i++)
        data[i] = NAN;
    v.data = data;
    return v;
}

struct view view_like(const struct view *v)
{
    return view_make(v->rank, v->shape);
}

static double *doubles(int64_t n)
{
    double *d = calloc((size_t)n + 1, sizeof *d);
    assert_non_null(d);
    return d;
}

void problem_input(struct problem *p, int i, double low, double high, int rank,
                   const int64_t *shape)
{
    p->in[i] = view_make(rank, shape);
    const int64_t n = view_count(&p->in[i]);
    p->exact[i] = doubles(n);
    for (int64_t e = 0; e < n; e++) {
        const float v = (float)(low + (high - low) * problem_draw(p));
        ((float *)p->in[i].data)[e] = v;
        p->exact[i][e] = (double)v;
    }
}

void problem_index(struct problem *p, int i, int64_t low, int64_t high, int rank,
                   const int64_t *shape)
{
    p->in[i] = view_make(rank, shape);
    p->in[i].type = DT_I32;
    for (int64_t e = 0; e < view_count(&p->in[i]); e++)
        ((int32_t *)p->in[i].data)[e] =
            (int32_t)(low + (int64_t)(problem_draw(p) * (double)(high - low)));
}

void problem_output(struct problem *p, int rank, const int64_t *shape)
{
    p->out = view_make(rank, shape);
    p->expected = doubles(view_count(&p->out));
}

void problem_near(double got, double want, double tolerance, const char *what, const char *file,
                  int line)
{
    if (!(fabs(got - want) <= tolerance)) {
        print_error("%s: got %.9g, want %.9g within %g\n", what, got, want, tolerance);
        _fail(file, line);
    }
}

double relative_error(const float *got, const double *want, int64_t n)
{
    double difference = 0.0, size = 0.0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(difference / (size + 1e-30));
}

static void check(const struct problem *p, const char *what, double error, double tolerance)
{
    if (!(error <= tolerance)) /* NaN fails */
        fail_msg("%s: %s: relative error %g, allowed %g", p->name, what, error, tolerance);
}

void problem_forward_outs(struct problem *p, kernel_fn *forward, const struct view *outs,
                          int n_outs, double tolerance)
{
    struct view out[OPERANDS] = { p->out };
    struct kctx k = { 0 };
    struct error err = { 0 };
    for (int i = 0; i < n_outs; i++)
        out[1 + i] = outs[i];
    if (forward(&k, out, p->in, p->attrs, &err) != ST_OK)
        fail_msg("%s: %s", p->name, err.text);
    p->reference(p, p->expected, p->exact);
    check(p, "output", relative_error(p->out.data, p->expected, view_count(&p->out)), tolerance);
}

void problem_forward(struct problem *p, kernel_fn *forward, double tolerance)
{
    problem_forward_outs(p, forward, NULL, 0, tolerance);
}

static double loss(const struct problem *p, double *const *x, const float *g, double *y)
{
    double sum = 0.0;
    memset(y, 0, (size_t)view_count(&p->out) * sizeof *y);
    p->reference(p, y, x);
    for (int64_t i = 0; i < view_count(&p->out); i++)
        sum += (double)g[i] * y[i];
    return sum;
}

/* Central differences of input i at `count` elements spread over it; got are the kernel's values. */
static void difference_input(const struct problem *p, int i, const float *grad, const float *g,
                             double tolerance)
{
    const int64_t n = view_count(&p->in[i]), count = n < DIFFERENCED ? n : DIFFERENCED;
    const double h = 1e-5;
    double *x[OPERANDS], *y = doubles(view_count(&p->out)), want[DIFFERENCED];
    float got[DIFFERENCED];
    char what[64];

    memcpy(x, p->exact, sizeof x);
    x[i] = doubles(n);
    memcpy(x[i], p->exact[i], (size_t)n * sizeof(double));
    for (int64_t j = 0; j < count; j++) {
        const int64_t e = count < n ? (j * 7919 + j * j) % n : j;
        const double middle = x[i][e];
        x[i][e] = middle + h;
        const double up = loss(p, x, g, y);
        x[i][e] = middle - h;
        want[j] = (up - loss(p, x, g, y)) / (2.0 * h);
        x[i][e] = middle;
        got[j] = grad[e];
    }
    snprintf(what, sizeof what, "gradient of input %d", i);
    check(p, what, relative_error(got, want, count), tolerance);
    free(x[i]);
    free(y);
}

void problem_backward(struct problem *p, double tolerance)
{
    struct view dy = view_like(&p->out), set[OPERANDS] = { 0 }, twice[OPERANDS] = { 0 };
    struct error err = { 0 };

    for (int64_t e = 0; e < view_count(&dy); e++)
        ((float *)dy.data)[e] = (float)(2.0 * problem_draw(p) - 1.0);
    for (int i = 0; i < OPERANDS; i++)
        if (p->differentiable >> i & 1) {
            set[i] = view_like(&p->in[i]);
            twice[i] = view_like(&p->in[i]);
        }
    if (p->backward(p, &dy, set, 0.0f, &err) != ST_OK)
        fail_msg("%s: %s", p->name, err.text);
    for (int i = 0; i < OPERANDS; i++) {
        if (!set[i].data)
            continue;
        difference_input(p, i, set[i].data, dy.data, tolerance);
        memcpy(twice[i].data, set[i].data, (size_t)view_count(&set[i]) * sizeof(float));
    }
    assert_int_equal(p->backward(p, &dy, twice, 1.0f, &err), ST_OK);
    for (int i = 0; i < OPERANDS; i++) {
        if (!set[i].data)
            continue;
        double *want = doubles(view_count(&set[i]));
        for (int64_t e = 0; e < view_count(&set[i]); e++)
            want[e] = 2.0 * (double)((float *)set[i].data)[e];
        check(p, "gradient added twice", relative_error(twice[i].data, want, view_count(&set[i])),
              1e-5);
        free(want);
        free(set[i].data);
        free(twice[i].data);
    }
    free(dy.data);
}

void assert_refused(kernel_fn *kernel, const struct view *out, const struct view *in,
                    const void *attrs, const char *word)
{
    struct kctx k = { 0 };
    struct error err = { 0 };
    assert_int_equal(kernel(&k, out, in, attrs, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    assert_non_null(strstr(err.text, word));
}
