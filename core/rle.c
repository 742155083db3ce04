/* core/rle.c: see rle.h. Every walk goes over runs; only rle_to_rows and the resize touch pixels. */
#include "core/rle.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/bytes.h"

void rle_init(struct rle *r)
{
    memset(r, 0, sizeof *r);
}

void rle_clear(struct rle *r)
{
    if (!r)
        return;
    mem_free(r->counts);
    rle_init(r);
}

static enum status rle_reserve(struct rle *r, size_t cap, struct error *err)
{
    if (cap <= r->cap)
        return ST_OK;
    if (cap < 2 * r->cap)
        cap = 2 * r->cap;
    uint32_t *counts = mem_realloc(r->counts, cap, sizeof *counts);
    if (!counts)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "mask of %zu runs", cap);
    r->counts = counts;
    r->cap = cap;
    return ST_OK;
}

enum status rle_copy(struct rle *out, const struct rle *r, struct error *err)
{
    if (rle_reserve(out, r->n, err) != ST_OK)
        return ST_FAIL;
    out->h = r->h;
    out->w = r->w;
    out->n = r->n;
    if (r->n)
        memcpy(out->counts, r->counts, r->n * sizeof *r->counts);
    return ST_OK;
}

bool rle_equal(const struct rle *a, const struct rle *b)
{
    return a->h == b->h && a->w == b->w && a->n == b->n &&
           (a->n == 0 || memcmp(a->counts, b->counts, a->n * sizeof *a->counts) == 0);
}

static enum status bad(struct error *err, const char *code, const char *what)
{
    error_set(err, ST_SKIP, CAUSE_FORMAT, "mask: %s", what);
    return error_code(err, ST_SKIP, code);
}

enum status rle_start(struct rle *out, int64_t h, int64_t w, struct error *err)
{
    int64_t area = 0;

    out->n = 0;
    if (h < 1 || w < 1)
        return bad(err, "mask-size", "a side is below 1");
    if (!mul_ok_i64(h, w, &area) || area > RLE_MAX_AREA) {
        error_set(err, ST_SKIP, CAUSE_LIMIT,
                  "mask: %" PRId64 " x %" PRId64 " pixels, want at most %d", w, h, RLE_MAX_AREA);
        return error_code(err, ST_SKIP, "mask-size");
    }
    out->h = (uint32_t)h;
    out->w = (uint32_t)w;
    return rle_reserve(out, 16, err);
}

enum status rle_push(struct rle *r, uint32_t count, bool inside, struct error *err)
{
    if (count == 0)
        return ST_OK;
    if (rle_reserve(r, r->n + 2, err) != ST_OK)
        return ST_FAIL;
    if (r->n == 0 && inside)
        r->counts[r->n++] = 0;
    if ((r->n & 1) == (size_t)inside)
        r->counts[r->n++] = count;
    else
        r->counts[r->n - 1] += count;
    return ST_OK;
}

/* Appends run i of an input, told by the parity of i, and keeps the sum within the area. */
static enum status push_checked(struct rle *r, uint64_t *sum, size_t i, int64_t count,
                                struct error *err)
{
    const uint64_t area = (uint64_t)r->h * r->w;

    if (count < 0)
        return bad(err, "mask-negative", "a run is negative");
    if ((uint64_t)count > area - *sum)
        return bad(err, "mask-sum", "the runs hold more pixels than the mask");
    *sum += (uint64_t)count;
    return rle_push(r, (uint32_t)count, (i & 1) != 0, err);
}

static enum status check_sum(const struct rle *r, uint64_t sum, struct error *err)
{
    if (sum != (uint64_t)r->h * r->w)
        return bad(err, "mask-sum", "the runs hold fewer pixels than the mask");
    return ST_OK;
}

enum status rle_from_counts(struct rle *out, int64_t h, int64_t w, const int64_t *counts, size_t n,
                            struct error *err)
{
    uint64_t sum = 0;
    enum status st = rle_start(out, h, w, err);

    for (size_t i = 0; st == ST_OK && i < n; i++)
        st = push_checked(out, &sum, i, counts[i], err);
    return st == ST_OK ? check_sum(out, sum, err) : st;
}

/* One number of the string. At most 12 characters: 60 bits are more than any run needs. */
static enum status string_number(int64_t *out, const char *s, size_t size, size_t *at,
                                 struct error *err)
{
    uint64_t x = 0;
    unsigned shift = 0;
    unsigned c = 0x20;

    while (c & 0x20) {
        if (*at == size)
            return bad(err, "mask-cut", "the string ends inside a number");
        c = (unsigned)(unsigned char)s[*at] - 48;
        if (c > 63)
            return bad(err, "mask-byte", "a character outside 48..111");
        if (shift > 55)
            return bad(err, "mask-overflow", "a number of more than 12 characters");
        x |= (uint64_t)(c & 0x1f) << shift;
        shift += 5;
        (*at)++;
    }
    if (c & 0x10)
        x |= UINT64_MAX << shift;
    *out = (int64_t)x;
    return ST_OK;
}

enum status rle_from_string(struct rle *out, int64_t h, int64_t w, const char *s, size_t size,
                            struct error *err)
{
    uint64_t sum = 0;
    int64_t previous[3] = { 0 }; /* the runs before, newest first */
    size_t at = 0;
    enum status st = rle_start(out, h, w, err);

    for (size_t i = 0; st == ST_OK && at < size; i++) {
        int64_t x = 0;
        st = string_number(&x, s, size, &at, err);
        if (st == ST_OK && i > 2)
            x += previous[1]; /* |x| < 2^60 and a run < 2^28: no overflow */
        if (st == ST_OK)
            st = push_checked(out, &sum, i, x, err);
        previous[1] = previous[0];
        previous[0] = x;
    }
    return st == ST_OK ? check_sum(out, sum, err) : st;
}

enum status rle_from_varints(struct rle *out, int64_t h, int64_t w, const uint8_t *data,
                             size_t size, struct error *err)
{
    struct cursor c = cursor_make(data, size, 0);
    uint64_t sum = 0;
    enum status st = rle_start(out, h, w, err);

    for (size_t i = 0; st == ST_OK && cursor_left(&c) > 0; i++) {
        uint64_t count = 0;
        if (!get_varint(&c, &count))
            return bad(err, "mask-cut", "the runs end inside a number");
        st = push_checked(out, &sum, i, count > INT64_MAX ? INT64_MAX : (int64_t)count, err);
    }
    return st == ST_OK ? check_sum(out, sum, err) : st;
}

enum status rle_from_bytes(struct rle *out, int64_t h, int64_t w, const uint8_t *bytes,
                           struct error *err)
{
    enum status st = rle_start(out, h, w, err);
    const size_t area = st == ST_OK ? (size_t)h * (size_t)w : 0;
    size_t i = 0;

    while (st == ST_OK && i < area) {
        const size_t first = i;
        const bool inside = bytes[i] != 0;
        while (i < area && (bytes[i] != 0) == inside)
            i++;
        st = rle_push(out, (uint32_t)(i - first), inside, err);
    }
    return st;
}

enum status rle_from_constant(struct rle *out, int64_t h, int64_t w, bool inside, struct error *err)
{
    const enum status st = rle_start(out, h, w, err);
    return st == ST_OK ? rle_push(out, out->h * out->w, inside, err) : st;
}

/* A place in a mask: the run it is in and what is left of that run. */
struct walk {
    const struct rle *r;
    size_t i;
    uint32_t left;
};

static struct walk walk_start(const struct rle *r)
{
    struct walk k = { r, 0, r->n ? r->counts[0] : 0 };
    if (k.left == 0 && r->n > 1)
        k.left = r->counts[++k.i];
    return k;
}

static void walk_forward(struct walk *k, uint32_t pixels)
{
    k->left -= pixels;
    if (k->left == 0 && k->i + 1 < k->r->n)
        k->left = k->r->counts[++k->i];
}

enum status rle_merge(struct rle *out, const struct rle *a, const struct rle *b, bool intersect,
                      struct error *err)
{
    if (a->h != b->h || a->w != b->w)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "merge of masks of %" PRIu32 " x %" PRIu32 " and %" PRIu32 " x %" PRIu32,
                         a->w, a->h, b->w, b->h);
    struct walk ka = walk_start(a), kb = walk_start(b);
    enum status st = rle_start(out, a->h, a->w, err);
    if (st == ST_OK)
        st = rle_reserve(out, a->n + b->n + 2, err);
    while (st == ST_OK && ka.left > 0 && kb.left > 0) {
        const uint32_t step = ka.left < kb.left ? ka.left : kb.left;
        const bool va = ka.i & 1, vb = kb.i & 1;
        st = rle_push(out, step, intersect ? va && vb : va || vb, err);
        walk_forward(&ka, step);
        walk_forward(&kb, step);
    }
    return st;
}

uint64_t rle_area(const struct rle *r)
{
    uint64_t area = 0;
    for (size_t i = 1; i < r->n; i += 2)
        area += r->counts[i];
    return area;
}

void rle_bbox(const struct rle *r, uint32_t box[4])
{
    uint32_t left = UINT32_MAX, top = UINT32_MAX, right = 0, bottom = 0, at = 0;

    memset(box, 0, 4 * sizeof *box);
    for (size_t i = 0; i < r->n; at += r->counts[i++]) {
        if (!(i & 1))
            continue;
        const uint32_t last = at + r->counts[i] - 1;
        const uint32_t c0 = at / r->h, c1 = last / r->h;
        /* a run over a column's end touches the first and the last row */
        const uint32_t r0 = c0 < c1 ? 0 : at % r->h, r1 = c0 < c1 ? r->h - 1 : last % r->h;
        left = c0 < left ? c0 : left;
        right = c1 > right ? c1 : right;
        top = r0 < top ? r0 : top;
        bottom = r1 > bottom ? r1 : bottom;
    }
    if (left == UINT32_MAX)
        return;
    box[0] = left;
    box[1] = top;
    box[2] = right - left + 1;
    box[3] = bottom - top + 1;
}

uint64_t rle_intersection(const struct rle *a, const struct rle *b)
{
    struct walk ka = walk_start(a), kb = walk_start(b);
    uint64_t area = 0;

    while (ka.left > 0 && kb.left > 0) {
        const uint32_t step = ka.left < kb.left ? ka.left : kb.left;
        if ((ka.i & 1) && (kb.i & 1))
            area += step;
        walk_forward(&ka, step);
        walk_forward(&kb, step);
    }
    return area;
}

double rle_iou(const struct rle *dt, const struct rle *gt, bool crowd)
{
    const uint64_t inter = rle_intersection(dt, gt);
    const uint64_t all = crowd ? rle_area(dt) : rle_area(dt) + rle_area(gt) - inter;
    return inter ? (double)inter / (double)all : 0.0;
}

enum status rle_to_string(struct buffer *out, const struct rle *r, struct error *err)
{
    if (buffer_reserve(out, r->n * 7, err) !=
        ST_OK) /* a difference has at most 30 bits: 7 characters */
        return ST_FAIL;
    for (size_t i = 0; i < r->n; i++) {
        int64_t x = (int64_t)r->counts[i] - (i > 2 ? (int64_t)r->counts[i - 2] : 0);
        bool more = true;
        while (more) {
            unsigned c = (unsigned)(x & 0x1f);
            x >>= 5; /* arithmetic: gcc and clang on every target of ours */
            more = (c & 0x10) ? x != -1 : x != 0;
            out->data[out->size++] = (uint8_t)((c | (more ? 0x20u : 0u)) + 48);
        }
    }
    return ST_OK;
}

enum status rle_to_varints(struct buffer *out, const struct rle *r, struct error *err)
{
    if (buffer_reserve(out, r->n * 5, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < r->n; i++) {
        uint32_t x = r->counts[i];
        for (; x >= 0x80; x >>= 7)
            out->data[out->size++] = (uint8_t)(x | 0x80);
        out->data[out->size++] = (uint8_t)x;
    }
    return ST_OK;
}

void rle_to_rows(uint8_t *bytes, const struct rle *r)
{
    uint32_t at = 0;

    memset(bytes, 0, (size_t)r->h * r->w);
    for (size_t i = 0; i < r->n; at += r->counts[i++])
        for (uint32_t p = at; (i & 1) && p < at + r->counts[i]; p++)
            bytes[(size_t)(p % r->h) * r->w + p / r->h] = 1;
}

uint32_t rle_nearest_index(uint32_t i, uint32_t in, uint32_t out)
{
    const float scale = (float)in / (float)out;
    const float index = floorf((float)i * scale);
    return index < (float)(in - 1) ? (uint32_t)index : in - 1;
}

void rle_resize_nearest(uint8_t *bytes, const struct rle *r, uint32_t H, uint32_t W)
{
    size_t column_run =
        0; /* the run that holds the first pixel of the column, and where it starts */
    uint32_t column_at = 0;

    for (uint32_t X = 0; X < W; X++) {
        const uint32_t first = rle_nearest_index(X, r->w, W) * r->h;
        while (first >= column_at + r->counts[column_run])
            column_at += r->counts[column_run++];
        size_t i = column_run;
        uint32_t at = column_at;
        for (uint32_t Y = 0; Y < H; Y++) {
            const uint32_t p = first + rle_nearest_index(Y, r->h, H);
            while (p >= at + r->counts[i])
                at += r->counts[i++];
            bytes[(size_t)Y * W + X] = (uint8_t)(i & 1);
        }
    }
}

void rle_sampler_init(struct rle_sampler *s)
{
    memset(s, 0, sizeof *s);
}

void rle_sampler_clear(struct rle_sampler *s)
{
    mem_free(s->rows);
    mem_free(s->columns);
    rle_sampler_init(s);
}

/* before[i] = how many output indices read an input index below i. */
static uint32_t *samples_before(uint32_t *before, uint32_t in, uint32_t out)
{
    uint32_t *p = mem_realloc(before, (size_t)in + 1, sizeof *p);
    if (!p)
        return NULL;
    memset(p, 0, ((size_t)in + 1) * sizeof *p);
    for (uint32_t i = 0; i < out; i++)
        p[rle_nearest_index(i, in, out) + 1]++;
    for (uint32_t i = 0; i < in; i++)
        p[i + 1] += p[i];
    return p;
}

enum status rle_sampler_set(struct rle_sampler *s, uint32_t h, uint32_t w, uint32_t H, uint32_t W,
                            struct error *err)
{
    if (s->rows && s->columns && s->h == h && s->w == w && s->H == H && s->W == W)
        return ST_OK;
    uint32_t *rows = samples_before(s->rows, h, H);
    if (rows)
        s->rows = rows;
    uint32_t *columns = samples_before(s->columns, w, W);
    if (columns)
        s->columns = columns;
    s->h = h;
    s->w = w;
    s->H = rows && columns ? H : 0; /* 0: not valid, made anew by the next call */
    s->W = W;
    if (!s->H)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "mask sampler of %" PRIu32 " x %" PRIu32, w, h);
    return ST_OK;
}

uint64_t rle_sampled_area(const struct rle_sampler *s, const struct rle *r)
{
    uint64_t area = 0;
    uint32_t at = 0;

    for (size_t i = 0; i < r->n; at += r->counts[i++]) {
        if (!(i & 1))
            continue;
        const uint32_t end = at + r->counts[i];
        for (uint32_t p = at; p < end;) {
            const uint32_t c = p / r->h, y = p % r->h;
            const uint32_t stop = r->h - y < end - p ? r->h : y + (end - p);
            area += (uint64_t)(s->columns[c + 1] - s->columns[c]) * (s->rows[stop] - s->rows[y]);
            p += stop - y;
        }
    }
    return area;
}
