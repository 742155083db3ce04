/* ingest/inputs.h: the list of a dump's input files, in the order that everything follows: by the
 * bytes of their path (design.md 8, Rules). */
#ifndef DEEM_INGEST_INPUTS_H
#define DEEM_INGEST_INPUTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct input {
    char *path;    /* as opened */
    char *file;    /* below the INPUT folder, or the base name: how the dataset calls it */
    char *name;    /* FILE or TAR of its record keys (data.md 2.3.1) */
    uint64_t size; /* bytes */
};
struct inputs {
    struct input *list;
    size_t count;
    uint64_t bytes;   /* of all */
    uint64_t ignored; /* files in folders whose name is no input's */
};

enum inputs_form { INPUTS_LINES, INPUTS_TARS }; /* .jsonl[.zip|.gz|.zst]; .tar */

/* Each of `paths` is a file, of any name, or a folder, searched in full depth. ST_FAIL: CAUSE_IO,
 * CAUSE_ARG (nothing found), CAUSE_FORMAT (two inputs of one name), CAUSE_NOMEM. */
enum status inputs_find(struct inputs *in, const char *const *paths, size_t count,
                        enum inputs_form form, struct error *err);
void inputs_clear(struct inputs *in);

#endif
