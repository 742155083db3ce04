/* core/file_private.h: what file.c and file_folder.c share. */
#ifndef DEEM_CORE_FILE_PRIVATE_H
#define DEEM_CORE_FILE_PRIVATE_H

#include "core/file.h"

/* Counts a system call; true (errno set): a test wants it to fail. */
bool file_fault(void);
/* An error from errno: out of descriptors or memory is CAUSE_NOMEM whatever `cause` says. */
enum status file_error(struct error *err, enum cause cause, const char *path, const char *what);
/* Of `name` in an open folder; `path` is for messages. *link: it is a link, and *info describes
 * what it points to, zeros where that is nothing. ST_END: nothing there. */
enum status file_stat_at(int folder, const char *path, const char *name, struct file_info *info,
                         bool *link, struct error *err);

#endif
