/* ingest/table.h: a table on disk from byte strings to byte strings, for more entries than memory holds:
 * one file of entries, one of sorted hashes. Equal keys keep all their values, in the order in which
 * they were added. Equal hashes are told apart by the keys' bytes. Writing: one thread; finding: any
 * number. The files lie in DATASET/work and belong to this build. */
#ifndef DEEM_INGEST_TABLE_H
#define DEEM_INGEST_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct table_writer;
/* FOLDER/NAME.entries and FOLDER/NAME.keys; older ones are replaced. Up to `run` keys are sorted in
 * memory at once, 16 bytes each; 0: 32 MiB of them. */
enum status table_create(struct table_writer **out, const char *folder, const char *name,
                         size_t run, struct error *err);
enum status table_add(struct table_writer *w, const void *key, size_t key_size, const void *value,
                      size_t value_size, struct error *err);
/* Sorts and makes the table valid, at once or not at all. `identity` stands for what it was made of;
 * close the writer afterwards. */
enum status table_finish(struct table_writer *w, uint64_t identity, struct error *err);
void table_writer_close(struct table_writer **w);

struct table;
/* ST_END: none is there, or one of another identity. ST_FAIL: CAUSE_FORMAT (damaged), CAUSE_IO. */
enum status table_open(struct table **out, const char *folder, const char *name, uint64_t identity,
                       struct error *err);
void table_close(struct table **t);
uint64_t table_count(const struct table *t);

/* for (table_seek(...); (st = table_next(...)) == ST_OK;) ... */
struct table_cursor {
    const void *key;
    size_t key_size;
    uint64_t hash, at;
};
void table_seek(const struct table *t, struct table_cursor *c, const void *key, size_t key_size);
struct table_value {
    const uint8_t *data; /* borrowed until the table is closed */
    size_t size;
    uint64_t place; /* to find it again with table_at */
};
/* ST_END: no more. ST_FAIL: CAUSE_FORMAT. */
enum status table_next(const struct table *t, struct table_cursor *c, struct table_value *v,
                       struct error *err);
enum status table_at(const struct table *t, uint64_t place, struct table_value *v,
                     struct error *err);

#endif
