/* filters/filter_caption.c: F8 and F7, captions of image-text pairs (spec data.md 2.1). */
#include <string.h>

#include "core/bytes.h"
#include "core/rng.h"
#include "core/unicode.h"
#include "filters/filter.h"

/* Lower case, one space for each run of white space, none at the ends. `out` has room for twice the
 * bytes of `in`: no simple lower case takes more than that. Returns the bytes. */
static size_t normalise(char *out, size_t at, uint64_t *points, bool *space, const struct text *in)
{
    for (size_t i = 0; i < in->size;) {
        uint32_t c = 0;
        i += utf8_next(&c, in->data + i, in->size - i);
        if (unicode_is_space(c)) {
            *space = true;
            continue;
        }
        if (*space && at > 0) {
            out[at++] = ' ';
            ++*points;
        }
        *space = false;
        at += utf8_put(out + at, unicode_lower(c));
        ++*points;
    }
    return at;
}

/* Words are runs between the single spaces of a normalised caption. */
static enum status measure(uint64_t *length, const struct text *caption,
                           const struct filter_options *opt, filter_tokens_fn *tokens, void *arg,
                           struct error *err)
{
    if (opt->caption_unit == FILTER_TOKENS)
        return tokens(arg, length, caption, err);
    if (opt->caption_unit == FILTER_WORDS) {
        *length = caption->size > 0;
        for (size_t i = 0; i < caption->size; i++)
            *length += caption->data[i] == ' ';
    }
    return ST_OK;
}

enum status filter_caption(enum filter_reason *reason, struct text *caption, uint64_t *length,
                           const struct document *d, const struct filter_options *opt,
                           filter_tokens_fn *tokens, void *arg, struct error *err)
{
    size_t room = 1;
    bool space = false;

    *reason = FILTER_F8_CAPTION;
    *caption = (struct text){ NULL, 0 };
    *length = 0;
    if (d->caption != DOCUMENT_CAPTION_STRING && d->caption != DOCUMENT_CAPTION_LIST)
        return ST_OK;
    for (size_t i = 0; i < d->sentence_count; i++)
        if (!add_ok_size(room, d->sentences[i].size + 1, &room))
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "caption: too long");
    char *out = arena_alloc(d->arena, room, 2);
    if (!out)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "caption: %zu bytes", room);
    size_t size = 0;
    for (size_t i = 0; i < d->sentence_count; i++) {
        space = space || i > 0; /* a list is joined with one space */
        size = normalise(out, size, length, &space, &d->sentences[i]);
    }
    out[size] = 0;
    *caption = (struct text){ out, size };
    if (size == 0)
        return ST_OK;
    const enum status st = measure(length, caption, opt, tokens, arg, err);
    *reason = *length < opt->min_caption ? FILTER_F7_SHORT_CAPTION : FILTER_NONE;
    return st;
}

bool filter_pair_before(const struct document *d, uint64_t seed)
{
    struct rng g;
    document_draw(&g, seed, "D4", d);
    return rng_bernoulli(&g, 0.5);
}
