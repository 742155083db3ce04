/* ingest/masks/mask_store_private.h: the store's inside, shared by mask_store.c (filling) and
 * mask_store_finish.c (what needs all regions). */
#ifndef DEEM_INGEST_MASKS_MASK_STORE_PRIVATE_H
#define DEEM_INGEST_MASKS_MASK_STORE_PRIVATE_H

#include "core/pool.h"
#include "ingest/masks/mask_store.h"

enum {
    MASK_CHUNK = 32, /* regions a worker takes at once */
    MASK_CHUNKS = 16,
    MASK_BATCH = MASK_CHUNK * MASK_CHUNKS,
    MASK_WINDOW = 10000,        /* records the tolerance looks back on */
    MASK_SPILL_PIECE = 1 << 20, /* bytes written at once */
};

struct mask_item {
    struct mask_region region;
    struct segmentation seg;
    struct buffer caption;
    struct mask_origin at; /* strings interned */
    uint32_t h, w;
    struct rle mask;    /* result */
    const char *reason; /* result: why it is filtered, or NULL */
    enum status st;
    struct error err;
};
struct mask_chunk {
    struct mask_item *items;
    size_t count;
    const struct mask_options *opt;
    struct rle_scratch scratch;
    struct rle_sampler sampler;
};
struct mask_batch {
    struct mask_item items[MASK_BATCH];
    struct mask_chunk chunks[MASK_CHUNKS];
    size_t count;
};

struct mask_store {
    struct mask_options opt;
    char *spill;
    int fd;
    uint64_t written;  /* bytes of the spill file */
    struct buffer out; /* not yet written */
    struct pool *pool;
    struct arena arena;
    struct hash_map *by_image;
    struct buffer instances, entries, categories; /* arrays of their structs */
    struct buffer first, order;                   /* uint32_t */
    struct buffer rows;                           /* quarantine, JSON lines */
    struct mask_counts counts;
    uint8_t window[MASK_WINDOW]; /* 1 = damaged */
    uint64_t in_window, in_row;
    char last_damage[256];
    const char *last_path, *last_member;
    struct mask_batch batch;
};

/* Counts a record that is damaged, with a row of `why`, which is cleared. */
enum status mask_store_damage(struct mask_store *s, const struct mask_origin *at, struct error *why,
                              struct error *err);
/* Masks of the batch are made and all bytes of the spill file written. */
enum status mask_store_flush(struct mask_store *s, struct error *err);

#endif
