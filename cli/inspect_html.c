/* cli/inspect_html.c: sequences as one self-contained page. It holds no script at all, and its content
 * policy forbids any; every byte of a dump goes through printable_html; pictures are data URIs. Light
 * and dark follow the reader's system and a check box turns them round. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/inspect.h"
#include "cli/printable.h"
#include "core/file.h"
#include "core/rle.h"

static const char page_start[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>";

static const char style[] =
    "</title>\n<style>\n"
    ":root{color-scheme:light dark}\n"
    "*{box-sizing:border-box}body{margin:0}\n"
    ".page{--bg:#fbfaf7;--fg:#22252b;--dim:#6d7280;--line:#dcd9d0;--card:#fff;--train:#dcefe0;"
    "--mark:#b4552d;--bar:#5b7fb5;background:var(--bg);color:var(--fg);min-height:100vh;"
    "padding:2rem max(1rem,calc((100vw - 68rem)/2));"
    "font:16px/1.6 Georgia,'DejaVu Serif',serif}\n"
    "#theme:checked~.page{--bg:#15171b;--fg:#dfe1e6;--dim:#8f96a3;--line:#33373f;--card:#1c1f25;"
    "--train:#1f3a2a;--mark:#e09062;--bar:#6f95cf}\n"
    "@media(prefers-color-scheme:dark){.page{--bg:#15171b;--fg:#dfe1e6;--dim:#8f96a3;"
    "--line:#33373f;--card:#1c1f25;--train:#1f3a2a;--mark:#e09062;--bar:#6f95cf}"
    "#theme:checked~.page{--bg:#fbfaf7;--fg:#22252b;--dim:#6d7280;--line:#dcd9d0;--card:#fff;"
    "--train:#dcefe0;--mark:#b4552d;--bar:#5b7fb5}}\n"
    "#theme{position:absolute;top:1rem;right:1rem;width:1.2rem;height:1.2rem}\n"
    "h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2.5rem 0 .6rem}\n"
    ".dim,figcaption,header,th,td,.legend{font:13px/1.5 system-ui,sans-serif}\n"
    ".dim,figcaption,header,th{color:var(--dim)}\n"
    "article{background:var(--card);border:1px solid var(--line);border-left:4px solid "
    "var(--mark);border-radius:6px;padding:.8rem 1.1rem;margin:.7rem 0;overflow-wrap:anywhere}\n"
    "header{margin-bottom:.4rem}.text{white-space:pre-wrap}\n"
    ".t{background:var(--train);border-radius:2px}.t:hover,.u:hover{outline:1px solid "
    "var(--mark)}.u{color:var(--dim)}\n"
    ".s{font:12px ui-monospace,monospace;color:var(--mark)}\n"
    "figure{margin:.8rem 0;max-width:100%;"
    "white-space:normal}\n"
    ".frame{position:relative;display:inline-block;line-height:0}\n"
    ".frame img{max-width:100%;max-height:20rem;width:auto;height:auto;border-radius:4px}\n"
    ".frame svg{position:absolute;inset:0;width:100%;height:100%}\n"
    ".frame path{fill:#19d3ff;fill-opacity:.5}\n"
    "meter{width:6rem;height:.7rem;vertical-align:middle}\n"
    "table{border-collapse:collapse;margin:.5rem 0}th,td{text-align:left;padding:.15rem .9rem "
    ".15rem 0;border-bottom:1px solid var(--line)}td.n{text-align:right}\n"
    ".bar{display:inline-block;height:.6rem;background:var(--bar);border-radius:2px}\n"
    "a{color:inherit}\n</style></head>\n<body><input type=\"checkbox\" id=\"theme\" "
    "aria-label=\"light or dark\" title=\"light or dark\"><div class=\"page\">\n";

static const char legend[] =
    "<p class=\"legend\"><span class=\"t\">&nbsp;trained&nbsp;</span> a target of the text loss "
    "&nbsp; <span class=\"u\">not trained</span> &nbsp; "
    "<span class=\"s\">&lt;special&gt;</span> &nbsp; hover a token for its id and place</p>\n";

static enum status put(struct buffer *out, const char *text, struct error *err)
{
    return buffer_append_str(out, text, err);
}

static enum status put_escaped(struct buffer *out, const char *text, struct error *err)
{
    return printable_html(out, text, strlen(text), err);
}

static enum status put_reason(struct buffer *out, const char *what, const char *name, uint64_t n,
                              uint64_t seen, struct error *err)
{
    const double share = seen ? (double)n / (double)seen : 0;
    enum status st = buffer_printf(out, err, "<tr><td>%s</td><td>", what);

    if (st == ST_OK)
        st = put_escaped(out, name, err);
    if (st == ST_OK)
        st = buffer_printf(out, err,
                           "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%.1f %%</td>"
                           "<td><span class=\"bar\" style=\"width:%.1frem\"></span></td></tr>\n",
                           n, 100 * share, 14 * share);
    return st;
}

static enum status put_reasons(struct buffer *out, const char *what, const struct unit_count *c,
                               struct error *err)
{
    enum status st = put_reason(out, what, "stored", c->stored, c->seen, err);

    for (size_t i = 0; st == ST_OK && i < c->filtered.size; i++)
        st = put_reason(out, what, c->filtered.names[i], c->filtered.counts[i], c->seen, err);
    for (size_t i = 0; st == ST_OK && i < c->quarantined.size; i++)
        st = put_reason(out, what, c->quarantined.names[i], c->quarantined.counts[i], c->seen, err);
    return st;
}

static enum status put_summary(struct buffer *out, const struct manifest *m, uint64_t begin,
                               uint64_t end, struct error *err)
{
    const struct unit_facts *t = &m->total;
    const double places = (double)t->sequences * m->facts.seq_len;
    enum status st = buffer_printf(
        out, err,
        "</h1>\n<p class=\"dim\">%s &middot; %" PRIu64 " sequences &middot; %" PRIu64
        " documents &middot; %" PRIu64 " images &middot; %" PRIu64 " tokens &middot; fill %.1f %% "
        "&middot; %zu shards &middot; here: %" PRIu64 " to %" PRIu64 "</p>\n",
        m->facts.kind, t->sequences, t->documents, t->images, t->tokens,
        places > 0 ? 100 * (double)t->tokens / places : 0.0, m->shard_count, begin, end);

    if (st == ST_OK)
        st = put(out, legend, err);
    if (st == ST_OK)
        st = put(out,
                 "<details id=\"filters\" open><summary>filter statistics</summary>"
                 "<table><tr><th></th><th>reason</th><th>count</th><th>share</th><th></th></tr>\n",
                 err);
    if (st == ST_OK)
        st = put_reasons(out, "records", &m->records, err);
    if (st == ST_OK)
        st = put_reasons(out, "pictures", &m->pictures, err);
    return st == ST_OK ? put(out, "</table></details>\n", err) : st;
}

enum status inspect_html_head(struct buffer *out, const struct dataset *d, uint64_t begin,
                              uint64_t end, struct error *err)
{
    const char *name = path_base(dataset_folder(d));

    if (put(out, page_start, err) != ST_OK || put_escaped(out, name, err) != ST_OK ||
        put(out, style, err) != ST_OK || put(out, "<h1>", err) != ST_OK ||
        put_escaped(out, name, err) != ST_OK)
        return ST_FAIL;
    return put_summary(out, dataset_manifest(d), begin, end, err);
}

enum status inspect_html_step(struct buffer *out, const struct inspect_step *which,
                              struct error *err)
{
    const char *name = path_base(which->recipe);

    if (put(out, page_start, err) != ST_OK || put_escaped(out, name, err) != ST_OK ||
        put(out, style, err) != ST_OK || put(out, "<h1>", err) != ST_OK ||
        put_escaped(out, name, err) != ST_OK ||
        buffer_printf(out, err, " &middot; step %" PRIu64 "</h1>\n<p class=\"dim\">",
                      which->step) != ST_OK)
        return ST_FAIL;
    if (which->rank >= 0 && buffer_printf(out, err, "rank %" PRId64 " of %" PRIu64 " &middot; ",
                                          which->rank, which->world) != ST_OK)
        return ST_FAIL;
    return put(out, "pictures, masks and targets as the trainer gets them</p>\n", err) == ST_OK
               ? put(out, legend, err)
               : ST_FAIL;
}

enum status inspect_html_tail(struct buffer *out, struct error *err)
{
    return put(out, "</div></body></html>\n", err);
}

/* Which region the mask of picture i is, from 1, and its hue. */
static unsigned region_of(const struct sample *s, size_t i)
{
    unsigned n = 0;
    for (size_t k = 0; k <= i; k++)
        n += s->images[k].mask.h > 0;
    return n;
}

static unsigned hue_of(unsigned region)
{
    return (150 + 137 * region) % 360; /* neighbours lie far apart */
}

/* One path of vertical strips: a run of the mask goes down a column. */
static enum status put_mask(struct buffer *out, const struct sample_mask *m, unsigned hue,
                            struct error *err)
{
    struct rle rle;
    uint64_t at = 0;

    if (m->h == 0)
        return ST_OK;
    rle_init(&rle);
    enum status st = rle_from_varints(&rle, m->h, m->w, m->runs, m->size, err);
    if (st == ST_OK)
        st = buffer_printf(
            out, err,
            "<svg class=\"mask\" viewBox=\"0 0 %" PRIu32 " %" PRIu32
            "\" preserveAspectRatio=\"none\"><path style=\"fill:hsl(%u,85%%,55%%)\" d=\"",
            m->w, m->h, hue);
    for (size_t i = 0; st == ST_OK && i < rle.n; i++) {
        const uint64_t end = at + rle.counts[i];
        while (st == ST_OK && i % 2 && at < end) {
            const uint64_t y = at % m->h;
            const uint64_t run = end - at < m->h - y ? end - at : m->h - y;
            st = buffer_printf(out, err, "M%" PRIu64 " %" PRIu64 "h1v%" PRIu64 "h-1z", at / m->h, y,
                               run);
            at += run;
        }
        at = end;
    }
    rle_clear(&rle);
    if (st != ST_OK)
        return ST_FAIL;
    return put(out, "\"/></svg>", err);
}

/* Number, colour and words of a region: the first trained text between its picture and the next. */
static enum status put_region(struct buffer *out, const struct inspect_item *item, size_t i,
                              struct error *err)
{
    const struct sample *s = item->sample;
    const unsigned region = region_of(s, i);
    const size_t end = i + 1 < s->image_count ? s->images[i + 1].soi : s->token_count;
    const uint16_t eos = shard_reader_facts(item->reader)->eos;
    size_t from = s->images[i].soi, to;
    struct buffer words;
    enum status st = buffer_printf(out, err,
                                   "<b class=\"region\" style=\"border-left:.8em solid "
                                   "hsl(%u,85%%,55%%);padding-left:.4em\">region %u</b>",
                                   hue_of(region), region);

    while (from < end && !(s->loss && s->loss[from]))
        from++;
    for (to = from; to < end && s->loss && s->loss[to] && s->ids[to] != eos;)
        to++;
    buffer_init(&words);
    if (st == ST_OK && item->pieces && to > from)
        st = pieces_decode(item->pieces, &words, s->ids + from, to - from, err);
    if (st == ST_OK && words.size)
        st = put(out, ": ", err);
    if (st == ST_OK)
        st = printable_html(out, words.data, words.size, err);
    buffer_clear(&words);
    return st == ST_OK ? put(out, " &middot; ", err) : st;
}

static enum status put_caption(struct buffer *out, const struct inspect_item *item, size_t i,
                               struct error *err)
{
    const struct sample_image *m = &item->sample->images[i];
    char hash[33];
    enum status st = put(out, "</span><figcaption>", err);

    hash128_hex(hash, m->hash);
    if (st == ST_OK && m->mask.h)
        st = put_region(out, item, i, err);
    if (st == ST_OK && m->has_similarity)
        st = buffer_printf(out, err,
                           "similarity <meter min=\"0\" max=\"0.5\" value=\"%.4f\"></meter> "
                           "<b class=\"similarity\">%.4f</b> &middot; ",
                           m->similarity, m->similarity);
    if (st == ST_OK)
        st = buffer_printf(out, err,
                           "image %zu at %u &middot; %s its sentence &middot; %s%s<br>%" PRIu32
                           " &times; %" PRIu32 " %s, %" PRIu64 " bytes &middot; "
                           "<span title=\"XXH3-128 of the stored bytes\">%s</span></figcaption>"
                           "</figure>",
                           i, m->soi, m->after ? "after" : "before", m->loss ? "loss" : "no loss",
                           m->prev ? " &middot; previous picture" : "", m->width, m->height,
                           image_codec_name(m->codec), m->bytes, hash);
    return st;
}

/* The stored picture with its mask. */
static enum status put_stored(struct buffer *out, const struct inspect_item *item, size_t i,
                              struct error *err)
{
    const struct sample_image *m = &item->sample->images[i];
    struct buffer memory;
    struct shard_picture p;

    buffer_init(&memory);
    enum status st = shard_reader_picture(item->reader, m->picture, &memory, &p, err);
    if (st == ST_OK)
        st = buffer_printf(out, err,
                           "<img alt=\"image %zu\" width=\"%" PRIu32 "\" height=\"%" PRIu32
                           "\" src=\"data:image/%s;base64,",
                           i, m->width, m->height, image_codec_name(m->codec));
    if (st == ST_OK)
        st = printable_base64(out, p.data, p.size, err);
    if (st == ST_OK)
        st = put(out, "\">", err);
    if (st == ST_OK)
        st = put_mask(out, &m->mask, hue_of(region_of(item->sample, i)), err);
    buffer_clear(&memory);
    return st;
}

static enum status put_image(struct buffer *out, const struct inspect_item *item, size_t i,
                             struct error *err)
{
    const struct sample_image *m = &item->sample->images[i];
    enum status st = buffer_printf(
        out, err, "<figure class=\"image\" data-soi=\"%u\"><span class=\"frame\">", m->soi);

    if (st == ST_OK)
        st = item->batch ? inspect_tensors_html(out, item, i, err) : put_stored(out, item, i, err);
    return st == ST_OK ? put_caption(out, item, i, err) : st;
}

static bool is_byte(const struct inspect_item *item, size_t at)
{
    size_t size = 0;
    const char *text = pieces_text(item->pieces, item->sample->ids[at], &size);
    return text && size == 6 && memcmp(text, "<0x", 3) == 0;
}

/* Tokens that show as one: the bytes of a character, else a single one. */
static size_t token_group(const struct inspect_item *item, size_t at, size_t end)
{
    size_t n = 1;
    if (!is_byte(item, at))
        return 1;
    while (at + n < end && is_byte(item, at + n))
        n++;
    return n;
}

/* Text of one piece; U+2581 shows as the space that it is. */
static enum status put_piece(struct buffer *out, const struct inspect_item *item, size_t at,
                             size_t n, bool special, struct error *err)
{
    static const char space[] = "\xe2\x96\x81";
    struct buffer text;
    size_t size = 0;
    const char *piece = pieces_text(item->pieces, item->sample->ids[at], &size);
    enum status st = ST_OK;

    buffer_init(&text);
    if (special || !piece)
        st = buffer_append(&text, piece ? piece : "?", piece ? size : 1, err);
    else if (is_byte(item, at))
        st = pieces_decode(item->pieces, &text, item->sample->ids + at, n, err);
    else
        for (size_t i = 0; st == ST_OK && i < size; i++) {
            const bool is_space = size - i >= 3 && memcmp(piece + i, space, 3) == 0;
            st = buffer_append(&text, is_space ? " " : piece + i, 1, err);
            i += is_space ? 2 : 0;
        }
    if (st == ST_OK)
        st = printable_html(out, text.data, text.size, err);
    buffer_clear(&text);
    return st;
}

static enum status put_token(struct buffer *out, const struct inspect_item *item, size_t at,
                             size_t n, bool trained, struct error *err)
{
    const struct sample *s = item->sample;
    const struct shard_facts *f = shard_reader_facts(item->reader);
    const uint16_t id = s->ids[at];
    const bool special = id == f->bos || id == f->eos || id == f->unk || id >= f->pieces;
    enum status st = buffer_printf(out, err, "<span class=\"%s%s\" title=\"token %zu: id",
                                   trained ? "t" : "u", special ? " s" : "", at);

    for (size_t i = 0; st == ST_OK && i < n; i++)
        st = buffer_printf(out, err, " %u", s->ids[at + i]);
    if (st == ST_OK)
        st = put(out, "\">", err);
    if (st == ST_OK && item->pieces)
        st = put_piece(out, item, at, n, special, err);
    else if (st == ST_OK)
        st = buffer_printf(out, err, "%u ", id);
    return st == ST_OK ? put(out, "</span>", err) : st;
}

/* Tokens and pictures of [from, to). */
static enum status put_tokens(struct buffer *out, const struct inspect_item *item, size_t from,
                              size_t to, const uint8_t *targets, size_t *image, struct error *err)
{
    const struct sample *s = item->sample;
    const struct sample_slot slot = shard_facts_slot(shard_reader_facts(item->reader));
    enum status st = ST_OK;

    for (size_t at = from; st == ST_OK && at < to;) {
        if (*image < s->image_count && at == s->images[*image].soi) {
            st = put_image(out, item, (*image)++, err);
            at += 1 + (size_t)slot.tokens;
            continue;
        }
        const size_t end =
            *image < s->image_count && s->images[*image].soi < to ? s->images[*image].soi : to;
        const size_t n = item->pieces ? token_group(item, at, end) : 1;
        st = put_token(out, item, at, n, targets[at] != 0, err);
        at += n;
    }
    return st;
}

static enum status put_document(struct buffer *out, const struct inspect_item *item,
                                const struct sample_document *d, struct error *err)
{
    struct buffer name;

    buffer_init(&name);
    enum status st = shard_reader_record_name(item->reader, d, &name, err);
    if (st == ST_OK)
        st = put(out, "<article class=\"document\"><header>", err);
    if (st == ST_OK)
        st = printable_html(out, name.data, name.size, err);
    if (st == ST_OK)
        st = buffer_printf(out, err, " &middot; tokens %u to %u%s</header><div class=\"text\">",
                           d->start, (unsigned)(d->start + d->length - 1),
                           d->cont ? " &middot; continued" : "");
    buffer_clear(&name);
    return st;
}

enum status inspect_html_item(struct buffer *out, const struct inspect_item *item,
                              struct error *err)
{
    const struct sample *s = item->sample;
    const struct shard_facts *f = shard_reader_facts(item->reader);
    struct buffer targets;
    size_t image = 0;

    buffer_init(&targets);
    enum status st = inspect_targets(&targets, item, err);
    if (st == ST_OK)
        st = buffer_printf(out, err,
                           "<section class=\"sequence\" id=\"s%" PRIu64 "\"><h2>sequence %" PRIu64
                           " <span class=\"dim\">shard %" PRIu32 ", index %" PRIu64
                           " &middot; %zu of %" PRIu32 " tokens &middot; %zu images &middot; ",
                           item->sequence, item->sequence, item->shard, item->index, s->token_count,
                           f->seq_len, s->image_count);
    if (st == ST_OK)
        st = put_escaped(out, f->sources[s->source], err);
    if (st == ST_OK && item->planned)
        st = buffer_printf(
            out, err, " &middot; micro-batch %" PRIu64 ", rank %" PRIu64 ", epoch %" PRIu64 "%s",
            item->micro_batch, item->rank, item->epoch,
            item->substituted ? " &middot; in place of a damaged one" : "");
    if (st == ST_OK)
        st = put(out, "</span></h2>\n", err);
    for (size_t i = 0; st == ST_OK && i < s->document_count; i++) {
        const struct sample_document *d = &s->documents[i];
        st = put_document(out, item, d, err);
        if (st == ST_OK)
            st = put_tokens(out, item, d->start, (size_t)d->start + d->length, targets.data, &image,
                            err);
        if (st == ST_OK)
            st = put(out, "</div></article>\n", err);
    }
    buffer_clear(&targets);
    return st == ST_OK ? put(out, "</section>\n", err) : st;
}
