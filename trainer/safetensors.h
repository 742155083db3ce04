/* trainer/safetensors.h: safetensors files, read and written. Format: a little-endian u64 header size,
 * a JSON object (name -> dtype, shape, data_offsets; "__metadata__": strings), then the bytes, without
 * holes. Source: the reference implementation's rules (github.com/huggingface/safetensors 0.6); ours
 * are stricter in names: no duplicates, no control bytes. Sharded sets come with an index file
 * ("weight_map": name -> file). */
#ifndef DEEM_TRAINER_SAFETENSORS_H
#define DEEM_TRAINER_SAFETENSORS_H

#include "trainer/tensor_file.h"

enum { SAFETENSORS_HEADER_MAX = 100000000 }; /* bytes, as in the reference */

/* `path`: a .safetensors file or an index (.json) beside its shards. ST_FAIL: CAUSE_FORMAT,
 * CAUSE_LIMIT, CAUSE_IO, CAUSE_NOMEM; the text names file and byte, for an index all that is wrong. */
enum status safetensors_open(struct tensor_file **out, const char *path, struct error *err);
/* The same checks over bytes in memory, borrowed until close. `label` stands for the path. */
enum status safetensors_open_memory(struct tensor_file **out, const char *label,
                                    const uint8_t *data, size_t size, struct error *err);

/* What a file is to hold; all borrowed during the call. */
struct safetensors_entry {
    const char *name;
    enum tensor_type type; /* of the file */
    int rank;
    int64_t shape[TENSOR_RANK_MAX];
};
struct safetensors_pair {
    const char *key, *value;
};

/* A file is written beside `path` and renamed in by finish, so a reader sees the old or the new one.
 * Tensors are put in the order of the list. */
struct safetensors_writer;
enum status safetensors_writer_open(struct safetensors_writer **out, const char *path,
                                    const struct safetensors_entry *list, size_t count,
                                    const struct safetensors_pair *metadata, size_t n_metadata,
                                    struct error *err);
/* The next tensor's elements; converted to its type (F32, BF16, F16). */
enum status safetensors_writer_put(struct safetensors_writer *w, const float *data, int64_t count,
                                   struct error *err);
/* The next tensor's bytes as they are. */
enum status safetensors_writer_put_raw(struct safetensors_writer *w, const void *data, size_t size,
                                       struct error *err);
/* fsync, rename, fsync of the folder; digest (may be NULL) is the file's SHA-256. Closes *w also on
 * failure, and then removes what was written. */
enum status safetensors_writer_finish(struct safetensors_writer **w, uint8_t digest[32],
                                      struct error *err);
/* Gives up: removes what was written. */
void safetensors_writer_close(struct safetensors_writer **w);

#endif
