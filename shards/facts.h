/* shards/facts.h: what is true of a whole dataset (struct shard_facts) and of one unit's shard (struct
 * unit_facts): the header record of a shard and most of the manifest. As JSON on disk, in canonical
 * form: one set of facts has one text. Layout: docs/shard-format.md, "Unit record". */
#ifndef DEEM_SHARDS_FACTS_H
#define DEEM_SHARDS_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/json.h"
#include "core/mem.h"
#include "shards/sample.h"

enum { TALLY_MAX_NAMES = 4096 };
enum { SHARD_FORMAT = 1, SHARD_IDENTITY_BYTES = 32, SHARD_MAX_SOURCES = 256 };

/* Same in every shard of a dataset. Strings are borrowed from whoever filled it in. */
struct shard_facts {
    /* SHA-256 over whatever decides the content: options, inputs by `file` and size, versions. */
    uint8_t identity[SHARD_IDENTITY_BYTES];
    const char *kind;           /* "mmc4", "pairs", "instruct" */
    const char *const *sources; /* names; struct sample.source is an index */
    size_t source_count;        /* 1 to SHARD_MAX_SOURCES */
    uint64_t seed;
    uint8_t tokenizer_sha256[32]; /* of the model file */
    char variant;                 /* 'A', 'B', 'C' */
    uint32_t pieces;              /* V; special ids follow from it */
    uint16_t bos, eos, unk;       /* ids of the model */
    uint32_t seq_len;             /* N, tokens */
    uint32_t image_tokens;        /* T */
    uint32_t images_per_seq;      /* M */
    const char *options;          /* a JSON object: every option that decides the content */
    const char *versions;         /* a JSON object: ours and the libraries' that write */
};

/* soi = V, sniffer = V + 1 (design.md 8). */
struct sample_slot shard_facts_slot(const struct shard_facts *f);

/* Counts by name, in the order of names' bytes, each name once. Owned. */
struct tally {
    char **names;
    uint64_t *counts;
    size_t size;
};
enum status tally_add(struct tally *t, const char *name, uint64_t n, struct error *err);
uint64_t tally_get(const struct tally *t, const char *name); /* 0 where absent */
uint64_t tally_sum(const struct tally *t);
enum status tally_merge(struct tally *into, const struct tally *from, struct error *err);
void tally_clear(struct tally *t);

/* seen = stored + filtered + quarantined. */
struct unit_count {
    uint64_t seen, stored;
    struct tally filtered, quarantined;
};
bool unit_count_holds(const struct unit_count *c);
enum status unit_count_merge(struct unit_count *into, const struct unit_count *from,
                             struct error *err);
void unit_count_clear(struct unit_count *c);

/* One input file, or the part of it that the unit took. Owned. */
struct unit_input {
    char *file;     /* path below the INPUT folder, or the base name */
    char *name;     /* FILE or TAR of data.md 2.3.1: "docs_no_face_shard_3_v3" */
    uint64_t bytes; /* size of the file */
    bool incomplete;
    struct unit_count records;  /* documents or pairs */
    struct unit_count pictures; /* image entries of stored records */
    struct tally notes;         /* oddities that were kept, by name; outside of the law */
};

struct unit_facts {
    uint32_t shard; /* number of the unit */
    struct unit_input *inputs;
    size_t input_count;
    uint64_t sequences, pictures; /* values in the shard; counted by the writer */
    uint64_t images, tokens;      /* over its sequences; counted by the writer */
    uint64_t documents;           /* stored records; added up by the writer */
    uint64_t pieces_dropped;      /* F14 */
    uint64_t quarantine_rows;     /* counted by the writer */
};
void unit_facts_init(struct unit_facts *u);
/* Appends an input; *index is its place. */
enum status unit_facts_input(struct unit_facts *u, const char *file, const char *name,
                             uint64_t bytes, size_t *index, struct error *err);
void unit_facts_clear(struct unit_facts *u);

/* The text of a shard's header record. */
enum status facts_encode(struct buffer *out, const struct shard_facts *f,
                         const struct unit_facts *u, struct error *err);
/* Strings of *f lie in `arena`; clear *u with unit_facts_clear. ST_FAIL: CAUSE_FORMAT, CAUSE_NOMEM. */
enum status facts_decode(struct shard_facts *f, struct unit_facts *u, struct arena *arena,
                         const void *data, size_t size, struct error *err);

/* Parts of the text that the manifest shares. */
void facts_write(struct json_writer *w,
                 const struct shard_facts *f); /* members of an open object */
void facts_write_inputs(struct json_writer *w, const struct unit_input *inputs, size_t count);
void facts_write_count(struct json_writer *w, const struct unit_count *c); /* members */
void facts_write_tally(struct json_writer *w, const struct tally *t);      /* an object */
enum status facts_read(struct shard_facts *f, struct arena *arena, const struct json_value *object,
                       struct error *err);
enum status facts_read_inputs(struct unit_facts *u, const struct json_value *array,
                              struct error *err);
enum status facts_read_count(struct unit_count *c, const struct json_value *object,
                             struct error *err);
/* True iff the two describe the same dataset, field by field. */
bool facts_equal(const struct shard_facts *a, const struct shard_facts *b);

#endif
