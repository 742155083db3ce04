/* core/log.h: levels, key=value lines or JSON lines on stderr, and a progress line with rate and time
 * left (rewritten in place on a terminal, a plain line every 10 s otherwise). The sink is the one
 * global of the program; it is thread-safe. */
#ifndef DEEM_CORE_LOG_H
#define DEEM_CORE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
void log_setup(bool quiet, bool json);
/* Control bytes of the message are escaped; quiet drops INFO and DEBUG. */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_error(const struct error *err); /* "error: TEXT" */

struct progress;
/* `unit` as in "documents"; total 0 = unknown. NULL-safe everywhere; out of memory gives NULL. */
struct progress *progress_open(const char *what, const char *unit, uint64_t total);
void progress_add(struct progress *p, uint64_t n);
/* n were done before this run: they count as done, not into the rate. */
void progress_skip(struct progress *p, uint64_t n);
void progress_note(struct progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void progress_close(struct progress **p);

#endif
