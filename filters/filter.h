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
    FILTER_F10_FLAGGED,
    FILTER_F11_SIZE,
    FILTER_F11_ASPECT,
    FILTER_F11_BYTES,
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

/* F4: which images stay where there are too many. */
enum filter_pick {
    FILTER_PICK_RANDOM,  /* by D1 */
    FILTER_PICK_FIRST,   /* in the order of image_info */
    FILTER_PICK_TOP_SIM, /* most similar first; the earlier of equal ones */
};
/* F7: what is counted of a normalised caption. */
enum filter_unit { FILTER_CHARACTERS, FILTER_WORDS, FILTER_TOKENS };

struct filter_options {
    uint64_t seed;                 /* default 0 */
    double min_similarity;         /* F1, default 0.24 */
    uint32_t max_images;           /* F4, at least 1, default 6 */
    double keep_single;            /* F5: probability to keep, 0 to 1, default 0.5 */
    enum filter_pick pick;         /* F4, default random */
    bool drop_flagged;             /* F10: documents whose URL may come again; default false */
    uint32_t min_caption;          /* F7, default 10 */
    enum filter_unit caption_unit; /* default characters: code points */
    /* F11, on top of what is always refused; 0: no such limit. */
    uint32_t min_side;  /* pixels */
    double max_aspect;  /* longer side by shorter */
    uint64_t min_bytes; /* of the picture as found */
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
    uint64_t *walk; /* F4's order of 0..survivor_count-1, NULL where no more than max_images */
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

/* Counts a caption's tokens, for FILTER_TOKENS. */
typedef enum status filter_tokens_fn(void *arg, uint64_t *tokens, const struct text *caption,
                                     struct error *err);
/* F8, then F7. On FILTER_NONE and on F7 *caption is the normalised text (in the arena) and *length what
 * it holds of opt->caption_unit. `tokens` may be NULL for other units than tokens. */
enum status filter_caption(enum filter_reason *reason, struct text *caption, uint64_t *length,
                           const struct document *d, const struct filter_options *opt,
                           filter_tokens_fn *tokens, void *arg, struct error *err);
/* F11 of a sound picture of `bytes` bytes: FILTER_NONE or the first limit it fails. */
enum filter_reason filter_picture(const struct filter_options *opt, uint32_t width, uint32_t height,
                                  uint64_t bytes);
/* F1's cross-check, 1e-4: how many usable images have another similarity in the matrix. NaN in both
 * agrees. */
uint64_t filter_disagreements(const struct document *d);
/* D4: does a pair's picture come before its caption? */
bool filter_pair_before(const struct document *d, uint64_t seed);

/* F10: the identity of a document, 128 bits of SHA-256 over url and sentences. */
enum { FILTER_IDENTITY_BYTES = 16 };
enum status filter_identity(uint8_t out[FILTER_IDENTITY_BYTES], const struct document *d,
                            struct error *err);

#endif
