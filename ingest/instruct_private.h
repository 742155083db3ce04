/* ingest/instruct_private.h: the parts of instruct*.c: records read from annotations into a work file
 * (read, sets), records built into ids and loss (text), units (unit), the run (instruct). */
#ifndef DEEM_INGEST_INSTRUCT_PRIVATE_H
#define DEEM_INGEST_INSTRUCT_PRIVATE_H

#include "core/hash.h"
#include "core/rng.h"
#include "ingest/driver.h"
#include "ingest/gate.h"
#include "ingest/inputs.h"
#include "ingest/instruct.h"
#include "ingest/masks/json_fields.h"
#include "ingest/masks/mask_template.h"
#include "ingest/masks/picture_folder.h"
#include "ingest/masks/picture_ids.h"
#include "ingest/spool.h"

enum { INSTRUCT_PICTURES_MAX = 4 };

/* A record on its way: turns alternate question, answer. */
struct instruct_record {
    struct buffer key;      /* KEY of the record, NUL-terminated */
    struct buffer id;       /* question or image id of draws */
    struct buffer pictures; /* where the picture may lie, each NUL-terminated */
    struct buffer turns;    /* each NUL-terminated */
    struct buffer masks;    /* per region: h, w, size as u32, varints */
    struct buffer source;   /* mask-text: template set */
    struct buffer prefix;   /* mask-text: drawn list prefix, "" where none */
    uint32_t turn_count, mask_count;
};

enum instruct_fate { INSTRUCT_KEPT, INSTRUCT_FILTERED, INSTRUCT_BAD };
struct instruct_entry {
    uint64_t offset;             /* in the work file; INSTRUCT_BAD: a row's texts */
    uint32_t size;               /* bytes there */
    uint32_t input;              /* annotation file */
    uint64_t order;              /* D11 */
    uint64_t from, length, hash; /* of the raw record in its file; length 0: not known */
    const char *reason;          /* filtered: static */
    uint8_t fate;
};

struct instruct_list {
    const struct instruct_options *opt;
    const struct inputs *inputs; /* annotation files */
    struct spool spool;
    struct buffer entries;       /* struct instruct_entry */
    struct picture_ids excluded; /* --exclude-image-ids; empty where there is none */
    struct buffer scratch;
    const struct json_value *caption_requests, *description_requests;
};
static inline struct instruct_entry *instruct_entry_at(const struct instruct_list *l, size_t i)
{
    return (struct instruct_entry *)(void *)l->entries.data + i;
}
static inline size_t instruct_count(const struct instruct_list *l)
{
    return l->entries.size / sizeof(struct instruct_entry);
}

/* Where a record stands. */
struct instruct_origin {
    uint32_t input;
    const char *path;
    uint64_t number, offset, length;
};

/* instruct_read.c */
void instruct_record_init(struct instruct_record *r);
void instruct_record_clear(struct instruct_record *r);
void instruct_record_reset(struct instruct_record *r);
enum status instruct_text(struct buffer *out, const char *text, size_t size, struct error *err);
enum status instruct_add_turn(struct instruct_record *r, const char *text, size_t size,
                              struct error *err);
enum status instruct_keep(struct instruct_list *l, const struct instruct_record *r,
                          const struct instruct_origin *at, struct error *err);
enum status instruct_filter(struct instruct_list *l, const char *reason,
                            const struct instruct_origin *at, struct error *err);
/* *why is cleared. */
enum status instruct_bad(struct instruct_list *l, const struct instruct_origin *at,
                         struct error *why, struct error *err);
/* A draw keyed by (set, id, epoch 0[, position]); D11 has no epoch. */
void instruct_draw(const struct instruct_list *l, struct rng *g, const char *purpose,
                   const char *id, const uint64_t *position);
/* Back from the work file. */
enum status instruct_load(const struct instruct_list *l, const struct instruct_entry *e,
                          struct buffer *bytes, struct instruct_record *out, struct error *err);

/* instruct_overlap.c: whether a list names the record's picture; the report of spec data.md 7.6, logged. */
bool instruct_names_picture(const struct picture_ids *list, const struct instruct_record *r);
enum status instruct_report_overlaps(const struct instruct_list *l, struct error *err);

/* instruct_sets.c: all annotation files of the set into the list. */
enum status instruct_read_set(struct instruct_list *l, struct error *err);

/* instruct_text.c: one sequence in the making. */
struct instruct_slot {
    uint16_t soi;
    int32_t region; /* index into the record's masks; -1: the whole picture */
};
struct instruct_builder {
    const struct tokenizer *tokenizer;
    const struct instruct_options *opt;
    const struct mask_templates *mask_templates;
    const struct json_value *profile; /* of instruct.json */
    struct id_list ids, segment, prefix;
    struct buffer loss;  /* a byte an id */
    struct buffer slots; /* struct instruct_slot */
    struct buffer text;  /* of the open segment */
    struct buffer marks; /* struct instruct_mark: where training begins and ends in it */
    bool after_slot;
};
void instruct_builder_init(struct instruct_builder *b);
void instruct_builder_clear(struct instruct_builder *b);
/* How many sequences a record gives. */
uint32_t instruct_rounds(const struct instruct_builder *b, const struct instruct_record *r);
/* Sequence `round` of a record. ST_SKIP: it does not fit --seq-len. *cut: turns were left out. */
enum status instruct_build(struct instruct_builder *b, const struct instruct_record *r,
                           uint32_t round, bool *cut, struct error *err);

/* instruct_unit.c */
struct instruct_run {
    const struct instruct_options *opt;
    struct instruct_list list;
    const struct picture_folder *pictures;
    const struct tokenizer *tokenizer;
    const struct json_value *profile;
    const struct mask_templates *mask_templates;
    const struct inputs *inputs;
    struct gate *gate;
    struct progress *progress;
    uint64_t per_unit; /* records */
};
enum status instruct_unit_run(void *arg, const struct driver_unit *unit, struct error *err);

#endif
