/* ingest/lines.h: the lines of a JSON-lines input, by member, numbered physically from 0. A line ends at
 * its newline; the last one may lack it. Blank lines (white space only, and a BOM at the start) are
 * counted and passed over. One thread. */
#ifndef DEEM_INGEST_LINES_H
#define DEEM_INGEST_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/hash.h"
#include "ingest/source.h"

struct line {
    const char *member;  /* of an archive, else NULL */
    uint64_t number;     /* from 0, in its member */
    uint64_t offset;     /* of its first byte in the decompressed member */
    uint64_t length;     /* bytes without the newline */
    uint64_t hash;       /* XXH3-64 of these bytes; set with ST_SKIP only */
    const uint8_t *data; /* NULL with ST_SKIP */
};

struct lines;
enum status lines_open(struct lines **out, const char *path, const struct source_limits *limits,
                       struct error *err);
/* ST_OK: *l is the next line that is not blank, valid until the next call. ST_SKIP: a line too long
 * (its place is known), the cut line in front of a fault of the container, or a fault with no line in
 * front of it (length 0): *err says which; call again. ST_END. ST_FAIL: CAUSE_IO, CAUSE_NOMEM. */
enum status lines_next(struct lines *s, struct line *l, struct error *err);
/* The container ended early or is damaged; *why is the first fault. */
bool lines_incomplete(const struct lines *s, const char **why);
void lines_close(struct lines **s);

#endif
