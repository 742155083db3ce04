/* tests/fuzz/fuzz_json.c: any bytes as JSON. Read in one block and in pieces they give the same events; a
 * tree that is written reads back to the same bytes; skipping agrees with reading about what is well
 * formed. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#include "core/hash.h"
#include "core/json.h"

struct pieces {
    const uint8_t *data;
    size_t left, step;
};

static enum status read_piece(void *arg, uint8_t *data, size_t size, size_t *got, struct error *err)
{
    struct pieces *p = arg;
    (void)err;
    *got = p->left < p->step ? p->left : p->step;
    *got = *got < size ? *got : size;
    if (*got > 0)
        memcpy(data, p->data, *got);
    p->data += *got;
    p->left -= *got;
    return ST_OK;
}

/* Status, events and texts of the whole input as one number. */
static uint64_t walk(struct json *j, bool *good)
{
    struct hash_stream *h = NULL;
    enum json_event e = JSON_NULL;
    enum status st = ST_OK;
    uint64_t sum = 0;
    uint8_t digest[8];
    if (hash_stream_open(&h, HASH_XXH3_64, NULL) != ST_OK)
        abort();
    do {
        size_t size = 0;
        int64_t v = 0;
        st = json_next(j, &e, NULL);
        if (st != ST_OK)
            break;
        const uint64_t at[2] = { (uint64_t)e, json_offset(j) };
        hash_stream_update(h, at, sizeof at);
        if (e == JSON_STRING || e == JSON_KEY || e == JSON_NUMBER) {
            const char *text = json_text(j, &size);
            if (text[size] != '\0')
                abort();
            hash_stream_update(h, text, size);
            json_int64(j, &v);
            json_id64(j, &v);
        }
    } while (e != JSON_END);
    hash_stream_digest(h, digest);
    hash_stream_close(&h);
    memcpy(&sum, digest, sizeof sum);
    *good = st == ST_OK;
    return sum;
}

static void write_value(struct json_writer *w, const struct json_value *v, bool in_object)
{
    struct buffer key;
    buffer_init(&key);
    if (in_object) { /* keys may hold NULs, which json_key does not take */
        if (buffer_append(&key, v->key, v->key_size, NULL) != ST_OK ||
            buffer_append(&key, "", 1, NULL) != ST_OK)
            abort();
        json_key(w, (const char *)key.data);
    }
    buffer_clear(&key);
    if (v->type == JSON_T_NULL)
        json_null(w);
    else if (v->type == JSON_T_BOOL)
        json_bool(w, v->boolean);
    else if (v->type == JSON_T_NUMBER)
        json_number(w, v->number);
    else if (v->type == JSON_T_STRING)
        json_string_n(w, v->text, v->size);
    else if (v->type == JSON_T_ARRAY)
        json_begin_array(w);
    else
        json_begin_object(w);
    for (const struct json_value *c = v->child; c; c = c->next) /* at most 60 deep */
        write_value(w, c, v->type == JSON_T_OBJECT);
    if (v->type == JSON_T_ARRAY)
        json_end_array(w);
    else if (v->type == JSON_T_OBJECT)
        json_end_object(w);
}

static void write_tree(struct buffer *out, const struct json_value *v, bool ascii)
{
    struct json_writer w;
    buffer_init(out);
    json_writer_init(&w, out);
    w.ascii = ascii;
    write_value(&w, v, false);
    if (json_writer_finish(&w, NULL) != ST_OK)
        abort();
}

/* Written twice with a reading between them: the same bytes. */
static void check_round_trip(const struct json_value *v, bool ascii)
{
    struct buffer once, twice;
    struct arena a;
    struct json_value *again = NULL;
    struct json_options opt;
    json_options_init(&opt);
    arena_init(&a, 0);
    write_tree(&once, v, ascii);
    if (json_parse(&a, &again, once.data, once.size, &opt, NULL) != ST_OK)
        abort();
    write_tree(&twice, again, ascii);
    if (once.size != twice.size || memcmp(once.data, twice.data, once.size) != 0)
        abort();
    buffer_clear(&once);
    buffer_clear(&twice);
    arena_clear(&a);
}

static bool check_walks(const uint8_t *data, size_t size, const struct json_options *opt)
{
    struct json *j = NULL;
    bool good = false, same = false;
    if (json_open(&j, data, size, opt, NULL) != ST_OK)
        abort();
    const uint64_t want = walk(j, &good);
    json_close(&j);
    for (size_t step = 1; step < 40; step += 12) {
        struct pieces p = { data, size, step };
        if (json_open_stream(&j, read_piece, &p, opt, NULL) != ST_OK)
            abort();
        const uint64_t got = walk(j, &same);
        json_close(&j);
        if (same != good || (good && got != want))
            abort();
    }
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_options opt;
    struct arena a;
    struct json_value *v = NULL;
    struct json *j = NULL;
    enum json_event e = JSON_NULL;

    json_options_init(&opt);
    opt.max_depth = 60;
    opt.bom_allowed = true;
    const bool good = check_walks(data, size, &opt);
    arena_init(&a, 0);
    if ((json_parse(&a, &v, data, size, &opt, NULL) == ST_OK) != good)
        abort();
    if (good) {
        check_round_trip(v, false);
        check_round_trip(v, true);
    }
    arena_clear(&a);
    if (json_open(&j, data, size, &opt, NULL) != ST_OK)
        abort();
    const bool skipped = json_next(j, &e, NULL) == ST_OK && json_skip(j, NULL) == ST_OK &&
                         json_next(j, &e, NULL) == ST_OK;
    if (skipped != good)
        abort();
    json_close(&j);
    return 0;
}
