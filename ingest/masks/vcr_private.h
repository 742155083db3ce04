/* ingest/masks/vcr_private.h: the reader's state, shared by vcr.c (records) and vcr_text.c (mentions). */
#ifndef DEEM_INGEST_MASKS_VCR_PRIVATE_H
#define DEEM_INGEST_MASKS_VCR_PRIVATE_H

#include "ingest/masks/vcr.h"

enum { VCR_OBJECTS_MAX = 256 };

struct vcr_text {
    const char *orig;                /* 1-based numbers; may be NULL */
    const struct json_value *tokens; /* 0-based lists; may be NULL */
};
struct vcr {
    struct mask_store *store;
    const char *const *roots;
    size_t root_count;
    struct arena arena;
    struct mask_origin at;
    int64_t next_id;
    const char *objects[VCR_OBJECTS_MAX]; /* class names */
    size_t object_count;
    size_t order[VCR_OBJECTS_MAX]; /* objects by first mention, then the fill */
    size_t mentioned;
    struct buffer turns, joined;
    struct segmentation seg;
};

/* The place of an object in `order`; it is added at the end where it is not there yet. */
size_t vcr_place(struct vcr *r, size_t object);
/* Appends the text with its mentions marked, and VCR_END. */
enum status vcr_mark_text(struct vcr *r, const struct vcr_text *t, struct error *err);
/* Control bytes become spaces. */
enum status vcr_append_clean(struct buffer *out, const char *s, size_t size, struct error *err);

#endif
