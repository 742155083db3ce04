/* ingest/masks/matfile.h: a reader for MATLAB level-5 MAT files (MathWorks, "MAT-File Format", 2007):
 * numeric, char, cell and struct arrays, plain or zlib-compressed, little-endian: what Pascal-Part
 * needs (spec robustness.md 2.8). Version 7.3 (HDF5), level 4, sparse and complex arrays, objects,
 * function handles and opaque classes are refused by name. Every element is read inside its parent; no
 * recursion. */
#ifndef DEEM_INGEST_MASKS_MATFILE_H
#define DEEM_INGEST_MASKS_MATFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

enum mat_class {
    MAT_CELL = 1, /* the file's own numbers */
    MAT_STRUCT = 2,
    MAT_CHAR = 4,
    MAT_DOUBLE = 6,
    MAT_SINGLE = 7,
    MAT_INT8 = 8,
    MAT_UINT8 = 9,
    MAT_INT16 = 10,
    MAT_UINT16 = 11,
    MAT_INT32 = 12,
    MAT_UINT32 = 13,
    MAT_INT64 = 14,
    MAT_UINT64 = 15,
};
enum { MAT_RANK_MAX = 8 };

/* Lives in the arena of the parse, or in the file's bytes. */
struct mat_value {
    enum mat_class class;
    const char *name; /* of a variable or field; NUL-terminated */
    uint32_t rank;
    uint64_t dims[MAT_RANK_MAX];
    uint64_t count;              /* product of dims; column-major */
    uint32_t storage;            /* numbers: type of the stored elements, as in the file */
    const uint8_t *data;         /* numbers: count elements, little-endian */
    const char *text;            /* MAT_CHAR: UTF-8, NUL-terminated */
    uint32_t fields;             /* MAT_STRUCT: members of each element */
    const char **field_names;    /* MAT_STRUCT */
    struct mat_value **children; /* MAT_CELL: count; MAT_STRUCT: count x fields, by element */
};

struct mat_limits {
    uint64_t max_variable; /* bytes, inflated; default 256 MiB */
    uint64_t max_elements; /* of one array; default 2^28 */
    uint32_t max_depth;    /* nested cells and structs; default 16 */
    uint64_t max_ratio;    /* inflated : deflated beyond the first 16 MiB; default 200 */
};
void mat_limits_init(struct mat_limits *l);

/* The variable `name` of the file in data[0 .. size), which must outlive *out; all elements before it
 * and itself are checked. ST_FAIL: CAUSE_FORMAT or CAUSE_LIMIT with byte, code "mat-header",
 * "mat-version", "mat-element", "mat-zlib", "mat-class", "mat-dims", "mat-limit", "mat-absent";
 * CAUSE_NOMEM. Bytes inside a compressed variable are counted in its inflated form. */
enum status mat_parse(struct mat_value **out, struct arena *arena, const uint8_t *data, size_t size,
                      const char *name, const struct mat_limits *limits, struct error *err);

/* Field of element i of a struct array; NULL where there is none. */
const struct mat_value *mat_field(const struct mat_value *v, uint64_t i, const char *name);
/* Element i of a numeric array. */
double mat_number(const struct mat_value *v, uint64_t i);
/* Column-major bytes of a numeric matrix of at most 8-bit storage; else NULL: use mat_number. */
const uint8_t *mat_bytes(const struct mat_value *v);

#endif
