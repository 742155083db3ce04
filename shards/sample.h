/* shards/sample.h: one packed training sequence to bytes and back (spec data.md 4.5). In memory `ids`
 * is the expanded sequence as the model sees it; on disk a slot (soi and its sniffers) is the one
 * marker 0xFFFF. Layout: docs/shard-format.md, "Sequence". Calls are thread-safe; one object belongs
 * to one thread. */
#ifndef DEEM_SHARDS_SAMPLE_H
#define DEEM_SHARDS_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/image.h"
#include "core/mem.h"

enum {
    SAMPLE_SLOT = 0xFFFF,            /* stands for a slot on disk; never an id */
    SAMPLE_MAX_TOKENS = 65535,       /* of one sequence */
    SAMPLE_MAX_BYTES = 64 * 1048576, /* of the encoded form, before compression */
};

/* What the expansion of slots needs: same for a whole dataset (struct shard_facts). */
struct sample_slot {
    uint16_t soi, sniffer;
    uint16_t tokens; /* T: sniffers behind a soi */
};

struct sample_document {
    uint16_t start, length; /* tokens; start is the position of its bos */
    bool cont;              /* a later piece of a document that was split */
    uint32_t input;         /* index in the unit's inputs */
    bool has_line;          /* documents: `line` counts from 0; pairs: `key` */
    uint64_t line;
    const char *key; /* KEY, UTF-8, NUL-terminated; NULL where has_line */
    size_t key_size;
    uint64_t record_key; /* XXH3-64 of the record fields (data.md 2.3.1, "K") */
    uint64_t url_hash;   /* XXH3-64 of the URL's bytes; 0: no URL */
};

/* A region of a picture: runs as rle_to_varints (core/rle.h) writes them, column-major. */
struct sample_mask {
    uint32_t h, w;       /* pixels; 0: no mask, the slot means the whole picture */
    const uint8_t *runs; /* varints */
    size_t size;         /* bytes */
};

struct sample_image {
    uint16_t soi;         /* position in ids */
    uint16_t nearest_bos; /* largest bos position before soi; position 0 counts always */
    uint16_t document;    /* index into documents */
    bool has_similarity;  /* false for pairs and instruction sets */
    double similarity;
    bool after;       /* side: false = before its sentence, true = after it */
    bool loss;        /* 1 iff soi - nearest_bos + 1 > 2 and pictures of this set are generated */
    bool prev;        /* the image before lies in the same document */
    uint32_t picture; /* number in the shard */
    uint32_t width, height;       /* of the stored picture */
    uint64_t bytes;               /* of the stored picture */
    enum image_codec codec;       /* of the stored picture */
    struct hash128 hash;          /* XXH3-128 of the stored bytes */
    struct hash128 original_hash; /* of the bytes as found in the dump */
    struct sample_mask mask;
};

enum sample_flag {
    SAMPLE_STARTS_MID_DOCUMENT = 1,
    SAMPLE_TRUNCATED = 2, /* text was cut off at the end */
};

struct sample {
    uint8_t source; /* index into shard_facts.sources */
    uint8_t flags;  /* enum sample_flag */
    const uint16_t *ids;
    size_t token_count;
    const struct sample_document *documents;
    size_t document_count;
    const struct sample_image *images;
    size_t image_count;
    /* token_count bytes of 0 and 1: where 1 the token is a trained target. NULL: every token is, as
     * far as the rules of data.md 4.2 say so. Instruction sets store it. */
    const uint8_t *loss;
};

/* Appends the encoded form, not compressed. ST_FAIL: CAUSE_ARG (fields that contradict each other: a
 * soi without its sniffers, an image that is not at a slot, more than SAMPLE_MAX_TOKENS),
 * CAUSE_NOMEM. */
enum status sample_encode(struct buffer *out, const struct sample *s,
                          const struct sample_slot *slot, struct error *err);

/* Everything in *out lies in `arena` (a run of masks may also lie in `data`, which must then live as
 * long). Checks every length and index against the data and each other. ST_FAIL: CAUSE_FORMAT,
 * CAUSE_LIMIT, CAUSE_NOMEM. */
enum status sample_decode(struct sample *out, struct arena *arena, const void *data, size_t size,
                          const struct sample_slot *slot, struct error *err);

#endif
