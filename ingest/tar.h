/* ingest/tar.h: the regular members of a tar, through libarchive with that one format enabled. Data are
 * read from where they lie, so a member's place can be kept and used again. Names are keys, never
 * paths: nothing is extracted (robustness.md 2.3). One thread. */
#ifndef DEEM_INGEST_TAR_H
#define DEEM_INGEST_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "ingest/source.h"

struct tar_member {
    const char *name;      /* without a leading "./"; NULL where it is not known */
    uint64_t header, data; /* bytes in the file */
    uint64_t size;         /* as declared */
};

struct tar;
enum status tar_open(struct tar **out, const char *path, const struct source_limits *limits,
                     struct error *err);
/* ST_OK: a regular member whose bytes are all there; folders, links and devices are passed over.
 * ST_SKIP: a member or the archive is damaged, *err holds code and text, m->name may be known; call
 * again. Codes: "tar-cut" (the file ends inside a member, or without its end blocks), "tar-header",
 * "tar-sparse", "tar-trailing", "member-name", "limit-bytes", "limit-members", "container-magic".
 * ST_FAIL: CAUSE_IO, CAUSE_NOMEM. Names are valid until the next call. */
enum status tar_next(struct tar *t, struct tar_member *m, struct error *err);
/* Replaces what `out` holds by the member's bytes. */
enum status tar_read(const struct tar *t, struct buffer *out, const struct tar_member *m,
                     struct error *err);
/* XXH3-64 of m->size bytes at m->data, whatever they are. */
enum status tar_hash(const struct tar *t, uint64_t *out, const struct tar_member *m,
                     struct error *err);
/* The archive was cut or is damaged as such (a bad member alone does not count). */
bool tar_incomplete(const struct tar *t);
const struct file_info *tar_info(const struct tar *t);
void tar_close(struct tar **t);

#endif
