/* kernels/cuda/conv2d.cu: convolutions as products. A kernel of one pixel is a product of the operands as they
 * lie. Others go through patches in the workspace, [output pixels, kh kw C], some rows of pictures at a time, and
 * weights turned to [D, kh kw C]; the gradient of the input collects from patches, so that no sum depends on the
 * order of threads. */
#include "kernels/conv2d.h"

#include "kernels/cuda/products_private.cuh"

struct shape {
    int64_t I, H, W, C, D, kh, kw, P, Q; /* P x Q: output pixels */
    int stride, top, left;
    int64_t taps; /* kh kw C: width of a patch */
};

static bool shape_of(struct shape *z, const struct view *x, const struct view *y,
                     const struct view *w, const struct conv2d_attrs *at)
{
    if (x->rank != 4 || y->rank != 4 || w->rank != 4 || at->stride < 1 || at->pad_top < 0 ||
        at->pad_left < 0 || at->pad_bottom < 0 || at->pad_right < 0)
        return false;
    z->I = x->shape[0];
    z->H = x->shape[1];
    z->W = x->shape[2];
    z->C = x->shape[3];
    z->D = w->shape[0];
    z->kh = w->shape[2];
    z->kw = w->shape[3];
    z->P = conv2d_side(z->H, z->kh, at->stride, at->pad_top + at->pad_bottom);
    z->Q = conv2d_side(z->W, z->kw, at->stride, at->pad_left + at->pad_right);
    z->stride = at->stride;
    z->top = at->pad_top;
    z->left = at->pad_left;
    z->taps = z->kh * z->kw * z->C;
    return z->P >= 0 && z->Q >= 0 && w->shape[1] == z->C && y->shape[0] == z->I &&
           y->shape[1] == z->P && y->shape[2] == z->Q && y->shape[3] == z->D &&
           view_float(x, view_count(x)) && view_float(y, view_count(y)) &&
           view_float(w, z->D * z->taps);
}

static bool one_pixel(const struct shape *z, const struct conv2d_attrs *at)
{
    return z->kh == 1 && z->kw == 1 && z->stride == 1 && at->pad_top + at->pad_bottom == 0 &&
           at->pad_left + at->pad_right == 0;
}

/* A row-major matrix operand from element `at` of a buffer. */
static struct ref part_of(void *data, enum dtype type, int64_t at)
{
    const struct view v = { (char *)data + at * (int64_t)dtype_size(type), type, 0, { 0 } };
    return ref_of(&v);
}

/* C [M,N] (+)= op(A) op(B), rows as long as they are wide. */
static enum status multiply(struct kctx *k, const char *op, struct ref C, struct ref A, int trans_a,
                            struct ref B, int trans_b, int64_t M, int64_t N, int64_t K, float beta,
                            struct ref bias, struct error *err)
{
    struct product p = {};
    p.trans_a = trans_a;
    p.trans_b = trans_b;
    p.M = M;
    p.N = N;
    p.K = K;
    p.batch = 1;
    p.A = A;
    p.B = B;
    p.C = C;
    p.lda = trans_a ? M : K;
    p.ldb = trans_b ? K : N;
    p.ldc = N;
    p.alpha = 1.0f;
    p.beta = beta;
    p.bias = bias;
    return product_run(k, &p, op, err);
}

/* [D,C,kh,kw] to [D,kh kw C] or, `back`, blended the other way. */
static __global__ void turn_weights(struct ref to, struct ref from, const struct shape z, int back,
                                    float beta)
{
    const int64_t area = z.kh * z.kw;
    FOR_ITEMS(t, z.D * z.taps)
    {
        const int64_t d = t / z.taps, c = t / area % z.C, a = t % area;
        const int64_t turned = d * z.taps + a * z.C + c;
        if (back)
            ref_blend(to, t, ref_get(from, turned), beta);
        else
            ref_put(to, turned, ref_get(from, t));
    }
}

/* Patches of output pixels [first, first + rows). */
static __global__ void fill_patches(struct ref patches, struct ref x, const struct shape z,
                                    int64_t first, int64_t rows)
{
    const int64_t groups = (z.C + GROUP - 1) / GROUP, area = z.kh * z.kw;
    FOR_ITEMS(t, rows * area * groups)
    {
        const int64_t c = t % groups * GROUP, a = t / groups % area, row = t / groups / area;
        const int64_t pixel = first + row, q = pixel % z.Q, p = pixel / z.Q % z.P;
        const int64_t i = pixel / z.Q / z.P;
        const int64_t h = p * z.stride + a / z.kw - z.top, w = q * z.stride + a % z.kw - z.left;
        const int64_t to = row * z.taps + a * z.C, from = ((i * z.H + h) * z.W + w) * z.C;
        float v[GROUP] = { 0.0f };
        if (h >= 0 && h < z.H && w >= 0 && w < z.W)
            get8(v, x, from + c, from + z.C);
        put8(patches, to + c, to + z.C, v);
    }
}

/* dx (+)= what the patches of pictures [first, first + count) hold for each of its elements. */
static __global__ void collect_patches(struct ref dx, const float *patches, const struct shape z,
                                       int64_t first, int64_t count, float beta)
{
    const int64_t groups = (z.C + GROUP - 1) / GROUP;
    struct ref from = { (void *)patches, 1, z.C % GROUP == 0 };
    FOR_ITEMS(t, count * z.H * z.W * groups)
    {
        const int64_t c = t % groups * GROUP, w = t / groups % z.W, h = t / groups / z.W % z.H;
        const int64_t i = t / groups / z.W / z.H, at = (((first + i) * z.H + h) * z.W + w) * z.C;
        float sum[GROUP] = { 0.0f }, v[GROUP];
        for (int64_t r = 0; r < z.kh; r++)
            for (int64_t s = 0; s < z.kw; s++) {
                const int64_t p = h + z.top - r, q = w + z.left - s;
                if (p < 0 || q < 0 || p % z.stride || q % z.stride || p / z.stride >= z.P ||
                    q / z.stride >= z.Q)
                    continue;
                const int64_t row = (i * z.P + p / z.stride) * z.Q + q / z.stride;
                const int64_t tap = row * z.taps + (r * z.kw + s) * z.C;
                get8(v, from, tap + c, tap + z.C);
                for (int j = 0; j < GROUP; j++)
                    sum[j] += v[j];
            }
        blend8(dx, at + c, at + z.C, sum, beta);
    }
}

/* The workspace: turned weights first, then patches. */
struct room {
    struct ref weights;
    char *patches;
    int64_t rows; /* patches that fit */
};
static enum status divide_workspace(struct room *r, struct kctx *k, const char *op,
                                    const struct shape *z, enum dtype weights, enum dtype patches,
                                    struct error *err)
{
    const uint64_t used = ((uint64_t)(z->D * z->taps) * dtype_size(weights) + 255) / 256 * 256;
    const uint64_t each = (uint64_t)z->taps * dtype_size(patches);
    if (z->taps == 0 || used + each > k->scratch_bytes)
        return error_set(err, ST_FAIL, CAUSE_NOMEM,
                         "%s: weights and a patch do not fit the workspace of %zu bytes", op,
                         k->scratch_bytes);
    r->weights = part_of(k->scratch, weights, 0);
    r->patches = (char *)k->scratch + used;
    r->rows = (int64_t)((k->scratch_bytes - used) / each);
    return ST_OK;
}

static void launch_turn(struct kctx *k, struct ref to, struct ref from, const struct shape *z,
                        int back, float beta)
{
    LAUNCH(k, turn_weights, blocks_for(z->D * z->taps, THREADS), THREADS, 0, to, from, *z, back,
           beta);
}

static struct ref launch_patches(struct kctx *k, const struct room *r, const struct view *x,
                                 const struct shape *z, int64_t first, int64_t rows)
{
    struct ref patches = part_of(r->patches, x->type, 0);
    struct ref to = patches;
    to.wide = to.wide && z->C % GROUP == 0;
    LAUNCH(k, fill_patches, group_blocks(rows * z->taps), THREADS, 0, to, row_ref(x, z->C), *z,
           first, rows);
    return patches;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

enum status conv2d_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct conv2d_attrs *at = (const struct conv2d_attrs *)attrs;
    const struct view *y = &out[0];
    struct shape z;
    struct room r;

    if (!shape_of(&z, &in[0], y, &in[1], at) || !view_maybe_float(&in[2], z.D))
        return check_refuse("conv2d", out, 1, in, 3, err);
    const int64_t pixels = z.I * z.P * z.Q;
    if (pixels == 0 || z.D == 0)
        return ST_OK;
    if (one_pixel(&z, at))
        return multiply(k, "conv2d", ref_of(y), ref_of(&in[0]), 0, ref_of(&in[1]), 1, pixels, z.D,
                        z.C, at->beta, ref_of(&in[2]), err);
    if (divide_workspace(&r, k, "conv2d", &z, in[1].type, in[0].type, err) != ST_OK)
        return ST_FAIL;
    launch_turn(k, r.weights, ref_of(&in[1]), &z, 0, 0.0f);
    for (int64_t first = 0; first < pixels; first += r.rows) {
        const int64_t rows = smaller(r.rows, pixels - first);
        const struct ref patches = launch_patches(k, &r, &in[0], &z, first, rows);
        if (multiply(k, "conv2d", part_of(y->data, y->type, first * z.D), patches, 0, r.weights, 1,
                     rows, z.D, z.taps, at->beta, ref_of(&in[2]), err) != ST_OK)
            return ST_FAIL;
    }
    return launched("conv2d", err);
}

enum status conv2d_dx_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct conv2d_attrs *at = (const struct conv2d_attrs *)attrs;
    const struct view *dy = &in[0];
    const struct ref none = { NULL, 0, 0 };
    struct shape z;
    struct room r;

    if (!shape_of(&z, &out[0], dy, &in[1], at))
        return check_refuse("conv2d_dx", out, 1, in, 2, err);
    if (one_pixel(&z, at))
        return multiply(k, "conv2d_dx", ref_of(&out[0]), ref_of(dy), 0, ref_of(&in[1]), 0,
                        z.I * z.P * z.Q, z.C, z.D, at->beta, none, err);
    if (view_count(&out[0]) == 0)
        return ST_OK;
    if (divide_workspace(&r, k, "conv2d_dx", &z, in[1].type, DT_F32, err) != ST_OK)
        return ST_FAIL;
    const int64_t per = z.P * z.Q, pictures = per > 0 ? r.rows / per : z.I;
    if (pictures < 1)
        return error_set(
            err, ST_FAIL, CAUSE_NOMEM,
            "conv2d_dx: the patches of a picture do not fit the workspace of %zu bytes",
            k->scratch_bytes);
    launch_turn(k, r.weights, ref_of(&in[1]), &z, 0, 0.0f);
    for (int64_t first = 0; first < z.I; first += pictures) {
        const int64_t count = smaller(pictures, z.I - first);
        if (multiply(k, "conv2d_dx", part_of(r.patches, DT_F32, 0),
                     part_of(dy->data, dy->type, first * per * z.D), 0, r.weights, 0, count * per,
                     z.taps, z.D, 0.0f, none, err) != ST_OK)
            return ST_FAIL;
        LAUNCH(k, collect_patches, group_blocks(count * z.H * z.W * z.C), THREADS, 0,
               row_ref(&out[0], z.C), (const float *)r.patches, z, first, count, at->beta);
    }
    return launched("conv2d_dx", err);
}

enum status conv2d_dw_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct conv2d_attrs *at = (const struct conv2d_attrs *)attrs;
    const struct view *dy = &in[0];
    const struct ref none = { NULL, 0, 0 };
    struct shape z;
    struct room r;

    if (!shape_of(&z, &in[1], dy, &out[0], at))
        return check_refuse("conv2d_dw", out, 1, in, 2, err);
    const int64_t pixels = z.I * z.P * z.Q;
    if (one_pixel(&z, at))
        return multiply(k, "conv2d_dw", ref_of(&out[0]), ref_of(dy), 1, ref_of(&in[1]), 0, z.D, z.C,
                        pixels, at->beta, none, err);
    if (z.D * z.taps == 0)
        return ST_OK;
    if (divide_workspace(&r, k, "conv2d_dw", &z, DT_F32, in[1].type, err) != ST_OK)
        return ST_FAIL;
    for (int64_t first = 0; first < pixels || first == 0; first += r.rows) {
        const int64_t rows = smaller(r.rows, pixels - first);
        const struct ref patches = launch_patches(k, &r, &in[1], &z, first, rows);
        if (multiply(k, "conv2d_dw", r.weights, part_of(dy->data, dy->type, first * z.D), 1,
                     patches, 0, z.D, z.taps, rows, first == 0 ? 0.0f : 1.0f, none, err) != ST_OK)
            return ST_FAIL;
    }
    launch_turn(k, ref_of(&out[0]), r.weights, &z, 1, at->beta);
    return launched("conv2d_dw", err);
}
