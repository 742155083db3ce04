/* core/error.h: status says what may happen next, the cause says what went wrong.
 * One error object rises through the callers: created where the fault is seen, printed once. */
#ifndef DEEM_CORE_ERROR_H
#define DEEM_CORE_ERROR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum status {
    ST_END = 1,   /* nothing more to iterate over; not an error */
    ST_OK = 0,    /* done */
    ST_SKIP = -1, /* this record is unusable, the stream is fine: call again */
    ST_FAIL = -2, /* this object is unusable: close it */
    ST_STOP = -3, /* cancelled by someone else: unwind, report nothing */
};

enum cause {
    CAUSE_NONE = 0,
    CAUSE_ARG,      /* a caller or a user asked for what cannot be: exit 64 */
    CAUSE_NOMEM,    /* out of memory, threads, descriptors: exit 71 */
    CAUSE_IO,       /* the system refused to read or write: exit 74 */
    CAUSE_FORMAT,   /* bytes that break their format: exit 65 */
    CAUSE_CHECKSUM, /* bytes that do not match their checksum or digest: exit 65 */
    CAUSE_LIMIT,    /* beyond a limit of robustness.md 2.2: exit 65 */
    CAUSE_LOCKED,   /* another writer holds the output: exit 69 */
    CAUSE_CREATE,   /* an output cannot be created: exit 73 */
    CAUSE_SIGNAL,   /* asked to stop early, resumable: exit 75 */
    CAUSE_PEER,     /* a rank or a device failed: exit 76 */
    CAUSE_CUDA,     /* a CUDA call failed: exit 76 */
    CAUSE_INTERNAL, /* our own invariant broke: exit 70 */
    CAUSE_COUNT
};

struct error {
    enum cause cause;
    int sys;         /* errno or cudaError_t at the time of the fault, else 0 */
    char code[32];   /* short stable name for quarantine rows, "" where none; see error_code */
    char text[1024]; /* one line: "file: member: record: byte: what: got X, want Y" */
};

/* Fills *err from the arguments and errno (CAUSE_IO, _CREATE). The first cause wins: a set error is left
 * alone, so whoever handles an ST_SKIP clears *err (error_clear) before going on. Control bytes in the
 * text are escaped as \xNN. `err` may be NULL. */
void error_note(struct error *err, enum cause cause, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Names the fault for machines: "json-syntax", "picture-truncated". The first code wins. */
void error_note_code(struct error *err, const char *code);
/* Puts "where: " in front of the text as the error rises. */
void error_note_prefix(struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static inline enum status error_status(enum status st)
{
    return st;
}
/* The same three as expressions of value `st`, so that a failing line reads `return error_set(err, ST_FAIL,
 * CAUSE_FORMAT, "...")`. Macros, so that compilers and analyzers see which status it is. */
#define error_set(err, st, cause, ...) (error_note((err), (cause), __VA_ARGS__), error_status(st))
#define error_code(err, st, code)      (error_note_code((err), (code)), error_status(st))
#define error_prefix(err, st, ...)     (error_note_prefix((err), __VA_ARGS__), error_status(st))

void error_clear(struct error *err);

/* The exit code of robustness.md 2.2 for a cause. CAUSE_NONE gives 0. */
int error_exit_code(enum cause cause);

/* "format", "io", ...: for logs and quarantine rows. Never NULL. */
const char *error_cause_name(enum cause cause);

#ifdef __cplusplus
}
#endif
#endif
