/* cli/bench_dump.c: see bench_dump.h. Pictures are smooth shapes with grain, so that they cost a decoder
 * what photographs do; a few are drawn, the others are copies that differ by a comment. */
#include "cli/bench_dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/image.h"
#include "core/json.h"
#include "core/rng.h"

enum { DRAWN = 24, QUALITY = 85, IMAGES_LEAST = 2, IMAGES_MOST = 5, COMMENT_BYTES = 14 };

static const char *const words[] = {
    "the",   "a",      "of",     "and",   "to",     "in",      "is",      "with",   "for",
    "on",    "garden", "pond",   "liner", "frog",   "iris",    "water",   "stone",  "house",
    "light", "window", "river",  "bird",  "cloud",  "winter",  "morning", "walk",   "wooden",
    "young", "woman",  "people", "time",  "year",   "small",   "picture", "shows",  "near",
    "after", "before", "long",   "green", "quiet",  "kitchen", "recipe",  "season", "harbour",
    "paint", "travel", "market", "bread", "summer", "village", "between", "mostly", "photographs",
};
enum { WORDS = sizeof words / sizeof *words };

static void draw(struct rng *g, const char *purpose, uint64_t number)
{
    struct rng_key k;
    rng_key_init(&k, 0, purpose);
    rng_key_integer(&k, number);
    rng_init(g, &k);
}

/* ---- pictures ---- */

static void paint(struct image *img, struct rng *g)
{
    int slope[3][2], base[3];
    for (int c = 0; c < 3; c++) {
        base[c] = (int)rng_below(g, 160) + 40;
        slope[c][0] = (int)rng_below(g, 200) - 100;
        slope[c][1] = (int)rng_below(g, 200) - 100;
    }
    uint32_t grain = (uint32_t)rng_word(g);
    for (uint32_t y = 0; y < img->height; y++)
        for (uint32_t x = 0; x < img->width; x++) {
            const int block = (int)((x / 40 * 31 + y / 56 * 17) % 23) * 3;
            grain = grain * 1664525u + 1013904223u;
            for (int c = 0; c < 3; c++) {
                const int v = base[c] + slope[c][0] * (int)x / (int)img->width +
                              slope[c][1] * (int)y / (int)img->height + block + (int)(grain >> 27) -
                              16;
                img->rgb[3 * ((size_t)y * img->width + x) + (size_t)c] = (uint8_t)(v < 0     ? 0
                                                                                   : v > 255 ? 255
                                                                                             : v);
            }
        }
}

static enum status draw_picture(struct buffer *out, uint32_t number, uint32_t side,
                                struct error *err)
{
    struct image img = { .width = number % 3 ? side : side * 3 / 4,
                         .height = number % 3 ? side * 3 / 4 : side };
    struct rng g;
    img.rgb = mem_alloc((size_t)3 * img.width * img.height);
    if (!img.rgb)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: picture");
    draw(&g, "bench-picture", number);
    paint(&img, &g);
    const enum status st = image_encode_jpeg(out, &img, QUALITY, true, err);
    image_clear(&img);
    return st;
}

static void picture_name(char out[32], uint64_t number)
{
    snprintf(out, 32, "%012" PRIx64 ".jpg", number * 2654435761u & 0xffffffffffffu);
}

/* The drawn picture with its number in a comment behind the SOI. */
static enum status put_picture(struct bench_dump *d, const struct buffer *drawn, uint64_t number,
                               struct error *err)
{
    uint8_t head[2 + 2 + COMMENT_BYTES] = { 0xff, 0xd8, 0xff, 0xfe, 0, COMMENT_BYTES };
    char name[32];
    int fd = -1;
    picture_name(name, number);
    store_u64le(head + 6, number);
    char *path = path_join(d->images, name);
    enum status st = path ? file_open_write(&fd, path, err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: path");
    if (st == ST_OK)
        st = file_write(fd, path, head, sizeof head, err);
    if (st == ST_OK)
        st = file_write(fd, path, drawn->data + 2, drawn->size - 2, err);
    if (fd >= 0 && file_close(&fd, path, err) != ST_OK)
        st = ST_FAIL;
    d->picture_bytes += sizeof head + drawn->size - 2;
    mem_free(path);
    return st;
}

static enum status put_pictures(struct bench_dump *d, uint64_t count, uint32_t side,
                                struct error *err)
{
    struct buffer drawn[DRAWN] = { { 0 } };
    enum status st = ST_OK;
    for (uint32_t i = 0; i < DRAWN && st == ST_OK; i++)
        st = draw_picture(&drawn[i], i, side, err);
    for (uint64_t i = 0; i < count && st == ST_OK; i++)
        st = put_picture(d, &drawn[i % DRAWN], i, err);
    for (uint32_t i = 0; i < DRAWN; i++)
        buffer_clear(&drawn[i]);
    return st;
}

/* ---- documents ---- */

static enum status put_sentence(struct json_writer *w, struct buffer *kept, struct rng *g,
                                struct error *err)
{
    char text[512] = { 0 };
    size_t size = 0;
    const uint64_t n = 6 + rng_below(g, 22);
    for (uint64_t i = 0; i < n; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%s", i ? " " : "",
                                 words[rng_below(g, WORDS)]);
    text[0] = (char)(text[0] - 'a' + 'A');
    text[size++] = '.';
    json_string_n(w, text, size);
    text[size++] = ' ';
    return kept ? buffer_append(kept, text, size, err) : ST_OK;
}

static void put_images(struct json_writer *w, struct rng *g, uint64_t sentences, uint64_t *next,
                       uint64_t pictures)
{
    const uint64_t n = IMAGES_LEAST + rng_below(g, IMAGES_MOST - IMAGES_LEAST + 1);
    char name[32];
    json_begin_array(w);
    for (uint64_t i = 0; i < n; i++, ++*next) {
        picture_name(name, pictures ? *next % pictures : *next);
        json_begin_object(w);
        json_key(w, "image_name");
        json_string(w, name);
        json_key(w, "raw_url");
        json_string(w, "http://example.org/picture.jpg");
        json_key(w, "matched_text_index");
        json_uint(w, rng_below(g, sentences));
        json_key(w, "matched_sim");
        json_number(w, 0.25 + 0.1 * rng_unit(g));
        json_end_object(w);
    }
    json_end_array(w);
}

static enum status put_line(struct buffer *out, struct bench_dump *d, uint32_t number,
                            const struct bench_dump_options *opt, struct error *err)
{
    struct buffer *kept = opt->keep_texts ? &d->texts : NULL;
    struct json_writer w;
    struct rng g;
    char url[64];
    enum status st = ST_OK;
    draw(&g, "bench-document", number);
    const uint64_t sentences = 6 + rng_below(&g, 20);
    snprintf(url, sizeof url, "http://example.org/page/%" PRIu32 ".html", number);
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "url");
    json_string(&w, url);
    json_key(&w, "text_list");
    json_begin_array(&w);
    for (uint64_t i = 0; i < sentences && st == ST_OK; i++)
        st = put_sentence(&w, kept, &g, err);
    json_end_array(&w);
    json_key(&w, "image_info");
    put_images(&w, &g, sentences, &d->images_count, opt->pictures);
    json_key(&w, "similarity_matrix");
    json_begin_array(&w);
    for (int row = 0; row < 4; row++) {
        json_begin_array(&w);
        for (uint64_t i = 0; i < sentences; i++)
            json_number(&w, 0.3 * rng_unit(&g));
        json_end_array(&w);
    }
    json_end_array(&w);
    json_key(&w, "could_have_url_duplicate");
    json_uint(&w, 0);
    json_end_object(&w);
    if (st == ST_OK && kept)
        st = buffer_append(kept, "", 1, err);
    if (json_writer_finish(&w, err) != ST_OK)
        return ST_FAIL;
    return st == ST_OK ? buffer_append(out, "\n", 1, err) : st;
}

static enum status pack(struct buffer *out, const struct buffer *plain, struct error *err)
{
    z_stream z = { 0 };
    if (deflateInit2(&z, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: gzip");
    enum status st = buffer_reserve(out, deflateBound(&z, plain->size), err);
    if (st == ST_OK) {
        z.next_in = plain->data;
        z.avail_in = (uInt)plain->size;
        z.next_out = out->data;
        z.avail_out = (uInt)deflateBound(&z, plain->size);
        deflate(&z, Z_FINISH);
        out->size = (size_t)z.total_out;
    }
    deflateEnd(&z);
    return st;
}

static enum status put_file(struct bench_dump *d, const struct buffer *plain, uint32_t number,
                            struct error *err)
{
    struct buffer packed = { 0 };
    char *path = str_format("%s/docs_no_face_shard_%" PRIu32 "_v3.jsonl.gz", d->docs, number);
    enum status st = path ? pack(&packed, plain, err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: path");
    if (st == ST_OK)
        st = file_replace(path, packed.data, packed.size, err);
    d->line_bytes += plain->size;
    buffer_clear(&packed);
    mem_free(path);
    return st;
}

static enum status put_documents(struct bench_dump *d, const struct bench_dump_options *opt,
                                 struct error *err)
{
    struct buffer plain = { 0 };
    enum status st = ST_OK;
    uint32_t files = 0;
    for (uint32_t i = 0; i < opt->documents && st == ST_OK; i++) {
        st = put_line(&plain, d, i, opt, err);
        const bool full = (i + 1) % opt->documents_per_file == 0 || i + 1 == opt->documents;
        if (st == ST_OK && full) {
            st = put_file(d, &plain, files++, err);
            plain.size = 0;
        }
    }
    buffer_clear(&plain);
    return st;
}

enum status bench_dump_make(struct bench_dump *d, const char *folder,
                            const struct bench_dump_options *opt, struct error *err)
{
    *d = (struct bench_dump){ .folder = mem_strdup(folder),
                              .docs = path_join(folder, "docs"),
                              .images = path_join(folder, "images") };
    enum status st = ST_FAIL;
    if (!d->folder || !d->docs || !d->images)
        error_set(err, st, CAUSE_NOMEM, "out of memory: dump");
    else if (file_exists(folder))
        error_set(err, st, CAUSE_CREATE, "%s: is there already", folder);
    else
        st = file_make_folders(d->docs, err);
    d->made = st == ST_OK;
    if (st == ST_OK)
        st = file_make_folder(d->images, err);
    if (st == ST_OK)
        st = put_documents(d, opt, err);
    if (st == ST_OK)
        st = put_pictures(d, opt->pictures ? opt->pictures : d->images_count, opt->side, err);
    return st;
}

void bench_dump_clear(struct bench_dump *d)
{
    if (d->made)
        file_remove_tree(d->folder, NULL);
    mem_free(d->folder);
    mem_free(d->docs);
    mem_free(d->images);
    buffer_clear(&d->texts);
    *d = (struct bench_dump){ 0 };
}
