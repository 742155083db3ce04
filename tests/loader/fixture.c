/* tests/loader/fixture.c: see fixture.h. Every sequence holds its own number as tokens, so no two are
 * alike; pictures come from goldens/data/pictures in several formats. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/rle.h"
#include "shards/dataset.h"
#include "shards/shard_writer.h"
#include "tests/loader/fixture.h"

enum { TOKENS_MAX = 128, SEQ_LEN = 96, IMAGES_MAX = 4 };

struct maker {
    struct shard_facts facts;
    struct unit_facts unit;
    struct shard_writer *writer;
    uint8_t *files[FIXTURE_PICTURES];
    size_t sizes[FIXTURE_PICTURES];
    uint32_t seed;
    const struct fixture_options *opt;
};

static uint32_t draw(struct maker *m, uint32_t n)
{
    m->seed = m->seed * 1664525u + 1013904223u;
    return (m->seed >> 8) % n;
}

static void check(enum status st, const struct error *err)
{
    if (st != ST_OK)
        fail_msg("fixture: %s", err->text);
}

static void add_picture(struct maker *m, struct sample_image *image, uint32_t which)
{
    struct image_info info;
    struct error err = { 0 };
    uint32_t number = 0;

    check(image_probe(&info, m->files[which], m->sizes[which], NULL, &err), &err);
    check(shard_writer_picture(m->writer, m->files[which], m->sizes[which], &info, &number,
                               &image->hash, &err),
          &err);
    image->original_hash = image->hash;
    image->picture = number;
    image->width = info.width;
    image->height = info.height;
    image->codec = info.codec;
    image->bytes = m->sizes[which];
}

/* A whole or an empty region. */
static void add_region(struct sample_image *image, struct buffer *runs, size_t *start, bool inside)
{
    struct error err = { 0 };
    struct rle r;

    rle_init(&r);
    *start = runs->size;
    check(rle_from_constant(&r, image->height, image->width, inside, &err), &err);
    check(rle_to_varints(runs, &r, &err), &err);
    image->mask = (struct sample_mask){ image->height, image->width, NULL, runs->size - *start };
    rle_clear(&r);
}

/* bos number text [slot text]... eos; an odd picture may be a region of the one before it. */
static void add_sequence(struct maker *m, uint32_t number)
{
    struct sample_image images[IMAGES_MAX] = { 0 };
    struct sample_document document = { .has_line = true, .line = number, .record_key = number };
    uint16_t ids[TOKENS_MAX];
    uint8_t loss[TOKENS_MAX];
    struct buffer runs = { 0 };
    struct error err = { 0 };
    size_t n = 0, i = 0, starts[IMAGES_MAX] = { 0 };
    uint32_t which = 0;

    ids[n++] = 1;
    ids[n++] = (uint16_t)(3 + number % 256);
    ids[n++] = (uint16_t)(3 + number / 256);
    const uint32_t count = draw(m, IMAGES_MAX + 1);
    for (; i < count; i++) {
        images[i].soi = (uint16_t)n;
        images[i].loss = true;
        images[i].prev = i > 0;
        which = m->opt->regions && i % 2 == 1 ? which : draw(m, FIXTURE_PICTURES);
        add_picture(m, &images[i], which);
        ids[n++] = FIXTURE_PIECES;
        for (unsigned k = 0; k < FIXTURE_SLOT; k++)
            ids[n++] = FIXTURE_PIECES + 1;
        const uint32_t words = draw(m, 9);
        for (uint32_t k = 0; k < words; k++)
            ids[n++] = (uint16_t)(259 + draw(m, 30));
        if (m->opt->regions && i % 2 == 1)
            add_region(&images[i], &runs, &starts[i], i == 1);
    }
    ids[n++] = 2;
    document.length = (uint16_t)n;
    for (size_t k = 0; k < n; k++)
        loss[k] = k > n / 2 && ids[k] < FIXTURE_PIECES;
    for (size_t k = 0; k < count; k++)
        if (images[k].mask.h > 0)
            images[k].mask.runs = runs.data + starts[k];
    const struct sample sample = { .ids = ids,
                                   .token_count = n,
                                   .documents = &document,
                                   .document_count = 1,
                                   .images = images,
                                   .image_count = count,
                                   .loss = m->opt->losses ? loss : NULL };
    check(shard_writer_sequence(m->writer, &sample, &err), &err);
    buffer_clear(&runs);
}

static void make_shard(struct maker *m, const char *folder, uint32_t shard, unsigned sequences,
                       uint32_t first)
{
    struct shard_writer_options opt;
    struct error err = { 0 };
    uint8_t digest[32];
    size_t input = 0;
    char name[32];

    shard_writer_options_init(&opt);
    opt.facts = &m->facts;
    opt.shard = shard;
    char *final = dataset_shard_path(folder, shard);
    char *working = str_format("%s/work/%06u.tmp", folder, shard);
    char *sums = dataset_digest_path(folder, shard);
    unit_facts_init(&m->unit);
    m->unit.shard = shard;
    snprintf(name, sizeof name, "in%u", shard);
    check(unit_facts_input(&m->unit, name, name, 1000, &input, &err), &err);
    m->unit.inputs[input].records.seen = m->unit.inputs[input].records.stored = sequences;
    m->unit.documents = sequences;
    check(shard_writer_open(&m->writer, working, &opt, &err), &err);
    for (unsigned i = 0; i < sequences; i++)
        add_sequence(m, first + i);
    check(shard_writer_seal(m->writer, &m->unit, final, sums, digest, &err), &err);
    shard_writer_close(&m->writer);
    unit_facts_clear(&m->unit);
    mem_free(final);
    mem_free(working);
    mem_free(sums);
}

static void maker_init(struct maker *m, const char *folder, const struct fixture_options *opt)
{
    static const char *const names[FIXTURE_PICTURES] = {
        "jpeg-size-33x15.jpg", "gif-single.gif",       "png-size-5x2-interlaced.png",
        "jpeg-size-16x16.jpg", "webp-size-10x12.webp", "bmp-8.bmp"
    };
    static const char *const sources[] = { "mmc4" };
    struct error err = { 0 };
    char path[512];

    *m = (struct maker){ .seed = opt->seed, .opt = opt };
    m->facts = (struct shard_facts){ .kind = "mmc4",
                                     .sources = sources,
                                     .source_count = 1,
                                     .variant = 'A',
                                     .pieces = FIXTURE_PIECES,
                                     .bos = 1,
                                     .eos = 2,
                                     .seq_len = SEQ_LEN,
                                     .image_tokens = FIXTURE_SLOT,
                                     .images_per_seq = IMAGES_MAX,
                                     .options = "{}",
                                     .versions = "{}" };
    memcpy(m->facts.identity, &opt->seed, sizeof opt->seed);
    for (size_t i = 0; i < FIXTURE_PICTURES; i++) {
        snprintf(path, sizeof path, TEST_GOLDENS "/data/pictures/%s", names[i]);
        m->files[i] = test_read_file(path, &m->sizes[i]);
    }
    snprintf(path, sizeof path, "%s/shards", folder);
    check(file_make_folders(path, &err), &err);
    snprintf(path, sizeof path, "%s/work", folder);
    check(file_make_folders(path, &err), &err);
}

static void maker_clear(struct maker *m)
{
    for (size_t i = 0; i < FIXTURE_PICTURES; i++)
        free(m->files[i]);
}

uint64_t fixture_dataset(const char *folder, const struct fixture_options *opt)
{
    struct maker m;
    struct error err = { 0 };
    uint64_t total = 0;

    maker_init(&m, folder, opt);
    for (uint32_t i = 0; i < opt->shards; i++) {
        const unsigned n = opt->even ? opt->per_shard : opt->per_shard - i % 3;
        make_shard(&m, folder, i, n, (uint32_t)total);
        total += n;
    }
    check(dataset_finish(folder, opt->shards, &err), &err);
    maker_clear(&m);
    return total;
}

/* ---- a manifest of many shards ---- */

/* Counts of a shard that does not exist. */
static void add_simulated(struct manifest *m, const struct shard_facts *facts, uint32_t shard,
                          unsigned sequences)
{
    struct unit_facts unit;
    struct error err = { 0 };
    const uint8_t digest[32] = { (uint8_t)shard, (uint8_t)(shard >> 8), 77 };
    size_t input = 0;
    char name[32];

    unit_facts_init(&unit);
    snprintf(name, sizeof name, "%05u.tar", shard);
    check(unit_facts_input(&unit, name, name, 1 << 28, &input, &err), &err);
    unit.inputs[input].records.seen = unit.inputs[input].records.stored = sequences;
    unit.shard = shard;
    unit.sequences = unit.documents = sequences;
    unit.pictures = unit.images = 3 * (uint64_t)sequences;
    unit.tokens = 40 * (uint64_t)sequences;
    check(manifest_add(m, facts, &unit, (uint64_t)1 << 28, digest, &err), &err);
    unit_facts_clear(&unit);
}

static void add_made(struct manifest *m, const char *folder, uint32_t shard)
{
    struct shard_reader *r = NULL;
    struct error err = { 0 };
    uint8_t digest[32];
    char *path = dataset_shard_path(folder, shard);

    check(shard_reader_open(&r, path, NULL, &err), &err);
    check(hash_sha256_file(digest, path, &err), &err);
    check(manifest_add(m, shard_reader_facts(r), shard_reader_unit(r), shard_reader_file_size(r),
                       digest, &err),
          &err);
    shard_reader_close(&r);
    mem_free(path);
}

void fixture_simulated(const char *folder, const struct fixture_options *opt, const bool *made)
{
    struct maker m;
    struct manifest manifest;
    struct buffer text = { 0 };
    struct error err = { 0 };

    maker_init(&m, folder, opt);
    manifest_init(&manifest);
    for (uint32_t i = 0; i < opt->shards; i++) {
        if (made[i]) {
            make_shard(&m, folder, i, opt->per_shard, i * opt->per_shard);
            add_made(&manifest, folder, i);
        } else {
            add_simulated(&manifest, &m.facts, i, opt->per_shard);
        }
    }
    check(manifest_encode(&text, &manifest, &err), &err);
    char *path = dataset_manifest_path(folder);
    check(file_replace(path, text.data, text.size, &err), &err);
    mem_free(path);
    buffer_clear(&text);
    manifest_clear(&manifest);
    maker_clear(&m);
}

struct loader *fixture_open(const struct loader_options *opt)
{
    struct error err = { 0 };
    struct loader *l = NULL;

    if (loader_open(&l, opt, &err) != ST_OK)
        fail_msg("loader_open: %s", err.text);
    return l;
}

const struct batch *fixture_next(struct loader *l)
{
    const struct batch *b = NULL;
    struct error err = { 0 };

    if (loader_next(l, &b, &err) != ST_OK)
        fail_msg("loader_next: %s", err.text);
    return b;
}

static void add(struct hash_stream *h, const void *data, size_t size)
{
    if (data)
        hash_stream_update(h, data, size);
}

uint64_t fixture_digest(const struct batch *b)
{
    const size_t text = (size_t)(b->B * b->L) * sizeof(int32_t);
    const size_t pictures = (size_t)b->I_padded;
    const int64_t head[] = { (int64_t)b->step,
                             (int64_t)b->micro_batch,
                             b->source,
                             b->B,
                             b->L,
                             b->I,
                             b->I_padded,
                             b->R,
                             b->Rd,
                             b->valid_targets };
    struct hash_stream *h = NULL;
    uint64_t digest = 0;

    assert_int_equal(hash_stream_open(&h, HASH_XXH3_64, NULL), ST_OK);
    add(h, head, sizeof head);
    for (int64_t r = 0; r < b->B; r++) {
        const struct batch_row *row = &b->rows[r];
        const uint64_t fields[] = { row->source,
                                    row->sequence,
                                    row->taken,
                                    row->epoch,
                                    row->position,
                                    row->shard,
                                    row->dataset,
                                    row->index,
                                    row->record_key,
                                    (uint64_t)row->length,
                                    (uint64_t)row->first_image,
                                    (uint64_t)row->images };
        add(h, fields, sizeof fields);
    }
    for (int64_t i = 0; i < b->I; i++) {
        const struct batch_image *p = &b->images[i];
        const int32_t fields[] = { p->row,         p->slot,           p->soi,
                                   p->nearest_bos, p->context_length, p->document,
                                   p->loss,        p->previous,       p->flipped };
        add(h, fields, sizeof fields);
    }
    add(h, b->text_ids, text);
    add(h, b->attention_mask, text);
    add(h, b->targets, text - (size_t)b->B * sizeof(int32_t));
    add(h, b->num_image_per_seq, (size_t)b->B * sizeof(int32_t));
    add(h, b->nearest_bos_idxs, pictures * sizeof(int32_t));
    add(h, b->prompt_offset, (size_t)b->B * sizeof(int32_t));
    add(h, b->gt_text_ids, text);
    add(h, b->image, pictures * 3 * (size_t)(b->R * b->R));
    add(h, b->image_dec, pictures * 3 * (size_t)(b->Rd * b->Rd));
    add(h, b->mask, pictures * (size_t)(b->R * b->R));
    hash_stream_digest(h, (uint8_t *)&digest);
    hash_stream_close(&h);
    return digest;
}

void fixture_loader_options(struct loader_options *opt, struct loader_source sources[2],
                            const char *paths[2])
{
    loader_options_init(opt);
    sources[0] = (struct loader_source){ "mmc4", &paths[0], 1, 2 };
    sources[1] = (struct loader_source){ "pairs", &paths[1], 1, 1 };
    opt->seed = 7;
    opt->sources = sources;
    opt->n_sources = 2;
    opt->batch_global = 8;
    opt->batch_micro = 2;
    opt->decode.side_a = 8;
    opt->decode.side_b = 16;
    opt->threads = 2;
}
