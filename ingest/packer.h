/* ingest/packer.h: which items share a sequence, and in which order (spec data.md 4.4, steps 2 to 6).
 * Knows sizes and draws only; what an item holds is the caller's. Integer arithmetic throughout; a
 * pure function of the items in their order. One packer belongs to one thread. */
#ifndef DEEM_INGEST_PACKER_H
#define DEEM_INGEST_PACKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct packer_options {
    uint32_t seq_len;      /* N, tokens, at least 16; default 2,048 */
    uint32_t max_images;   /* M, images of a sequence, at least 1; default 15 */
    uint32_t window;       /* W, items, at least 1; default 4,096 */
    uint32_t max_age;      /* windows an item may be carried over; default 3 */
    uint32_t fill_percent; /* a bin this full goes out at once, 0 to 100; default 97 */
};
void packer_options_init(struct packer_options *opt);

struct packer_item {
    uint64_t position; /* running number in the unit; set by packer_push */
    uint64_t order;    /* D5a */
    uint64_t bin;      /* D5b */
    uint32_t tokens, images;
    uint32_t born; /* window; set by packer_push */
    void *payload; /* the caller's */
};

/* A finished bin, its items in bin order. `images` 0: the bin is not a sequence, count it (F14).
 * The items are borrowed until the call returns. */
typedef enum status packer_emit_fn(void *arg, const struct packer_item *items, size_t count,
                                   uint32_t tokens, uint32_t images, struct error *err);

struct packer;
enum status packer_open(struct packer **out, const struct packer_options *opt, packer_emit_fn *emit,
                        void *arg, struct error *err);
/* Takes the next item. ST_FAIL: CAUSE_ARG (more than N tokens or M images), CAUSE_NOMEM, or what
 * `emit` returned. */
enum status packer_push(struct packer *p, const struct packer_item *item, struct error *err);
/* Packs what is left as the last window. */
enum status packer_finish(struct packer *p, struct error *err);
void packer_close(struct packer **p);

#endif
