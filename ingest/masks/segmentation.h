/* ingest/masks/segmentation.h: what annotations call a segmentation: a list of polygons, uncompressed
 * runs, a compressed string, or a box; read as it stands and turned into a mask later, when the
 * picture's size is known (spec data.md 7.4). A struct keeps its memory from record to record. */
#ifndef DEEM_INGEST_MASKS_SEGMENTATION_H
#define DEEM_INGEST_MASKS_SEGMENTATION_H

#include "core/json.h"
#include "core/rle.h"

enum segmentation_kind {
    SEGMENTATION_ABSENT,
    SEGMENTATION_POLYGONS,
    SEGMENTATION_COUNTS,
    SEGMENTATION_STRING,
    SEGMENTATION_BOX,
    SEGMENTATION_BAD, /* of a wrong shape: `code` says how */
};

enum {
    SEGMENTATION_POLYGON_MIN = 6,       /* numbers; shorter polygons are left out (7.4) */
    SEGMENTATION_MAX_NUMBERS = 1 << 22, /* of one annotation */
};

struct segmentation {
    enum segmentation_kind kind;
    const char *code;   /* of SEGMENTATION_BAD: "mask-not-a-list", ...; static */
    int64_t h, w;       /* the size that came with runs; 0 = none came */
    double *numbers;    /* polygons one after the other, or the box; owned */
    size_t *sizes;      /* numbers of each polygon; owned */
    int64_t *counts;    /* owned */
    struct buffer text; /* compressed string */
    size_t n_numbers, n_polygons, n_counts, numbers_cap, sizes_cap, counts_cap;
    bool has_fallback; /* polygons that give no pixel become this box (VCR) */
    double fallback[4];
};
void segmentation_init(struct segmentation *s);
void segmentation_clear(struct segmentation *s);
void segmentation_reset(struct segmentation *s); /* absent again; memory is kept */
enum status segmentation_copy(struct segmentation *out, const struct segmentation *s,
                              struct error *err);

/* Reads the value that begins with `event`, the parser's current one, to its end. A wrong shape is
 * SEGMENTATION_BAD and ST_OK. ST_FAIL: the parser's error, CAUSE_NOMEM. */
enum status segmentation_read(struct segmentation *s, struct json *j, enum json_event event,
                              struct error *err);
/* The same from a tree. ST_FAIL: CAUSE_NOMEM. */
enum status segmentation_from_tree(struct segmentation *s, const struct json_value *v,
                                   struct error *err);
enum status segmentation_set_box(struct segmentation *s, const double box[4], struct error *err);
/* A compressed string of an h x w picture. */
enum status segmentation_set_string(struct segmentation *s, int64_t h, int64_t w, const char *text,
                                    size_t size, struct error *err);
/* Column-major bytes of an h x w picture, not 0 = inside. */
enum status segmentation_set_bytes(struct segmentation *s, int64_t h, int64_t w,
                                   const uint8_t *bytes, struct error *err);
/* A polygon is begun, then numbers are added to the last one begun. */
enum status segmentation_begin_polygon(struct segmentation *s, struct error *err);
enum status segmentation_add_number(struct segmentation *s, double v, struct error *err);

/* The mask on an h x w picture. ST_SKIP: rle.h's codes, a wrong shape's code, "mask-no-polygon" (all
 * polygons have fewer than 6 numbers), "mask-size-differs" (runs of another size), "mask-absent".
 * ST_FAIL: CAUSE_NOMEM. */
enum status segmentation_to_rle(struct rle *out, const struct segmentation *s, int64_t h, int64_t w,
                                struct rle_scratch *scratch, struct error *err);

#endif
