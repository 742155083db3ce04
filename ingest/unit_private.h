/* ingest/unit_private.h: the state of one running unit, shared by unit*.c. */
#ifndef DEEM_INGEST_UNIT_PRIVATE_H
#define DEEM_INGEST_UNIT_PRIVATE_H

#include "core/image.h"
#include "ingest/packer.h"
#include "ingest/spool.h"
#include "ingest/unit.h"

/* A verified picture that waits in the spool. */
struct unit_picture {
    struct image_info info; /* of the stored bytes */
    struct hash128 original_hash;
    uint64_t offset; /* in the spool */
    uint64_t size;
};

/* An item of the packer: a piece of a record, in one block of memory. */
struct unit_piece {
    struct unit_piece *prev, *next; /* all that wait, so that a failure can free them */
    uint16_t *ids;
    size_t count;
    struct unit_piece_image *images;
    size_t image_count;
    bool cont;
    uint32_t input;
    bool has_line;
    uint64_t line;
    char *key; /* NUL-terminated where !has_line */
    size_t key_size;
    uint64_t record_key, url_hash;
    uint32_t number;
};
struct unit_piece_image {
    struct unit_picture picture;
    uint16_t soi;
    bool has_similarity, after;
    double similarity;
};

/* The last records, to tell when damage is beyond tolerance. */
enum { UNIT_WINDOW = 10000 };
struct unit_damage {
    uint8_t recent[UNIT_WINDOW];
    uint32_t at, sum, row;
};

struct unit {
    const struct unit_context *c;
    const struct driver_unit *driver;
    struct source *source;
    bool named;         /* the open input stands in the unit's facts, */
    size_t input;       /* at this place */
    uint32_t scheduled; /* the same in the schedule */
    uint64_t record;    /* running number in the input of the record at hand */
    struct unit_damage damage;
    /* records */
    const struct document *document;
    const struct filter_result *result; /* mmc4 */
    struct unit_picture *pictures;      /* one per document.images, of those verified */
    char (*codes)[32];                  /* one per document.images, of those quarantined */
    struct buffer caption;              /* pairs, from the caption files */
    struct buffer name;                 /* FILE:LINE or TAR:KEY */
    /* pictures */
    struct picture_reader *reader;
    struct picture_place *places; /* as found by `exists`, one per document.images */
    struct buffer raw, stored;
    struct spool spool;
    /* pieces */
    struct piece_maker maker;
    struct packer *packer;
    struct unit_piece *pieces;
    struct buffer picture, ids, documents, images; /* of the sequence being written */
};

struct unit_input *unit_input(struct unit *u);
enum status unit_quarantine(struct unit *u, const char *member, const char *stage, uint64_t offset,
                            uint64_t length, uint64_t hash, const struct error *why,
                            struct error *err);

/* unit_picture.c. Verifies u->raw and puts it into the spool. ST_OK: u->pictures[index] is set. ST_SKIP: *image says
 * what became of it, a quarantine row is written where it is damaged. */
enum status unit_picture_take(struct unit *u, uint32_t index, struct filter_image *image,
                              const char *member, const void *data, size_t size, struct error *err);
/* Of struct filter_pictures; `arg` is the unit. */
enum status unit_picture_exists(void *arg, const struct document *d, uint32_t index,
                                struct filter_image *image, struct error *err);
enum status unit_picture_verify(void *arg, const struct document *d, uint32_t index,
                                struct filter_image *image, struct error *err);

/* unit_emit.c. */
enum status unit_emit_piece(void *arg, const struct piece *p, struct error *err);
enum status unit_emit_sequence(void *arg, const struct packer_item *items, size_t count,
                               uint32_t tokens, uint32_t images, struct error *err);
void unit_free_pieces(struct unit *u);

#endif
