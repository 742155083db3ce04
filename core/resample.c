/* core/resample.c: see resample.h. Weights, the plan of box halvings and crop, and the two passes of
 * every step. A picture is walked backwards first, from the outputs that are wanted to the inputs that
 * reach them, so that no step computes more than the next one reads. */
#include "core/resample.h"

#include <math.h>
#include <string.h>

#include "core/bytes.h"
#include "core/mem.h"
#include "core/resample_private.h"

enum { SIDE_MAX = 65536, STEPS_MAX = 20 };

bool resample_available(enum resample_code code)
{
    return code != RESAMPLE_AVX2 || resample_avx2_available();
}

const char *resample_code_name(enum resample_code code)
{
    if (code == RESAMPLE_BEST)
        code = resample_avx2_available() ? RESAMPLE_AVX2 : RESAMPLE_PLAIN;
    return code == RESAMPLE_AVX2 ? "avx2" : "plain";
}

/* ---- weights ---- */

static double filter_box(double x)
{
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double filter_bicubic(double x)
{
    const double a = -0.5;

    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0)
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

static void axis_clear(struct resample_axis *a)
{
    mem_free(a->first);
    mem_free(a->taps);
    mem_free(a->weight);
    mem_free(a->pairs);
    *a = (struct resample_axis){ 0 };
}

/* Window and weights of output `i`; `w` is room for one window of doubles. */
static void axis_fill(struct resample_axis *a, uint32_t i, double *w, double scale,
                      double filter_scale, double support, double (*filter)(double))
{
    const double centre = (a->begin + i + 0.5) * scale;
    const double per = 1.0 / filter_scale;
    const double from = centre - support + 0.5, to = centre + support + 0.5;
    const uint32_t lo = from > 0.0 ? (uint32_t)from : 0;
    const uint32_t hi = to < (double)a->in ? (uint32_t)to : a->in;
    double sum = 0.0;

    for (uint32_t j = lo; j < hi; j++) {
        w[j - lo] = filter((j - centre + 0.5) * per);
        sum += w[j - lo];
    }
    for (uint32_t j = 0; j < hi - lo; j++) {
        const double one = (sum != 0.0 ? w[j] / sum : w[j]) * (1 << RESAMPLE_BITS);
        a->weight[(size_t)i * a->cap + j] = (int32_t)(one < 0.0 ? one - 0.5 : one + 0.5);
    }
    for (uint32_t j = 0; j < a->cap; j += 2) {
        const int32_t *p = a->weight + (size_t)i * a->cap + j;
        uint32_t *q = a->pairs + (size_t)i * a->cap + j;
        const int32_t low = (1 << RESAMPLE_SPLIT) - 1;
        q[0] = ((uint32_t)(p[0] >> RESAMPLE_SPLIT) & 0xffff) | (uint32_t)(p[1] >> RESAMPLE_SPLIT)
                                                                   << 16;
        q[1] = (uint32_t)(p[0] & low) | (uint32_t)(p[1] & low) << 16;
    }
    a->first[i] = lo;
    a->taps[i] = hi - lo;
    a->in_begin = lo < a->in_begin ? lo : a->in_begin;
    a->in_end = hi > a->in_end ? hi : a->in_end;
}

static enum status axis_init(struct resample_axis *a, uint32_t in, uint32_t out, uint32_t begin,
                             uint32_t end, enum resample_filter filter, struct error *err)
{
    const double scale = (double)in / out, filter_scale = scale > 1.0 ? scale : 1.0;
    const double support = (filter == RESAMPLE_BOX ? 0.5 : 2.0) * filter_scale;
    const uint32_t n = end - begin;

    *a = (struct resample_axis){ .in = in, .out = out, .begin = begin, .end = end, .in_begin = in };
    a->cap = ((uint32_t)ceil(support) * 2 + 2) & ~1u;
    a->first = mem_calloc(n, sizeof *a->first);
    a->taps = mem_calloc(n, sizeof *a->taps);
    a->weight = mem_calloc((size_t)n * a->cap, sizeof *a->weight);
    a->pairs = mem_calloc((size_t)n * a->cap, sizeof *a->pairs);
    double *w = mem_calloc(a->cap, sizeof *w);
    if (!a->first || !a->taps || !a->weight || !a->pairs || !w) {
        mem_free(w);
        axis_clear(a);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: resampling weights");
    }
    for (uint32_t i = 0; i < n; i++)
        axis_fill(a, i, w, scale, filter_scale, support,
                  filter == RESAMPLE_BOX ? filter_box : filter_bicubic);
    mem_free(w);
    return ST_OK;
}

/* ---- one step: a resize of which a window is wanted ---- */

struct window {
    uint32_t x0, y0, x1, y1; /* half-open */
};
struct step {
    uint32_t in_width, in_height, width, height;
    enum resample_filter filter;
    struct window want; /* of the output */
    struct window need; /* of the input */
    struct resample_axis x, y;
};

static enum status step_init(struct step *s, struct error *err)
{
    s->need = s->want;
    if (s->in_width != s->width) {
        if (axis_init(&s->x, s->in_width, s->width, s->want.x0, s->want.x1, s->filter, err) !=
            ST_OK)
            return ST_FAIL;
        s->need.x0 = s->x.in_begin;
        s->need.x1 = s->x.in_end;
    }
    if (s->in_height != s->height) {
        if (axis_init(&s->y, s->in_height, s->height, s->want.y0, s->want.y1, s->filter, err) !=
            ST_OK)
            return ST_FAIL;
        s->need.y0 = s->y.in_begin;
        s->need.y1 = s->y.in_end;
    }
    return ST_OK;
}

static void step_clear(struct step *s)
{
    axis_clear(&s->x);
    axis_clear(&s->y);
}

/* A window of `in` to planes, where no pass has to run. */
static void copy_window(const struct resample_planes *out, const struct resample_view *in,
                        const struct window *w)
{
    for (size_t c = 0; c < 3; c++)
        for (uint32_t y = w->y0; y < w->y1; y++) {
            const uint8_t *from =
                in->data + c * in->channel + (y - in->y0) * in->row + (w->x0 - in->x0) * in->pixel;
            uint8_t *to =
                out->data + c * out->channel + (y - out->y0) * out->row + (w->x0 - out->x0);
            if (in->pixel == 1)
                memcpy(to, from, w->x1 - w->x0);
            else
                for (size_t x = 0; x < w->x1 - w->x0; x++)
                    to[x] = from[x * in->pixel];
        }
}

static struct resample_view view_of(const struct resample_planes *p)
{
    return (struct resample_view){ p->data, p->channel, p->row, 1, p->x0, p->y0 };
}

static enum status planes_alloc(struct resample_planes *p, const struct window *w,
                                struct error *err)
{
    const size_t row = w->x1 - w->x0, channel = row * (w->y1 - w->y0);

    *p = (struct resample_planes){ mem_alloc(3 * channel), channel, row, w->x0, w->y0 };
    if (!p->data)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: resampling");
    return ST_OK;
}

/* The wanted window of one resize into `out`. */
static enum status step_run(const struct step *s, const struct resample_planes *out,
                            const struct resample_view *in, bool avx2, struct error *err)
{
    resample_x_fn *run_x = avx2 ? resample_x_avx2 : resample_x_plain;
    resample_y_fn *run_y = avx2 ? resample_y_avx2 : resample_y_plain;
    const bool wide = s->in_width != s->width, high = s->in_height != s->height;
    const struct window between = { s->want.x0, s->need.y0, s->want.x1, s->need.y1 };
    struct resample_planes middle = { 0 };
    enum status st = ST_OK;

    if (wide && !high)
        return run_x(out, in, &s->x, s->want.y0, s->want.y1, err);
    if (!wide && !high) {
        copy_window(out, in, &s->want);
        return ST_OK;
    }
    if (wide || in->pixel > 1) {
        st = planes_alloc(&middle, &between, err);
        if (st == ST_OK && wide)
            st = run_x(&middle, in, &s->x, s->need.y0, s->need.y1, err);
        else if (st == ST_OK)
            copy_window(&middle, in, &between);
        const struct resample_view view = view_of(&middle);
        if (st == ST_OK)
            st = run_y(out, &view, &s->y, s->want.x0, s->want.x1, err);
    } else {
        st = run_y(out, in, &s->y, s->want.x0, s->want.x1, err);
    }
    mem_free(middle.data);
    return st;
}

/* ---- chains of steps ---- */

struct chain {
    struct step steps[STEPS_MAX];
    size_t count;
};

static void chain_add(struct chain *k, uint32_t *width, uint32_t *height, uint32_t to_width,
                      uint32_t to_height, enum resample_filter filter)
{
    k->steps[k->count++] = (struct step){ .in_width = *width,
                                          .in_height = *height,
                                          .width = to_width,
                                          .height = to_height,
                                          .filter = filter };
    *width = to_width;
    *height = to_height;
}

/* The steps from a picture to a square of `side`, and which window of the last one is the square. */
static void chain_plan(struct chain *k, struct window *square, uint32_t side,
                       enum resample_geometry geometry, uint32_t width, uint32_t height)
{
    *square = (struct window){ 0, 0, side, side };
    k->count = 0;
    if (geometry == RESAMPLE_SQUASH) {
        chain_add(k, &width, &height, side, side, RESAMPLE_BICUBIC);
        return;
    }
    while ((width < height ? width : height) / 2 >= side)
        chain_add(k, &width, &height, width / 2, height / 2, RESAMPLE_BOX);
    const double f = (double)side / (width < height ? width : height);
    const uint32_t to_width = (uint32_t)rint(width * f), to_height = (uint32_t)rint(height * f);
    chain_add(k, &width, &height, to_width, to_height, RESAMPLE_BICUBIC);
    square->x0 = (to_width - side) / 2;
    square->y0 = (to_height - side) / 2;
    square->x1 = square->x0 + side;
    square->y1 = square->y0 + side;
}

static enum status chain_prepare(struct chain *k, struct window want, struct error *err)
{
    for (size_t i = k->count; i-- > 0;) {
        k->steps[i].want = want;
        if (step_init(&k->steps[i], err) != ST_OK)
            return ST_FAIL;
        want = k->steps[i].need;
    }
    return ST_OK;
}

static enum status chain_run(struct chain *k, const struct resample_planes *out,
                             const struct resample_view *in, bool avx2, struct error *err)
{
    struct resample_planes last = { 0 };
    struct resample_view view = *in;
    enum status st = ST_OK;

    for (size_t i = 0; i < k->count && st == ST_OK; i++) {
        struct resample_planes next = *out;
        const bool is_last = i + 1 == k->count;
        if (!is_last)
            st = planes_alloc(&next, &k->steps[i].want, err);
        if (st == ST_OK)
            st = step_run(&k->steps[i], &next, &view, avx2, err);
        mem_free(last.data);
        last = is_last ? (struct resample_planes){ 0 } : next;
        view = view_of(&next);
    }
    mem_free(last.data);
    return st;
}

static void chain_clear(struct chain *k)
{
    for (size_t i = 0; i < k->count; i++)
        step_clear(&k->steps[i]);
    k->count = 0;
}

static enum status check_sides(uint32_t a, uint32_t b, struct error *err)
{
    if (a < 1 || b < 1 || a > SIDE_MAX || b > SIDE_MAX)
        return error_set(err, ST_FAIL, CAUSE_ARG, "resample: sides %u and %u, allowed 1 to %d",
                         (unsigned)a, (unsigned)b, SIDE_MAX);
    return ST_OK;
}

static struct resample_view view_rgb(const uint8_t *in, uint32_t width)
{
    return (struct resample_view){ in, 1, 3 * (size_t)width, 3, 0, 0 };
}

enum status resample_tensors(const struct resample_target *targets, size_t count,
                             enum resample_geometry geometry, const uint8_t *in, uint32_t in_width,
                             uint32_t in_height, enum resample_code code, struct error *err)
{
    const bool avx2 = code != RESAMPLE_PLAIN && resample_avx2_available();
    const struct resample_view view = view_rgb(in, in_width);
    enum status st = check_sides(in_width, in_height, err);

    if (!resample_available(code))
        return error_set(err, ST_FAIL, CAUSE_ARG, "this processor has no AVX2");
    for (size_t i = 0; i < count && st == ST_OK; i++) {
        const uint32_t side = targets[i].side;
        struct window square;
        struct chain k = { .count = 0 };
        st = check_sides(side, side, err);
        if (st != ST_OK)
            break;
        chain_plan(&k, &square, side, geometry, in_width, in_height);
        const struct resample_planes out = { targets[i].out, (size_t)side * side, side, square.x0,
                                             square.y0 };
        st = chain_prepare(&k, square, err);
        if (st == ST_OK)
            st = chain_run(&k, &out, &view, avx2, err);
        chain_clear(&k);
    }
    return st;
}

enum status resample_rgb(uint8_t *out, uint32_t width, uint32_t height, const uint8_t *in,
                         uint32_t in_width, uint32_t in_height, enum resample_filter filter,
                         struct error *err)
{
    const struct resample_view view = view_rgb(in, in_width);
    struct resample_planes planes = { 0 };
    struct step s = { .in_width = in_width,
                      .in_height = in_height,
                      .width = width,
                      .height = height,
                      .filter = filter,
                      .want = { 0, 0, width, height } };

    if (check_sides(in_width, in_height, err) != ST_OK || check_sides(width, height, err) != ST_OK)
        return ST_FAIL;
    enum status st = step_init(&s, err);
    if (st == ST_OK)
        st = planes_alloc(&planes, &s.want, err);
    if (st == ST_OK)
        st = step_run(&s, &planes, &view, resample_avx2_available(), err);
    const size_t pixels = (size_t)width * height;
    for (size_t i = 0; st == ST_OK && i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            out[3 * i + c] = planes.data[c * planes.channel + i];
    mem_free(planes.data);
    step_clear(&s);
    return st;
}
