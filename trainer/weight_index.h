/* trainer/weight_index.h: the index file of sharded weights (model.safetensors.index.json,
 * pytorch_model.bin.index.json): "weight_map" says for each tensor which file beside the index holds it.
 * Everything that does not fit is named in one report: a shard that is absent or lies elsewhere, a name
 * listed twice, a tensor that its shard lacks, one that no entry names. */
#ifndef DEEM_TRAINER_WEIGHT_INDEX_H
#define DEEM_TRAINER_WEIGHT_INDEX_H

#include "trainer/tensor_file.h"

/* Opens a shard and adds its tensors to `f`. */
typedef enum status weight_index_add_fn(struct tensor_file *f, const char *path, struct error *err);

/* Reads the index and all its shards. ST_FAIL: CAUSE_FORMAT (the report), CAUSE_IO, CAUSE_NOMEM. */
enum status weight_index_open(struct tensor_file *f, const char *path, weight_index_add_fn *add,
                              struct error *err);

#endif
