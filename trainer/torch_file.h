/* trainer/torch_file.h: PyTorch's .bin and .pt files: an uncompressed zip archive of one pickle, which
 * describes the tensors, and one member a storage. Nothing of it is executed: the pickle is read by a
 * data-only interpreter (spec robustness.md 2.7) that knows, as data, exactly the names that a state dict of
 * tensors needs: torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter, collections.OrderedDict
 * and torch.*Storage. Any other name, and any opcode that could call one, is refused. */
#ifndef DEEM_TRAINER_TORCH_FILE_H
#define DEEM_TRAINER_TORCH_FILE_H

#include "trainer/tensor_file.h"

/* `path`: a .bin, or an index (.json) beside its shards. ST_FAIL: CAUSE_FORMAT naming file, byte and
 * opcode or member; CAUSE_LIMIT, CAUSE_IO, CAUSE_NOMEM. */
enum status torch_file_open(struct tensor_file **out, const char *path, struct error *err);
/* Over borrowed bytes. */
enum status torch_file_open_memory(struct tensor_file **out, const char *label, const uint8_t *data,
                                   size_t size, struct error *err);

#endif
