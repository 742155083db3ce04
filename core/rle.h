/* core/rle.h: binary masks as COCO run lengths: column-major runs that start with zeros (spec data.md
 * 7.4). A mask here is always canonical: no zero run except a first one, runs sum to h x w. Equal to
 * pycocotools 2.0.6 bit for bit. Calls are independent of each other and thread-safe; one struct
 * belongs to one thread. */
#ifndef DEEM_CORE_RLE_H
#define DEEM_CORE_RLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

enum {
    RLE_MAX_AREA = 1 << 28,    /* pixels of a mask; larger: CAUSE_LIMIT */
    RLE_MAX_TOGGLES = 1 << 26, /* column crossings of one polygon; more: CAUSE_LIMIT */
};

struct rle {
    uint32_t h, w;    /* rows, columns, in pixels; 0 while empty */
    uint32_t *counts; /* n run lengths in pixels, zeros first; owned */
    size_t n, cap;
};
void rle_init(struct rle *r);
void rle_clear(struct rle *r); /* NULL-safe; back to rle_init */
enum status rle_copy(struct rle *out, const struct rle *r, struct error *err);
bool rle_equal(const struct rle *a, const struct rle *b);

/* Makers: `out` is initialised; its memory is used again. ST_SKIP: the mask is bad, with codes
 * "mask-size" (h or w below 1, or the area over the limit), "mask-sum", "mask-negative", "mask-byte",
 * "mask-cut", "mask-overflow", "mask-not-finite", "mask-work". ST_FAIL: CAUSE_NOMEM. */

/* Sets the size and forgets the runs. */
enum status rle_start(struct rle *out, int64_t h, int64_t w, struct error *err);
/* Uncompressed runs; zero runs inside are merged. */
enum status rle_from_counts(struct rle *out, int64_t h, int64_t w, const int64_t *counts, size_t n,
                            struct error *err);
/* The compressed string: characters 48..111, 5 data bits and a continuation bit, sign-extended; from
 * the fourth run on the difference to the run two before. */
enum status rle_from_string(struct rle *out, int64_t h, int64_t w, const char *s, size_t size,
                            struct error *err);
/* LEB128 runs as rle_to_varints writes them; all `size` bytes are used. */
enum status rle_from_varints(struct rle *out, int64_t h, int64_t w, const uint8_t *data,
                             size_t size, struct error *err);
/* Column-major bytes, not 0 = inside. */
enum status rle_from_bytes(struct rle *out, int64_t h, int64_t w, const uint8_t *bytes,
                           struct error *err);
/* All pixels 0 or all 1. */
enum status rle_from_constant(struct rle *out, int64_t h, int64_t w, bool inside,
                              struct error *err);

/* Memory of the rasteriser, kept between calls. */
struct rle_scratch {
    uint32_t *toggles;   /* owned */
    uint32_t *sorted;    /* owned */
    uint32_t *offsets;   /* owned */
    struct rle one, sum; /* a polygon, the union so far */
    size_t toggles_cap, sorted_cap, offsets_cap;
};
void rle_scratch_init(struct rle_scratch *s);
void rle_scratch_clear(struct rle_scratch *s);

/* One polygon x0 y0 x1 y1 ...: `n` numbers, an odd last one is not used; coordinates are clamped to
 * +-65536 pixels. Fewer than one point gives the empty mask. */
enum status rle_from_polygon(struct rle *out, int64_t h, int64_t w, const double *xy, size_t n,
                             struct rle_scratch *s, struct error *err);
/* The union of `polygons` (at least 1) that lie one after the other in `xy`; sizes[i] numbers each. */
enum status rle_from_polygons(struct rle *out, int64_t h, int64_t w, const double *xy,
                              const size_t *sizes, size_t polygons, struct rle_scratch *s,
                              struct error *err);
/* [x, y, w, h] as the polygon of its corners. */
enum status rle_from_box(struct rle *out, int64_t h, int64_t w, const double box[4],
                         struct rle_scratch *s, struct error *err);

/* Union, or intersection, of two masks of one size (else ST_FAIL, CAUSE_ARG). `out` is neither. */
enum status rle_merge(struct rle *out, const struct rle *a, const struct rle *b, bool intersect,
                      struct error *err);

uint64_t rle_area(const struct rle *r); /* pixels */
/* x, y, width, height in pixels; all 0 when the mask is empty. */
void rle_bbox(const struct rle *r, uint32_t box[4]);
uint64_t rle_intersection(const struct rle *a, const struct rle *b); /* pixels; sizes are equal */
/* Intersection over union, or over the area of `dt` when `gt` is a crowd. 0 where it is 0 / 0. */
double rle_iou(const struct rle *dt, const struct rle *gt, bool crowd);

/* Append the compressed string (no NUL), or the runs as varints. */
enum status rle_to_string(struct buffer *out, const struct rle *r, struct error *err);
enum status rle_to_varints(struct buffer *out, const struct rle *r, struct error *err);
/* bytes (h x w) of 0 and 1, row-major. */
void rle_to_rows(uint8_t *bytes, const struct rle *r);

/* Nearest resize as PyTorch does it (float32): the source index of output index i. */
uint32_t rle_nearest_index(uint32_t i, uint32_t in, uint32_t out);
/* bytes (H x W) of 0 and 1, row-major: the mask after nearest resize. */
void rle_resize_nearest(uint8_t *bytes, const struct rle *r, uint32_t H, uint32_t W);
/* Counts how often each row and column of an h x w mask is sampled by a resize to H x W, so that the
 * area after the resize costs one step a run. */
struct rle_sampler {
    uint32_t h, w, H, W;
    uint32_t *rows, *columns; /* (h + 1), (w + 1): samples before this index; owned */
};
void rle_sampler_init(struct rle_sampler *s);
void rle_sampler_clear(struct rle_sampler *s);
enum status rle_sampler_set(struct rle_sampler *s, uint32_t h, uint32_t w, uint32_t H, uint32_t W,
                            struct error *err);
uint64_t rle_sampled_area(const struct rle_sampler *s, const struct rle *r);

/* For code of this module that builds runs: `count` pixels more of `inside`. Never grows the sum past
 * what the caller checked. */
enum status rle_push(struct rle *r, uint32_t count, bool inside, struct error *err);

#endif
