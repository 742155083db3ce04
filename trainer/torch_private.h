/* trainer/torch_private.h: the pickle of a PyTorch file as values. */
#ifndef DEEM_TRAINER_TORCH_PRIVATE_H
#define DEEM_TRAINER_TORCH_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "trainer/tensor_file.h"

enum pickle_type {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_LIST, /* and tuple, set */
    PICKLE_DICT, /* keys and values alternate */
    PICKLE_NAME, /* one of the known global names */
    PICKLE_STORAGE,
    PICKLE_TENSOR,
};
enum pickle_name { NAME_REBUILD_TENSOR, NAME_REBUILD_PARAMETER, NAME_ORDERED_DICT, NAME_STORAGE };

struct pickle_cell {
    struct pickle_value *value;
    struct pickle_cell *next;
};
struct pickle_storage {
    enum tensor_type type;
    const char *key; /* member "data/KEY" */
    int64_t count;   /* elements */
};
struct pickle_tensor {
    const struct pickle_storage *storage;
    int64_t offset; /* elements */
    int rank;
    int64_t shape[TENSOR_RANK_MAX], stride[TENSOR_RANK_MAX];
};
struct pickle_value {
    enum pickle_type type;
    int64_t integer; /* BOOL, INT; NAME: enum pickle_name */
    const char *text;
    size_t size;
    struct pickle_cell *first, *last; /* LIST, DICT */
    size_t count;                     /* cells */
    enum tensor_type dtype;           /* NAME_STORAGE */
    struct pickle_storage storage;
    struct pickle_tensor tensor;
};

/* Reads one pickle into values of `memory`. `where` names the file for messages. */
enum status pickle_read(struct pickle_value **out, struct arena *memory, const char *where,
                        const uint8_t *data, size_t size, struct error *err);

#endif
