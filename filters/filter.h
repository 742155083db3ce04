/* filters/filter.h: record in, keep or drop out, with a reason. One table of all rules (spec data.md
 * 2.1), the order of MMC4 documents (2.2), and counts by reason. Pure: every draw is keyed by the
 * record (2.3.1); what needs pictures is asked through callbacks. */
#ifndef DEEM_FILTERS_FILTER_H
#define DEEM_FILTERS_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/document.h"
#include "core/error.h"

/* Stored by name, never by number. */
enum filter_reason {
    FILTER_NONE = 0,
    FILTER_F1_SIMILARITY,
    FILTER_F2_MISSING,
    FILTER_F2_INDEX,
    FILTER_F2_SCHEMA,
    FILTER_F3_NO_IMAGE,
    FILTER_F4_MAX_IMAGES,
    FILTER_F5_SINGLE_IMAGE,
    FILTER_F7_SHORT_CAPTION,
    FILTER_F8_CAPTION,
    FILTER_F8_NO_CAPTION,
    FILTER_F10_DUPLICATE,
    FILTER_F11_SIZE,
    FILTER_F16_EXCLUDED,
    FILTER_REASONS
};
const char *filter_reason_name(enum filter_reason r);  /* "F1-similarity"; "" for none */
const char *filter_reason_about(enum filter_reason r); /* one line for people */
/* FILTER_NONE where no reason is called so. */
enum filter_reason filter_reason_find(const char *name, size_t size);

struct filter_counts {
    uint64_t n[FILTER_REASONS];
};
void filter_counts_add(struct filter_counts *to, const struct filter_counts *from);
uint64_t filter_counts_total(const struct filter_counts *c);

struct filter_options {
    uint64_t seed;         /* default 0 */
    double min_similarity; /* F1, default 0.24 */
    uint32_t max_images;   /* F4, at least 1, default 6 */
    double keep_single;    /* F5: probability to keep, 0 to 1, default 0.5 */
    uint32_t min_caption;  /* F7, code points, default 10 */
};
void filter_options_init(struct filter_options *opt);
/* ST_FAIL: CAUSE_ARG names the option. */
enum status filter_options_check(const struct filter_options *opt, struct error *err);

/* What became of one entry of image_info. */
enum filter_fate { FILTER_KEPT, FILTER_DROPPED, FILTER_QUARANTINED };
struct filter_image {
    enum filter_fate fate;
    enum filter_reason reason; /* of FILTER_DROPPED */
};
/* A kept image in element order. */
struct filter_place {
    uint32_t index;    /* into document.images */
    uint32_t sentence; /* into document.sentences */
    bool before;       /* D2: before its sentence */
};
/* Lives in the document's arena. */
struct filter_result {
    enum filter_reason reason;   /* FILTER_NONE: keep the record */
    struct filter_image *images; /* one per document.images */
    uint32_t *survivors;         /* of F1, F2a, F2b, in image_info order */
    size_t survivor_count;
    uint64_t *walk; /* D1 permutation of 0..survivor_count-1, NULL where no more than max_images */
    struct filter_place *places;
    size_t place_count;
};

/* Asked about images[index]. `exists`: is there a picture for it? ST_OK, or ST_SKIP with the reason
 * in *image (missing, excluded). `verify`: is it sound? ST_OK, or ST_SKIP with *image saying what
 * became of it. Both may be NULL: yes. Anything else ends the filter. */
struct filter_pictures {
    enum status (*exists)(void *arg, const struct document *d, uint32_t index,
                          struct filter_image *image, struct error *err);
    enum status (*verify)(void *arg, const struct document *d, uint32_t index,
                          struct filter_image *image, struct error *err);
    void *arg;
};
/* F1 to F5 and D1 to D3 in the order of 2.2 (from step 3). */
enum status filter_interleaved(struct filter_result *out, const struct document *d,
                               const struct filter_options *opt,
                               const struct filter_pictures *pictures, struct error *err);

/* F8, then F7. On FILTER_NONE and on F7 *caption is the normalised text (in the arena) and *points
 * its code points. */
enum status filter_caption(enum filter_reason *reason, struct text *caption, uint64_t *points,
                           const struct document *d, const struct filter_options *opt,
                           struct error *err);
/* D4: does a pair's picture come before its caption? */
bool filter_pair_before(const struct document *d, uint64_t seed);

/* F10: the identity of a document, 128 bits of SHA-256 over url and sentences. */
enum { FILTER_IDENTITY_BYTES = 16 };
enum status filter_identity(uint8_t out[FILTER_IDENTITY_BYTES], const struct document *d,
                            struct error *err);

#endif
