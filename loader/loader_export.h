/* loader/loader_export.h: the loader for other languages: options as JSON, tensors as DLPack, no struct of
 * ours to mirror but struct error. python/deem_loader.py is its user; built as libdeem_loader.so.
 * Tensors are views of the batch, never copies; a batch goes back to the loader when its handle and
 * its last tensor are released, and a loader lives until its last batch is. Handles belong to one
 * thread; tensors may be released by any. DLPack: dmlc/dlpack, ABI 0 (struct DLManagedTensor). */
#ifndef DEEM_LOADER_LOADER_EXPORT_H
#define DEEM_LOADER_LOADER_EXPORT_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* The published layout of DLManagedTensor. */
struct dl_tensor {
    void *data;
    int32_t device_type, device_id; /* 1, 0: CPU */
    int32_t ndim;
    uint8_t type_code, type_bits; /* 0 int, 1 uint */
    uint16_t type_lanes;          /* 1 */
    int64_t *shape, *strides;     /* strides NULL: row-major */
    uint64_t byte_offset;
};
struct dl_managed_tensor {
    struct dl_tensor tensor;
    void *context;
    void (*deleter)(struct dl_managed_tensor *self);
};

struct loader_export;
struct loader_export_batch;

/* `json`: an object with the fields of struct loader_options that are numbers or booleans by name, and
 *     "sources": [{"name": "mmc4", "datasets": ["FOLDER", ...], "weight": 2}, ...],
 *     "image_side", "decode_side", "geometry": "crop" | "squash", "mode": "exact" | "fast",
 *     "mixing": "stratified" | "iid", "order": "permutation" | "block".
 * ST_FAIL: CAUSE_ARG (unknown or wrong member, by name), and what loader_open fails with. */
enum status loader_export_open(struct loader_export **out, const char *json, size_t size,
                               struct error *err);
enum status loader_export_next(struct loader_export *x, struct loader_export_batch **out,
                               struct error *err);
enum status loader_export_seek(struct loader_export *x, uint64_t step, struct error *err);
uint64_t loader_export_tell(const struct loader_export *x);
/* The ledger, as JSON; valid until the next call. NULL: no memory. */
const char *loader_export_stats(struct loader_export *x);
void loader_export_close(struct loader_export **x);

/* A tensor of the batch by its name in struct batch; NULL where the batch has none (or no memory).
 * Call its deleter once. */
struct dl_managed_tensor *loader_export_tensor(struct loader_export_batch *b, const char *name);
/* Step, rows and pictures as JSON, valid until release. NULL: no memory. */
const char *loader_export_describe(struct loader_export_batch *b);
void loader_export_release(struct loader_export_batch **b);

#endif
