/* ingest/source.h: one input of a dump, record by record. What the driver needs of every format; the
 * formats are source_*.c. A source belongs to one thread. */
#ifndef DEEM_INGEST_SOURCE_H
#define DEEM_INGEST_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/document.h"
#include "core/error.h"
#include "core/hash.h"

/* robustness.md 2.2; each has a test just below and one just above. */
struct source_limits {
    uint64_t max_members;      /* of an archive; 1,000,000 */
    uint32_t max_name;         /* bytes of a member name; 1,024 */
    uint64_t max_member;       /* bytes of a picture or JSON member; 64 MiB */
    uint64_t max_lines_member; /* bytes out of a packed JSON-lines file or member; 16 GiB */
    uint64_t max_line;         /* bytes of a line; 64 MiB */
    uint64_t max_ratio;        /* expansion to one, past the first 16 MiB; 200 */
    unsigned max_depth;        /* JSON; 64 */
    uint64_t max_string;       /* JSON; 16 MiB */
    uint64_t max_object;       /* members of an object; 1,000,000 */
};
void source_limits_init(struct source_limits *l);

/* One line of quarantine.jsonl (design.md 8), less the input's name. Text is escaped by who writes
 * it. Valid until the next call on the source. */
struct source_damage {
    struct text member;         /* in an archive, else data NULL */
    struct text record;         /* LINE in decimal, or KEY */
    uint64_t offset;            /* of the raw record in its decompressed stream */
    uint64_t length;            /* raw bytes */
    uint64_t hash;              /* XXH3-64 of them */
    const char *stage;          /* "read", "parse", "picture" */
    struct text found, allowed; /* data NULL: nothing to say */
};

struct source;
/* `file` is the input's name in messages (path below the INPUT folder, or base name). ST_FAIL:
 * CAUSE_IO, CAUSE_FORMAT (no regular file), CAUSE_NOMEM. `limits` NULL: defaults. A container of
 * another kind than its name says, or whose directory is not to be trusted, opens and then has one
 * damaged record. */
enum status source_open_mmc4(struct source **out, const char *path, const char *file,
                             const struct source_limits *limits, struct error *err);
enum status source_open_pairs(struct source **out, const char *path, const char *file,
                              const struct source_limits *limits, struct error *err);
/* ST_OK: *d is the next record, valid until the next call. ST_SKIP: the next record is damaged:
 * *damage is filled and *err holds code and text; call again. ST_END: no more; ask
 * source_incomplete. ST_FAIL: CAUSE_IO (a file that changed while it was read, too), CAUSE_NOMEM.
 * Blank lines are no records. A container that is cut or damaged has exactly one damaged record for
 * that: the line or sample it cut, or, where it cut none, one of length 0. */
enum status source_next(struct source *s, const struct document **d, struct source_damage *damage,
                        struct error *err);
/* Passes over `records` records, damaged ones included, without parsing them: the place where a cut
 * begins. ST_END where there are fewer. */
enum status source_skip(struct source *s, uint64_t records, struct error *err);
/* The container ended early or is damaged: what was readable was delivered. *why (may be NULL) is
 * one line for the log. */
bool source_incomplete(const struct source *s, const char **why);
void source_close(struct source **s);

#endif
