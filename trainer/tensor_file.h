/* trainer/tensor_file.h: named tensors in one or more files, whatever the format (safetensors.h,
 * torch_file.h). Opening reads and checks the headers; numbers are read by pread into the caller's
 * memory, so that a file that is replaced or cut while in use ends in an error, never in a signal or
 * in other numbers. One thread.
 *
 *     safetensors_open(&f, "model.safetensors", err);
 *     const struct tensor_info *t = tensor_file_find(f, "norm.weight");
 *     tensor_file_read_f32(f, t, values, err);              t->count floats
 */
#ifndef DEEM_TRAINER_TENSOR_FILE_H
#define DEEM_TRAINER_TENSOR_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum { TENSOR_RANK_MAX = 8 };

/* Names and widths as safetensors 0.6 has them. */
enum tensor_type {
    TENSOR_BOOL,
    TENSOR_F4,
    TENSOR_F6_E2M3,
    TENSOR_F6_E3M2,
    TENSOR_U8,
    TENSOR_I8,
    TENSOR_F8_E5M2,
    TENSOR_F8_E4M3,
    TENSOR_F8_E8M0,
    TENSOR_I16,
    TENSOR_U16,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_I32,
    TENSOR_U32,
    TENSOR_F32,
    TENSOR_F64,
    TENSOR_C64,
    TENSOR_I64,
    TENSOR_U64,
    TENSOR_TYPE_COUNT
};
const char *tensor_type_name(enum tensor_type type); /* "F32", "BF16", ... */
unsigned tensor_type_bits(enum tensor_type type);    /* of one element */

struct tensor_info {
    const char *name; /* owned by the file */
    enum tensor_type type;
    int rank;
    int64_t shape[TENSOR_RANK_MAX];
    int64_t stride[TENSOR_RANK_MAX]; /* elements */
    bool contiguous;                 /* row-major without gaps */
    int64_t count;                   /* elements */
    uint64_t offset;                 /* byte of the first element in its file */
    uint64_t bytes;                  /* from there to the end of the last element */
    size_t source;                   /* which of the files */
};

struct tensor_file;

void tensor_file_close(struct tensor_file **f);
size_t tensor_file_count(const struct tensor_file *f);
/* In the order of the files and, in a file, of the bytes. */
const struct tensor_info *tensor_file_at(const struct tensor_file *f, size_t i);
/* NULL where absent. */
const struct tensor_info *tensor_file_find(const struct tensor_file *f, const char *name);
/* Path of the file that holds `t`, for messages. */
const char *tensor_file_path(const struct tensor_file *f, const struct tensor_info *t);

/* All elements as floats, row-major. Floats, integers up to 32 bits and bools only (64-bit integers
 * and doubles are rounded). ST_FAIL: CAUSE_FORMAT (a type that is none of these, the file is shorter
 * now), CAUSE_IO, CAUSE_NOMEM. */
enum status tensor_file_read_f32(const struct tensor_file *f, const struct tensor_info *t,
                                 float *out, struct error *err);
/* Elements [first, first + count) of a contiguous tensor. */
enum status tensor_file_read_f32_part(const struct tensor_file *f, const struct tensor_info *t,
                                      int64_t first, int64_t count, float *out, struct error *err);
/* Integer and bool tensors; a value that int32 cannot hold is CAUSE_FORMAT. */
enum status tensor_file_read_i32(const struct tensor_file *f, const struct tensor_info *t,
                                 int32_t *out, struct error *err);

/* "[2,3] F32" into out, cut where it does not fit. */
void tensor_info_text(char *out, size_t size, const struct tensor_info *t);

/* Rounds to nearest even; NaN stays NaN. */
uint16_t float_to_bf16(float v);
float float_from_bf16(uint16_t v);
uint16_t float_to_f16(float v);
float float_from_f16(uint16_t v);

#endif
