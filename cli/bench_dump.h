/* cli/bench_dump.h: a raw dump made up for `deem bench ingest`: MMC4 lines in .jsonl.gz files and a flat
 * picture folder. The same for a seed. */
#ifndef DEEM_CLI_BENCH_DUMP_H
#define DEEM_CLI_BENCH_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

struct bench_dump_options {
    uint32_t documents, documents_per_file;
    uint32_t side;     /* pixels of the longer side of a picture; the shorter is 3/4 of it */
    uint32_t pictures; /* files; 0: one for every image of a document */
    bool keep_texts;
};

struct bench_dump {
    char *folder, *docs, *images; /* docs/ and images/ below `folder` */
    bool made;
    struct buffer texts; /* where kept: of each document its sentences behind each other, and NUL */
    uint64_t line_bytes, picture_bytes; /* of lines, unpacked; of the picture files */
    uint64_t images_count;              /* image entries */
};
/* Makes `folder`, which must not be there. ST_FAIL: CAUSE_CREATE, CAUSE_IO, CAUSE_NOMEM. */
enum status bench_dump_make(struct bench_dump *d, const char *folder,
                            const struct bench_dump_options *opt, struct error *err);
/* Removes the folder where it was made. */
void bench_dump_clear(struct bench_dump *d);

#endif
