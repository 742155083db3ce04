/* tests/shards/fixture.c: see fixture.h. */
#include "tests/shards/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/rle.h"
#include "shards/dictionary.h"
#include "shards/pieces.h"

enum { V = 300, T = 4, N = 256, M = 6, BOS = 1, EOS = 2 };

static const char *const mmc4_sources[] = { "mmc4" };
static const char *const instruct_sources[] = { "coco", "vcr" };

static const struct shard_facts mmc4_facts = {
    .identity = { 1, 2, 3, 0xfe },
    .kind = "mmc4",
    .sources = mmc4_sources,
    .source_count = 1,
    .seed = UINT64_MAX,
    .tokenizer_sha256 = { 9, 8, 7 },
    .variant = 'A',
    .pieces = V,
    .bos = BOS,
    .eos = EOS,
    .unk = 0,
    .seq_len = N,
    .image_tokens = T,
    .images_per_seq = M,
    .options = "{\"min-similarity\":0.24,\"nested\":[1,{\"a\":null}]}",
    .versions = "{\"deem\":\"0.1.0\"}",
};

const struct shard_facts *fixture_facts(bool instruct)
{
    static struct shard_facts instruct_facts;

    if (!instruct)
        return &mmc4_facts;
    instruct_facts = mmc4_facts;
    instruct_facts.kind = "instruct";
    instruct_facts.sources = instruct_sources;
    instruct_facts.source_count = 2;
    return &instruct_facts;
}

uint32_t fixture_draw(struct fixture_random *r, uint32_t below)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((r->state >> 33) % below);
}

/* Masks are made of real runs, so that verify accepts them. */
static struct sample_mask draw_mask(struct fixture_random *r, struct arena *arena, uint32_t h,
                                    uint32_t w)
{
    const int64_t first = fixture_draw(r, h * w - 1);
    const int64_t counts[3] = { first, 1, (int64_t)h * w - first - 1 };
    struct sample_mask m = { .h = h, .w = w };
    struct rle rle;
    struct buffer runs;

    rle_init(&rle);
    buffer_init(&runs);
    assert_int_equal(rle_from_counts(&rle, h, w, counts, 3, NULL), ST_OK);
    assert_int_equal(rle_to_varints(&runs, &rle, NULL), ST_OK);
    uint8_t *copy = arena_alloc(arena, runs.size, 1);
    memcpy(copy, runs.data, runs.size);
    m.runs = copy;
    m.size = runs.size;
    buffer_clear(&runs);
    rle_clear(&rle);
    return m;
}

static void draw_document(struct fixture_random *r, struct arena *arena, bool instruct,
                          struct sample_document *d, uint16_t start, uint16_t length)
{
    *d = (struct sample_document){
        .start = start,
        .length = length,
        .cont = fixture_draw(r, 4) == 0,
        .input = fixture_draw(r, 2),
        .has_line = !instruct,
        .record_key = (uint64_t)fixture_draw(r, 1u << 30) << 33,
        .url_hash = fixture_draw(r, 2) ? 0 : 77 + fixture_draw(r, 1000),
    };
    if (d->has_line) {
        d->line = fixture_draw(r, 100000);
    } else {
        char key[64]; /* a key that wants to be markup, and a control sequence */
        snprintf(key, sizeof key, "k\xc3\xa9y<script>'\"&\x1b[31m-%u", fixture_draw(r, 1000));
        d->key_size = strlen(key);
        d->key = arena_strndup(arena, key, d->key_size);
    }
}

struct sample fixture_sample(struct fixture_random *r, struct arena *arena, bool instruct,
                             const struct sample_image *pictures, uint32_t count)
{
    uint16_t *ids = arena_alloc(arena, N, sizeof *ids);
    struct sample_image *images = arena_alloc(arena, M, sizeof *images);
    struct sample_document *documents = arena_alloc(arena, 8, sizeof *documents);
    uint8_t *loss = arena_alloc(arena, N, 1);
    struct sample s = { .ids = ids, .images = images, .documents = documents };

    while (s.token_count < 180 && s.document_count < 8) {
        const size_t start = s.token_count;
        const uint32_t elements = 1 + fixture_draw(r, 6);
        ids[s.token_count++] = BOS;
        for (uint32_t e = 0; e < elements && s.token_count < 200; e++) {
            if (s.image_count < M && (fixture_draw(r, 2) || s.image_count == 0)) {
                struct sample_image *m = &images[s.image_count];
                *m = pictures[fixture_draw(r, count)];
                m->soi = (uint16_t)s.token_count;
                m->nearest_bos = (uint16_t)start;
                m->document = (uint16_t)s.document_count;
                m->has_similarity = !instruct;
                m->similarity = instruct ? 0 : 0.24 + fixture_draw(r, 100000) * 1e-6;
                m->after = fixture_draw(r, 2);
                m->loss = m->soi - m->nearest_bos + 1 > 2;
                m->prev = s.image_count > 0 && images[s.image_count - 1].document == m->document;
                m->mask = instruct && fixture_draw(r, 2) ? draw_mask(r, arena, 5, 7)
                                                         : (struct sample_mask){ 0 };
                s.image_count++;
                ids[s.token_count++] = V;
                for (int k = 0; k < T; k++)
                    ids[s.token_count++] = V + 1;
            }
            for (uint32_t k = fixture_draw(r, 12); k > 0 && s.token_count < 250; k--)
                ids[s.token_count++] = (uint16_t)(3 + fixture_draw(r, V - 3));
        }
        ids[s.token_count++] = EOS;
        draw_document(r, arena, instruct, &documents[s.document_count++], (uint16_t)start,
                      (uint16_t)(s.token_count - start));
    }
    for (size_t i = 0; i < s.token_count; i++)
        loss[i] = (uint8_t)(fixture_draw(r, 5) > 1);
    if (instruct) {
        s.loss = loss;
        s.source = (uint8_t)fixture_draw(r, 2);
        s.flags = SAMPLE_TRUNCATED;
    }
    return s;
}

/* Byte pieces for 3..258 as LLaMA has them, words above. */
static void make_pieces(struct buffer *table)
{
    char text[32];

    for (uint32_t id = 0; id < V; id++) {
        enum piece_kind kind = id == 0 ? PIECE_UNKNOWN : id < 3 ? PIECE_CONTROL : PIECE_BYTE;
        static const char *const first[] = { "<unk>", "<s>", "</s>" };
        if (id < 3)
            snprintf(text, sizeof text, "%s", first[id]);
        else if (id < 259)
            snprintf(text, sizeof text, "<0x%02X>", id - 3);
        else
            snprintf(text, sizeof text, "\xe2\x96\x81w%u", id);
        if (id >= 259)
            kind = PIECE_NORMAL;
        assert_int_equal(pieces_append(table, kind, text, strlen(text), NULL), ST_OK);
    }
}

/* A file whose first pixel tells it from the others. */
static void make_png(struct buffer *out, uint32_t number)
{
    static uint8_t rgb[64 * 48 * 3];
    const struct image img = { rgb, 64, 48 };

    for (size_t k = 0; k < sizeof rgb; k++)
        rgb[k] = k % 3 ? 0 : 255;
    rgb[1] = (uint8_t)number;
    rgb[2] = (uint8_t)(number >> 8);
    out->size = 0;
    assert_int_equal(image_encode_png(out, &img, NULL), ST_OK);
}

static void make_random(struct buffer *out, struct fixture_random *r, size_t max_picture)
{
    const size_t size = 8 + fixture_draw(r, (uint32_t)max_picture);

    out->size = 0;
    assert_int_equal(buffer_reserve(out, size, NULL), ST_OK);
    while (out->size < size)
        out->data[out->size++] = (uint8_t)fixture_draw(r, 256);
}

static void add_pictures(struct shard_writer *w, const struct fixture_options *opt,
                         struct fixture_random *r, struct sample_image *pictures, uint32_t *count)
{
    struct buffer bytes;
    struct error err = { 0 };

    buffer_init(&bytes);
    for (uint32_t i = 0; i < 3; i++) {
        struct image_info info = { .codec = i % 2 ? IMAGE_PNG : IMAGE_JPEG,
                                   .width = 10 + fixture_draw(r, 100),
                                   .height = 20 };
        uint32_t number = 0;
        struct hash128 hash;
        if (opt->real) {
            make_png(&bytes, *count);
            info = (struct image_info){ .codec = IMAGE_PNG, .width = 64, .height = 48 };
        } else {
            make_random(&bytes, r, opt->max_picture);
        }
        for (int twice = 0; twice < 2; twice++) /* the second time nothing is stored */
            if (shard_writer_picture(w, bytes.data, bytes.size, &info, &number, &hash, &err) !=
                ST_OK)
                fail_msg("%s", err.text);
        assert_int_equal(number, *count);
        pictures[(*count)++] = (struct sample_image){
            .picture = number,
            .width = info.width,
            .height = info.height,
            .bytes = bytes.size,
            .codec = info.codec,
            .hash = hash,
            .original_hash = i == 2 ? hash : (struct hash128){ 5, i },
        };
    }
    buffer_clear(&bytes);
}

static void fill_unit(struct unit_facts *u, uint32_t shard, uint64_t images)
{
    size_t at = 0;
    char file[32], name[32];

    for (unsigned i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "sub/in_%u_%u.jsonl.zip", shard, i);
        snprintf(name, sizeof name, "in_%u_%u", shard, i);
        assert_int_equal(unit_facts_input(u, file, name, 1234 + i, &at, NULL), ST_OK);
        struct unit_input *in = &u->inputs[at];
        in->incomplete = i == 1;
        in->records.seen = 10;
        in->records.stored = 7;
        tally_add(&in->records.filtered, "F3-no-image", 2, NULL);
        tally_add(&in->records.quarantined, "json-syntax", 1, NULL);
        in->pictures.seen = in->pictures.stored = i == 0 ? images : 0;
        in->pictures.seen += 1;
        tally_add(&in->pictures.filtered, "F1-similarity", 1, NULL);
    }
}

static void write_records(struct shard_writer *w, const struct fixture_options *opt,
                          struct fixture_random *r, uint64_t *images)
{
    struct sample_image *pictures = calloc((size_t)opt->sequences * 3 + 3, sizeof *pictures);
    struct arena arena;
    struct error err = { 0 };
    uint32_t count = 0;

    arena_init(&arena, 0);
    for (uint32_t i = 0; i < opt->sequences; i++) {
        add_pictures(w, opt, r, pictures, &count);
        const struct sample s = fixture_sample(r, &arena, opt->instruct, pictures, count);
        if (shard_writer_sequence(w, &s, &err) != ST_OK)
            fail_msg("%s", err.text);
        *images += s.image_count;
    }
    for (unsigned i = 0; i < 3; i++) {
        const struct quarantine_row row = { "f\x1b[31m.jsonl", NULL, "17", i,  "parse",
                                            "json-syntax",     "x",  NULL, 40, 0x1234 + i };
        assert_int_equal(shard_writer_quarantine(w, &row, &err), ST_OK);
    }
    arena_clear(&arena);
    free(pictures);
}

void fixture_shard(const struct fixture_options *opt, uint32_t shard, const char *path,
                   uint8_t sha256[32])
{
    struct fixture_random r = { opt->seed * 1000 + shard };
    struct shard_writer_options wo;
    struct shard_writer *w = NULL;
    struct unit_facts unit;
    struct buffer dictionary, table;
    struct error err = { 0 };
    char *tmp = str_format("%s.tmp", path);
    uint64_t images = 0;

    buffer_init(&dictionary);
    buffer_init(&table);
    make_pieces(&table);
    shard_writer_options_init(&wo);
    wo.facts = fixture_facts(opt->instruct);
    wo.shard = shard;
    wo.pieces = table.data;
    wo.pieces_size = table.size;
    if (opt->dictionary) {
        size_t sizes[256];
        uint8_t *data = malloc(256 * 400);
        struct fixture_random same = { 4711 };
        for (size_t i = 0; i < 256 * 400; i++)
            data[i] = (uint8_t)(i % 2 ? fixture_draw(&same, 2) : fixture_draw(&same, 50));
        for (size_t i = 0; i < 256; i++)
            sizes[i] = 400;
        assert_int_equal(dictionary_train(&dictionary, data, sizes, 256, &err), ST_OK);
        assert_true(dictionary.size > 0);
        free(data);
        wo.dictionary = dictionary.data;
        wo.dictionary_size = dictionary.size;
    }
    if (shard_writer_open(&w, tmp, &wo, &err) != ST_OK)
        fail_msg("%s", err.text);
    write_records(w, opt, &r, &images);
    unit_facts_init(&unit);
    fill_unit(&unit, shard, images);
    if (shard_writer_seal(w, &unit, path, NULL, sha256, &err) != ST_OK)
        fail_msg("%s", err.text);
    shard_writer_close(&w);
    unit_facts_clear(&unit);
    buffer_clear(&dictionary);
    buffer_clear(&table);
    mem_free(tmp);
}

void fixture_dataset(const struct fixture_options *opt, const char *folder)
{
    char *shards = str_format("%s/shards", folder);
    struct error err = { 0 };
    uint8_t sha256[32];

    mkdir(folder, 0777);
    assert_int_equal(mkdir(shards, 0777), 0);
    for (uint32_t i = 0; i < opt->shards; i++) {
        char *path = dataset_shard_path(folder, i);
        fixture_shard(opt, i, path, sha256);
        mem_free(path);
    }
    if (dataset_finish(folder, opt->shards, &err) != ST_OK)
        fail_msg("%s", err.text);
    mem_free(shards);
}

static void assert_image(const struct sample_image *a, const struct sample_image *b)
{
    assert_int_equal(a->soi, b->soi);
    assert_int_equal(a->nearest_bos, b->nearest_bos);
    assert_int_equal(a->document, b->document);
    assert_int_equal(a->has_similarity, b->has_similarity);
    assert_true(a->similarity == b->similarity);
    assert_int_equal(a->after, b->after);
    assert_int_equal(a->loss, b->loss);
    assert_int_equal(a->prev, b->prev);
    assert_int_equal(a->picture, b->picture);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->codec, b->codec);
    assert_true(hash128_equal(a->hash, b->hash));
    assert_true(hash128_equal(a->original_hash, b->original_hash));
    assert_int_equal(a->mask.h, b->mask.h);
    assert_int_equal(a->mask.w, b->mask.w);
    assert_int_equal(a->mask.size, b->mask.size);
    if (a->mask.size)
        assert_memory_equal(a->mask.runs, b->mask.runs, a->mask.size);
}

void fixture_assert_equal(const struct sample *a, const struct sample *b)
{
    assert_int_equal(a->source, b->source);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->token_count, b->token_count);
    assert_memory_equal(a->ids, b->ids, a->token_count * sizeof *a->ids);
    assert_int_equal(a->document_count, b->document_count);
    for (size_t i = 0; i < a->document_count; i++) {
        const struct sample_document *x = &a->documents[i], *y = &b->documents[i];
        assert_int_equal(x->start, y->start);
        assert_int_equal(x->length, y->length);
        assert_int_equal(x->cont, y->cont);
        assert_int_equal(x->input, y->input);
        assert_int_equal(x->has_line, y->has_line);
        assert_int_equal(x->line, y->line);
        assert_int_equal(x->key_size, y->key_size);
        if (x->key_size)
            assert_memory_equal(x->key, y->key, x->key_size);
        assert_true(x->record_key == y->record_key);
        assert_true(x->url_hash == y->url_hash);
    }
    assert_int_equal(a->image_count, b->image_count);
    for (size_t i = 0; i < a->image_count; i++)
        assert_image(&a->images[i], &b->images[i]);
    assert_int_equal(a->loss != NULL, b->loss != NULL);
    if (a->loss)
        assert_memory_equal(a->loss, b->loss, a->token_count);
}
