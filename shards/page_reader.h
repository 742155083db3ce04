/* shards/page_reader.h: reads a sealed LMDB file (format of LMDB 0.9, 64-bit, little-endian, one
 * unnamed database) by reads at offsets, without the library and without a map: every page number,
 * offset and length is checked against the file before it is used, so damage is an error and never a
 * signal. A reader belongs to one thread; any number of readers may share a file. */
#ifndef DEEM_SHARDS_PAGE_READER_H
#define DEEM_SHARDS_PAGE_READER_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

struct page_reader;
/* Reads the two meta pages. ST_FAIL: CAUSE_IO, CAUSE_NOMEM, CAUSE_FORMAT (not such a file, another
 * version, cut). */
enum status page_reader_open(struct page_reader **out, const char *path, struct error *err);
void page_reader_close(struct page_reader **r);

uint64_t page_reader_entries(const struct page_reader *r);
uint64_t page_reader_file_size(const struct page_reader *r);
uint32_t page_reader_page_size(const struct page_reader *r);

/* The key's value: *data and *size, borrowed from `memory` (replaced) until it changes. ST_END: no
 * such key. ST_FAIL: CAUSE_FORMAT, CAUSE_LIMIT (longer than max_bytes), CAUSE_IO, CAUSE_NOMEM; the
 * reader stays usable. */
enum status page_reader_get(struct page_reader *r, const void *key, size_t key_size,
                            uint64_t max_bytes, struct buffer *memory, const uint8_t **data,
                            size_t *size, struct error *err);

/* All keys in order, without their values; `key` is borrowed until `fn` returns, and another status
 * than ST_OK from it ends the walk and is returned. Checks the order of keys and the number of entries
 * and pages against the meta page. */
typedef enum status page_reader_fn(void *arg, const uint8_t *key, size_t key_size,
                                   uint64_t value_size, struct error *err);
enum status page_reader_walk(struct page_reader *r, page_reader_fn *fn, void *arg,
                             struct error *err);

#endif
