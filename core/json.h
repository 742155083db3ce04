/* core/json.h: streaming pull parser and writer for JSON by the rules of spec data.md 1: RFC 8259
 * plus NaN, Infinity, -Infinity; a BOM only where allowed; invalid UTF-8 replaced by U+FFFD (one per
 * maximal ill-formed part, counted); lone surrogate escapes by one U+FFFD; depth at most 64. No
 * recursion, no whole-document memory: a 20 GB array is walked in the memory of its largest string.
 * One parser belongs to one thread. */
#ifndef DEEM_CORE_JSON_H
#define DEEM_CORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

enum json_event {
    JSON_END, /* after the one value, and only white space followed */
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_KEY,
    JSON_ARRAY_BEGIN,
    JSON_ARRAY_END,
    JSON_OBJECT_BEGIN,
    JSON_OBJECT_END,
};

struct json_options {
    unsigned max_depth;   /* default 64, outermost value = 1 */
    size_t max_string;    /* bytes of one string or number; default 16 MiB */
    size_t max_members;   /* of one object; default 1,000,000 */
    bool bom_allowed;     /* a BOM at the very start is skipped; default false */
    uint64_t base_offset; /* added to offsets in messages */
    bool several_values;  /* JSON_END after each value, then the next; default false */
};
void json_options_init(struct json_options *opt);

/* Fills data[0..size) and sets *got; *got 0 = end. */
typedef enum status json_read_fn(void *arg, uint8_t *data, size_t size, size_t *got,
                                 struct error *err);

struct json;
/* Over memory (borrowed until close). */
enum status json_open(struct json **out, const void *data, size_t size,
                      const struct json_options *opt, struct error *err);
/* Over a stream. */
enum status json_open_stream(struct json **out, json_read_fn *read, void *arg,
                             const struct json_options *opt, struct error *err);
/* Starts over with other bytes and the same options and memory; for parsers over memory. */
void json_restart(struct json *j, const void *data, size_t size, uint64_t base_offset);
void json_close(struct json **j);

/* Next event. ST_END: with several_values, no value follows. ST_FAIL: CAUSE_FORMAT (code "json-syntax", text names the byte), CAUSE_LIMIT
 * (depth, string, members), CAUSE_IO of the reader, CAUSE_NOMEM. */
enum status json_next(struct json *j, enum json_event *event, struct error *err);
/* Of the current JSON_STRING or JSON_KEY: UTF-8, NUL-terminated, may hold NULs; valid until the
 * next json_next. Of a JSON_NUMBER: its text as written. */
const char *json_text(const struct json *j, size_t *size);
/* The current number as a double (may be NaN or infinite from the literals). */
double json_double(const struct json *j);
/* The current event as a 64-bit integer field: integers as written, or integral floats up to 2^53
 * in size; false otherwise. */
bool json_int64(const struct json *j, int64_t *out);
/* As json_int64, and decimal strings (-? and 1-19 digits). */
bool json_id64(const struct json *j, int64_t *out);
/* Skips the value that begins with the current event (or the value of the current key). */
enum status json_skip(struct json *j, struct error *err);
uint64_t json_offset(const struct json *j);   /* of the current event's first byte */
uint64_t json_replaced(const struct json *j); /* invalid byte parts replaced so far */
unsigned json_depth(const struct json *j);    /* open containers */

/* A whole value as a tree in an arena (for small documents: manifests, headers, records). Duplicate
 * keys are resolved, the last one wins. Children keep their order. */
enum json_type {
    JSON_T_NULL,
    JSON_T_BOOL,
    JSON_T_NUMBER,
    JSON_T_STRING,
    JSON_T_ARRAY,
    JSON_T_OBJECT
};
struct json_value {
    enum json_type type;
    bool boolean;
    const char *text; /* string bytes (NUL-terminated) or number as written */
    size_t size;      /* bytes of text */
    double number;
    const char *key; /* member name where the parent is an object */
    size_t key_size;
    struct json_value *child; /* first element or member */
    struct json_value *next;  /* sibling */
    size_t count;             /* children */
    uint64_t offset;          /* byte in the input */
};
/* Reads the value that begins at the next event. max_depth etc. as in the parser's options. ST_END:
 * the next event closed the container, or the input. */
enum status json_read_tree(struct json *j, struct arena *arena, struct json_value **out,
                           struct error *err);
/* The whole of data[0..size). */
enum status json_parse(struct arena *arena, struct json_value **out, const void *data, size_t size,
                       const struct json_options *opt, struct error *err);
/* NULL when absent or not an object. */
const struct json_value *json_get(const struct json_value *object, const char *key);
bool json_value_int64(const struct json_value *v, int64_t *out);
bool json_value_id64(const struct json_value *v, int64_t *out);

/* Writer: appends to a buffer. Commas and colons are put by itself; a failed append is remembered
 * and reported by json_writer_finish. */
struct json_writer {
    struct buffer *out;
    struct error err;
    uint64_t first; /* bit d: the container at depth d is still empty */
    unsigned depth;
    bool after_key, failed, ascii; /* ascii: non-ASCII as \u escapes */
};
void json_writer_init(struct json_writer *w, struct buffer *out);
void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_string(struct json_writer *w, const char *s);
void json_string_n(struct json_writer *w, const char *s, size_t size); /* invalid UTF-8: U+FFFD */
void json_int(struct json_writer *w, int64_t v);
void json_uint(struct json_writer *w, uint64_t v);
void json_number(struct json_writer *w, double v); /* shortest that reads back; NaN, inf: null */
void json_bool(struct json_writer *w, bool v);
void json_null(struct json_writer *w);
void json_raw(struct json_writer *w, const char *json, size_t size); /* a finished value */
enum status json_writer_finish(struct json_writer *w, struct error *err);

/* UTF-8 repair as the parser does it: appends to `out`, adds to *replaced. */
enum status utf8_repair(struct buffer *out, const void *data, size_t size, uint64_t *replaced,
                        struct error *err);

#endif
