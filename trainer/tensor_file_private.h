/* trainer/tensor_file_private.h: how the readers of formats fill a tensor_file. */
#ifndef DEEM_TRAINER_TENSOR_FILE_PRIVATE_H
#define DEEM_TRAINER_TENSOR_FILE_PRIVATE_H

#include "core/hash.h"
#include "core/mem.h"
#include "trainer/tensor_file.h"

struct tensor_source {
    char *path;
    int fd; /* -1: bytes in memory */
    const uint8_t *memory;
    uint64_t size;
};

struct tensor_file {
    struct tensor_info *list;
    size_t count, cap;
    struct hash_map *by_name;
    struct arena names;
    struct tensor_source *sources;
    size_t n_sources;
};

enum status tensor_file_make(struct tensor_file **out, struct error *err);
/* Opens the file; its index is f->n_sources - 1 afterwards. */
enum status tensor_file_add_source(struct tensor_file *f, const char *path, struct error *err);
/* Borrowed bytes instead of a file, for tests. */
enum status tensor_file_add_memory(struct tensor_file *f, const char *label, const uint8_t *data,
                                   size_t size, struct error *err);
/* `size` bytes at `offset` of a source. ST_FAIL: CAUSE_FORMAT "ends early", CAUSE_IO. */
enum status tensor_file_bytes(const struct tensor_file *f, size_t source, void *out, size_t size,
                              uint64_t offset, struct error *err);
/* Copies info and name (`size` bytes). ST_FAIL: CAUSE_FORMAT for a name that is there already or that
 * holds control bytes. */
enum status tensor_file_add(struct tensor_file *f, const struct tensor_info *info, const char *name,
                            size_t size, struct error *err);
/* Row-major strides, count and bytes from type and shape. False where the product wraps or the bits
 * do not fill whole bytes. */
bool tensor_info_complete(struct tensor_info *t);
/* Orders the list by source and offset and rebuilds the map. */
enum status tensor_file_order(struct tensor_file *f, struct error *err);

#endif
