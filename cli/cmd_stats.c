/* cli/cmd_stats.c: what a dataset holds and what was dropped on the way. Totals and reasons come from
 * the manifest, histograms from the sequences. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/printable.h"
#include "core/log.h"
#include "core/mem.h"
#include "shards/dataset.h"

static const struct command_help help = {
    .usage = "deem stats DATASET [--json]",
    .about = "Totals, drop reasons, and histograms of fill, images per sequence and similarity.",
    .examples = "  deem stats data/mmc4\n"
                "  deem stats data/mmc4 --json | jq .fill\n",
};

enum {
    FILL_BINS = 20,       /* of 5 % of seq_len each */
    IMAGE_BINS = 65,      /* 0 to 63 images, the last for more */
    SIMILARITY_BINS = 50, /* of 0.02 each from 0 to 1; below and above go to the ends */
    BAR = 40,
};

struct histograms {
    uint64_t fill[FILL_BINS], images[IMAGE_BINS], similarity[SIMILARITY_BINS];
    uint64_t with_similarity;
};

static void count_sequence(struct histograms *h, const struct sample *s, uint32_t seq_len)
{
    const size_t fill = s->token_count * FILL_BINS / seq_len;
    const size_t images = s->image_count;

    h->fill[fill < FILL_BINS ? fill : FILL_BINS - 1]++;
    h->images[images < IMAGE_BINS ? images : IMAGE_BINS - 1]++;
    for (size_t i = 0; i < s->image_count; i++) {
        const double v = s->images[i].similarity;
        if (!s->images[i].has_similarity)
            continue;
        const int bin = !(v > 0) ? 0 : v >= 1 ? SIMILARITY_BINS - 1 : (int)(v * SIMILARITY_BINS);
        h->similarity[bin]++;
        h->with_similarity++;
    }
}

static enum status read_shard(struct histograms *h, const struct dataset *d, uint32_t shard,
                              struct progress *progress, struct error *err)
{
    struct shard_reader *r = NULL;
    struct arena arena;
    struct sample s;
    enum status st = dataset_shard(d, shard, &r, err);

    arena_init(&arena, 0);
    const struct arena_mark mark = arena_mark(&arena);
    for (uint64_t i = 0; st == ST_OK && i < shard_reader_sequences(r); i++) {
        st = shard_reader_sequence(r, i, &s, &arena, err);
        if (st == ST_OK)
            count_sequence(h, &s, shard_reader_facts(r)->seq_len);
        arena_release(&arena, mark);
        progress_add(progress, 1);
    }
    arena_clear(&arena);
    shard_reader_close(&r);
    return st;
}

static enum status read_all(struct histograms *h, const struct dataset *d, struct error *err)
{
    struct progress *progress = progress_open("stats", "sequences", dataset_sequences(d));
    enum status st = ST_OK;

    for (uint32_t i = 0; st == ST_OK && i < dataset_manifest(d)->shard_count; i++)
        st = read_shard(h, d, i, progress, err);
    progress_close(&progress);
    return st;
}

static double fill_of(const struct manifest *m)
{
    const double places = (double)m->total.sequences * m->facts.seq_len;
    return places > 0 ? (double)m->total.tokens / places : 0.0;
}

static void put_u64(struct json_writer *w, const char *name, uint64_t v)
{
    json_key(w, name);
    json_uint(w, v);
}

static void put_bins(struct json_writer *w, const char *name, const uint64_t *bins, size_t count)
{
    json_key(w, name);
    json_begin_array(w);
    for (size_t i = 0; i < count; i++)
        json_uint(w, bins[i]);
    json_end_array(w);
}

static enum status write_json(struct buffer *out, const struct manifest *m,
                              const struct histograms *h, struct error *err)
{
    struct json_writer w;

    json_writer_init(&w, out);
    json_begin_object(&w);
    put_u64(&w, "sequences", m->total.sequences);
    put_u64(&w, "documents", m->total.documents);
    put_u64(&w, "images", m->total.images);
    put_u64(&w, "tokens", m->total.tokens);
    put_u64(&w, "pieces_dropped", m->total.pieces_dropped);
    json_key(&w, "fill");
    json_number(&w, fill_of(m));
    json_key(&w, "inputs");
    facts_write_inputs(&w, m->total.inputs, m->total.input_count);
    json_key(&w, "records");
    json_begin_object(&w);
    facts_write_count(&w, &m->records);
    json_end_object(&w);
    json_key(&w, "pictures");
    json_begin_object(&w);
    facts_write_count(&w, &m->pictures);
    json_end_object(&w);
    json_key(&w, "kind");
    json_string(&w, m->facts.kind);
    put_u64(&w, "shards", m->shard_count);
    put_u64(&w, "stored_pictures", m->total.pictures);
    put_u64(&w, "seq_len", m->facts.seq_len);
    put_bins(&w, "fill_histogram", h->fill, FILL_BINS);
    put_bins(&w, "images_per_sequence", h->images, IMAGE_BINS);
    put_bins(&w, "similarity_histogram", h->similarity, SIMILARITY_BINS);
    json_end_object(&w);
    const enum status st = json_writer_finish(&w, err);
    return st == ST_OK ? buffer_append(out, "\n", 1, err) : st;
}

static enum status write_bar(struct buffer *out, const char *label, uint64_t n, uint64_t most,
                             struct error *err)
{
    char bar[BAR + 1];
    const size_t size = most ? (size_t)((double)n / (double)most * BAR + 0.5) : 0;

    memset(bar, '#', size);
    bar[size] = '\0';
    return buffer_printf(out, err, "  %12s %10" PRIu64 " %s\n", label, n, bar);
}

/* Bins [first, last) that hold anything, labelled from + i * step. */
static enum status write_histogram(struct buffer *out, const char *title, const uint64_t *bins,
                                   size_t count, double step, int decimals, const char *unit,
                                   struct error *err)
{
    uint64_t most = 0;
    size_t first = 0, last = count;
    char label[32];

    while (first < last && bins[first] == 0)
        first++;
    while (last > first && bins[last - 1] == 0)
        last--;
    for (size_t i = first; i < last; i++)
        most = bins[i] > most ? bins[i] : most;
    if (first == last)
        return ST_OK;
    enum status st = buffer_printf(out, err, "\n%s\n", title);
    for (size_t i = first; i < last && st == ST_OK; i++) {
        snprintf(label, sizeof label, "%.*f%s", decimals, (double)i * step, unit);
        st = write_bar(out, label, bins[i], most, err);
    }
    return st;
}

static enum status write_reasons(struct buffer *out, const char *what, const struct unit_count *c,
                                 struct error *err)
{
    enum status st = buffer_printf(out, err, "\n%s: %" PRIu64 " seen, %" PRIu64 " stored\n", what,
                                   c->seen, c->stored);
    for (size_t i = 0; i < c->filtered.size && st == ST_OK; i++)
        st = buffer_printf(out, err, "  filtered     %-22s %10" PRIu64 "\n", c->filtered.names[i],
                           c->filtered.counts[i]);
    for (size_t i = 0; i < c->quarantined.size && st == ST_OK; i++)
        st = buffer_printf(out, err, "  quarantined  %-22s %10" PRIu64 "\n",
                           c->quarantined.names[i], c->quarantined.counts[i]);
    return st;
}

static enum status write_notes(struct buffer *out, const struct manifest *m, struct error *err)
{
    struct tally notes = { 0 };
    enum status st = ST_OK;
    for (size_t i = 0; i < m->total.input_count && st == ST_OK; i++)
        st = tally_merge(&notes, &m->total.inputs[i].notes, err);
    if (st == ST_OK && notes.size > 0)
        st = buffer_printf(out, err, "\nodd but kept\n");
    for (size_t i = 0; i < notes.size && st == ST_OK; i++)
        st = buffer_printf(out, err, "  %-35s %10" PRIu64 "\n", notes.names[i], notes.counts[i]);
    tally_clear(&notes);
    return st;
}

static enum status write_inputs(struct buffer *out, const struct manifest *m, struct error *err)
{
    enum status st = buffer_printf(out, err, "\n%zu input file%s\n", m->total.input_count,
                                   m->total.input_count == 1 ? "" : "s");
    for (size_t i = 0; i < m->total.input_count && st == ST_OK; i++) {
        const struct unit_input *in = &m->total.inputs[i];
        if (i == 20)
            return buffer_printf(out, err, "  ... and %zu more (--json lists all)\n",
                                 m->total.input_count - i);
        st = buffer_append_str(out, "  ", err);
        if (st == ST_OK)
            st = printable_terminal(out, in->file, strlen(in->file), true, err);
        if (st == ST_OK)
            st = buffer_printf(out, err, ": %" PRIu64 " seen, %" PRIu64 " stored%s\n",
                               in->records.seen, in->records.stored,
                               in->incomplete ? ", INCOMPLETE" : "");
    }
    return st;
}

static enum status write_text(struct buffer *out, const struct manifest *m,
                              const struct histograms *h, struct error *err)
{
    const struct unit_facts *t = &m->total;
    enum status st =
        buffer_printf(out, err,
                      "kind %s, %zu shards, tokenizer variant %c, %" PRIu32 " tokens per sequence\n"
                      "%" PRIu64 " sequences, %" PRIu64 " documents, %" PRIu64 " images (%" PRIu64
                      " pictures stored), %" PRIu64 " tokens\nfill %.2f %%, %" PRIu64
                      " pieces dropped (F14), %" PRIu64 " quarantine rows\n",
                      m->facts.kind, m->shard_count, m->facts.variant, m->facts.seq_len,
                      t->sequences, t->documents, t->images, t->pictures, t->tokens,
                      100 * fill_of(m), t->pieces_dropped, t->quarantine_rows);

    if (st == ST_OK)
        st = write_reasons(out, "records", &m->records, err);
    if (st == ST_OK)
        st = write_reasons(out, "pictures", &m->pictures, err);
    if (st == ST_OK)
        st = write_notes(out, m, err);
    if (st == ST_OK)
        st = write_inputs(out, m, err);
    if (st == ST_OK)
        st = write_histogram(out, "fill of sequences, from", h->fill, FILL_BINS, 100.0 / FILL_BINS,
                             0, " %", err);
    if (st == ST_OK)
        st = write_histogram(out, "images per sequence", h->images, IMAGE_BINS, 1, 0, "", err);
    if (st == ST_OK)
        st = write_histogram(out, "similarity, from", h->similarity, SIMILARITY_BINS,
                             1.0 / SIMILARITY_BINS, 2, "", err);
    return st;
}

static enum status stats(const char *folder, bool json, struct error *err)
{
    struct dataset *d = NULL;
    struct histograms h = { 0 };
    struct buffer out;

    buffer_init(&out);
    enum status st = dataset_open(&d, folder, err);
    if (st == ST_OK)
        st = read_all(&h, d, err);
    if (st == ST_OK)
        st = json ? write_json(&out, dataset_manifest(d), &h, err)
                  : write_text(&out, dataset_manifest(d), &h, err);
    if (st == ST_OK && (fwrite(out.data, 1, out.size, stdout) != out.size || fflush(stdout) != 0))
        st = error_set(err, ST_FAIL, CAUSE_IO, "standard output: write");
    buffer_clear(&out);
    dataset_close(&d);
    return st;
}

int cmd_stats(int argc, char **argv)
{
    bool json = false;
    const struct option options[] = {
        { "json", OPTION_FLAG, &json, NULL, "one JSON object on standard output", 0, 0, NULL },
    };
    struct option_list inputs = { 0 };
    struct error err = { 0 };
    enum status st = options_parse(argc, argv, options, 1, &help, &inputs, &err);

    if (st == ST_OK && inputs.count != 1)
        st = error_set(&err, ST_FAIL, CAUSE_ARG, "one DATASET is needed; see deem stats --help");
    if (st == ST_OK)
        st = stats(inputs.items[0], json, &err);
    options_clear_list(&inputs);
    if (st == ST_OK || st == ST_END)
        return 0;
    log_error(&err);
    return error_exit_code(err.cause);
}
