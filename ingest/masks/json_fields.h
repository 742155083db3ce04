/* ingest/masks/json_fields.h: members of records read from a pull parser. Each call reads the value
 * behind the current key to its end; a value of another type sets *ok to false and is skipped, since
 * the stream is fine and only the record is bad. ST_FAIL: the parser's error or CAUSE_NOMEM. */
#ifndef DEEM_INGEST_MASKS_JSON_FIELDS_H
#define DEEM_INGEST_MASKS_JSON_FIELDS_H

#include "core/json.h"

bool json_key_is(const struct json *j, const char *name);
enum status json_field_int64(struct json *j, int64_t *out, bool *ok, struct error *err);
enum status json_field_id(struct json *j, int64_t *out, bool *ok, struct error *err);
/* An id as text: integers in decimal, strings as they are. */
enum status json_field_id_text(struct json *j, struct buffer *out, bool *ok, struct error *err);
/* Replaces what is in `out`; NUL-terminated behind its size. A text with U+0000 is not ok. */
enum status json_field_text(struct json *j, struct buffer *out, bool *ok, struct error *err);
/* A list of exactly n numbers. */
enum status json_field_numbers(struct json *j, double *out, size_t n, bool *ok, struct error *err);
/* true and false; 1 and 0 */
enum status json_field_bool(struct json *j, bool *out, bool *ok, struct error *err);

/* Where a JSON document comes from: a file read in pieces, plain or, by its name, .zip (the member named
 * like it without .zip), .gz or .zst; offsets are those of the JSON. Close with json_file_close. */
struct json_file {
    struct json *json;
    const char *path; /* borrowed */
    int fd;           /* of a plain file, else -1 */
    struct stream *packed;
};
bool json_file_is_packed(const char *path);
enum status json_file_open(struct json_file *f, const char *path, struct error *err);
void json_file_close(struct json_file *f);

#endif
