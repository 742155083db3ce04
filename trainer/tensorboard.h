/* trainer/tensorboard.h: event files that TensorBoard reads: scalars and PNG pictures. Format: a sequence
 * of TFRecords (length u64, masked CRC-32C of it, data, masked CRC-32C of that), each a protocol buffer
 * `Event` of tensorflow/core/util/event.proto. One thread. */
#ifndef DEEM_TRAINER_TENSORBOARD_H
#define DEEM_TRAINER_TENSORBOARD_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct tensorboard;

/* Creates `folder` and a new event file in it. ST_FAIL: CAUSE_CREATE, CAUSE_IO, CAUSE_NOMEM. */
enum status tensorboard_open(struct tensorboard **out, const char *folder, struct error *err);
enum status tensorboard_scalar(struct tensorboard *t, int64_t step, const char *tag, float value,
                               struct error *err);
/* `png` is a whole PNG file. */
enum status tensorboard_picture(struct tensorboard *t, int64_t step, const char *tag, int width,
                                int height, const uint8_t *png, size_t size, struct error *err);
void tensorboard_close(struct tensorboard **t);

/* CRC-32C (Castagnoli), and TFRecord's mask of it. */
uint32_t tensorboard_masked_crc(const uint8_t *data, size_t size);

#endif
