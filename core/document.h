/* core/document.h: the record that flows from a source through the filters to the packer: a web
 * document (MMC4) or an image-text pair. All of it lives in one arena that the source clears before
 * the next record, so nothing here is owned and nothing survives the next call of the source.
 * Fields: spec data.md 1.1, 1.2; record fields 2.3.1. */
#ifndef DEEM_CORE_DOCUMENT_H
#define DEEM_CORE_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/mem.h"
#include "core/rng.h"

/* UTF-8 bytes, NUL-terminated behind `size`; may hold NULs where a field is not read by the model.
 * data NULL: absent. */
struct text {
    const char *data;
    size_t size;
};

enum document_kind { DOCUMENT_INTERLEAVED, DOCUMENT_PAIR };

/* What stood in the place of a caption (F8). */
enum document_caption {
    DOCUMENT_CAPTION_ABSENT, /* no member, or the sample's JSON is no object */
    DOCUMENT_CAPTION_STRING, /* sentences[0] */
    DOCUMENT_CAPTION_LIST,   /* a list of strings only: all of `sentences`, maybe none */
    DOCUMENT_CAPTION_OTHER,  /* null, NaN, number, bool, object, mixed list */
};

/* One entry of image_info, or the picture of a pair. */
struct document_image {
    bool usable;      /* false: not an object or no string image_name (F2-schema); rest unset */
    struct text name; /* image_name as written */
    struct text raw_url;
    bool has_sentence; /* matched_text_index is an integer field (data.md 1) */
    int64_t sentence;
    bool has_similarity; /* matched_sim is a number; it may be NaN or infinite */
    double similarity;
    bool has_matrix; /* similarity_matrix[this][sentence] is a number, to cross-check */
    double matrix;
    const uint8_t *bytes; /* encoded picture where the source holds it (pairs), else NULL */
    size_t size;
    uint64_t offset; /* of `bytes` in the input file */
};

struct document {
    struct arena *arena;
    enum document_kind kind;
    struct text file; /* FILE or TAR of 2.3.1 */
    uint64_t line;    /* from 0; documents only */
    struct text key;  /* KEY; pairs only (data NULL otherwise) */
    uint64_t offset;  /* of the raw record in its decompressed stream */
    uint64_t length;  /* bytes of the raw record */
    struct text url;
    const struct text *sentences; /* text_list, or the caption (see `caption`) */
    size_t sentence_count;
    enum document_caption caption;
    struct document_image *images;
    size_t image_count;
    bool flagged;      /* could_have_url_duplicate: the URL may come again */
    uint64_t replaced; /* invalid UTF-8 parts replaced by U+FFFD */
};

/* Appends the record fields: (file, line) or (tar, KEY). */
void document_key(struct rng_key *k, const struct document *d);
/* A key with seed and purpose and the record fields in it. */
void document_draw(struct rng *r, uint64_t seed, const char *purpose, const struct document *d);
/* FILE:LINE or TAR:KEY, for people and `inspect`. ST_FAIL: CAUSE_NOMEM. */
enum status document_name(struct buffer *out, const struct document *d, struct error *err);

#endif
