/* cli/inspect_step.c: what a training step will see, by the recipe and the loader: the plan alone and the
 * stored records, or, where pixels are wanted, the batches themselves. */
#include <string.h>

#include "cli/inspect.h"
#include "core/pool.h"
#include "loader/loader.h"
#include "trainer/recipe.h"
#include "trainer/setup.h"

/* Datasets stay open from row to row; shards and tables are opened for each. */
struct open_datasets {
    struct dataset **list;
    size_t count;
};

struct walk {
    const struct inspect_step *which;
    const struct recipe *recipe;
    struct loader *loader;
    struct open_datasets open;
    inspect_fn *fn;
    void *arg;
};

static enum status find_dataset(struct open_datasets *open, const char *folder,
                                struct dataset **out, struct error *err)
{
    for (size_t i = 0; i < open->count; i++)
        if (strcmp(dataset_folder(open->list[i]), folder) == 0) {
            *out = open->list[i];
            return ST_OK;
        }
    struct dataset **list = mem_realloc(open->list, open->count + 1, sizeof(struct dataset *));
    if (!list)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: datasets");
    open->list = list;
    if (dataset_open(out, folder, err) != ST_OK)
        return ST_FAIL;
    list[open->count++] = *out;
    return ST_OK;
}

static void close_datasets(struct open_datasets *open)
{
    for (size_t i = 0; i < open->count; i++)
        dataset_close(&open->list[i]);
    mem_free(open->list);
}

static uint64_t first_sequence(const struct dataset *d, uint32_t shard)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < shard; i++)
        n += dataset_manifest(d)->shards[i].sequences;
    return n;
}

/* `b` and `row`: the batch it is in; NULL: none was made. */
static enum status show_row(struct walk *w, const struct loader_place *place, const struct batch *b,
                            int64_t row, struct error *err)
{
    struct dataset *d = NULL;
    struct shard_reader *r = NULL;
    struct pieces *pieces = NULL;
    struct arena arena;
    struct sample s;
    enum status st = find_dataset(&w->open, place->folder, &d, err);

    arena_init(&arena, 0);
    if (st == ST_OK)
        st = dataset_shard(d, place->shard, &r, err);
    if (st == ST_OK)
        st = shard_reader_pieces(r, &pieces, err);
    if (st == ST_OK)
        st = shard_reader_sequence(r, place->index, &s, &arena, err);
    if (st == ST_OK) {
        const struct inspect_item item = {
            .sequence = first_sequence(d, place->shard) + place->index,
            .shard = place->shard,
            .index = place->index,
            .reader = r,
            .sample = &s,
            .pieces = pieces,
            .planned = true,
            .substituted = place->substituted,
            .micro_batch = place->sample.micro_batch,
            .rank = place->rank,
            .epoch = place->sample.epoch,
            .dataset = place->folder,
            .source = w->recipe->sources[place->sample.source].name,
            .batch = b,
            .row = row,
        };
        st = w->fn(w->arg, &item, err);
    }
    pieces_close(&pieces);
    shard_reader_close(&r);
    arena_clear(&arena);
    return st;
}

static enum status show_plan(struct walk *w, struct error *err)
{
    const uint64_t rows = (uint64_t)w->recipe->batch_global;
    struct loader_place place;
    enum status st = ST_OK;

    for (uint64_t i = 0; st == ST_OK && i < rows; i++) {
        st = loader_place(w->loader, w->which->step, i, &place, err);
        if (st != ST_OK || (w->which->rank >= 0 && place.rank != (uint64_t)w->which->rank))
            continue;
        st = loader_resolve(w->loader, &place, err);
        if (st == ST_OK)
            st = show_row(w, &place, NULL, 0, err);
    }
    return st;
}

/* Every row of one batch. */
static enum status show_batch(struct walk *w, const struct batch *b, struct error *err)
{
    struct loader_place place;
    enum status st = ST_OK;

    for (int64_t r = 0; st == ST_OK && r < b->B; r++) {
        const struct batch_row *row = &b->rows[r];
        st = loader_place(w->loader, b->step, row->position, &place, err);
        if (st != ST_OK)
            break;
        place.rank = row->position / ((uint64_t)w->recipe->batch_global / w->which->world);
        place.substituted = row->taken != row->sequence;
        place.dataset = row->dataset;
        place.shard = row->shard;
        place.index = row->index;
        place.folder = loader_folder(w->loader, row->source, row->dataset);
        st = show_row(w, &place, b, r, err);
    }
    return st;
}

static enum status show_batches(struct walk *w, struct error *err)
{
    const struct batch *b = NULL;
    enum status st = loader_seek(w->loader, w->which->step, err);

    while (st == ST_OK && loader_tell(w->loader, NULL) == w->which->step) {
        st = loader_next(w->loader, &b, err);
        if (st == ST_OK)
            st = show_batch(w, b, err);
        loader_release(w->loader, b);
    }
    return st;
}

static enum status open_loader(struct walk *w, struct loader_source *sources, uint64_t rank,
                               struct error *err)
{
    const bool pixels = w->which->pixels;
    struct loader_options opt;

    setup_loader(&opt, sources, w->recipe, (int)w->which->world, (int)rank,
                 pixels ? cpu_count() : 0);
    opt.stored_ahead = opt.decoded_ahead = 1;
    return loader_open(&w->loader, &opt, err);
}

/* Ranks hold runs of micro-batches: one after the other they are the step. */
static enum status show_step(struct walk *w, struct loader_source *sources, struct error *err)
{
    const struct inspect_step *which = w->which;
    const uint64_t first = which->rank < 0 ? 0 : (uint64_t)which->rank;
    const uint64_t last = which->rank < 0 && which->pixels ? which->world - 1 : first;
    enum status st = ST_OK;

    for (uint64_t rank = first; st == ST_OK && rank <= last; rank++) {
        st = open_loader(w, sources, rank, err);
        if (st == ST_OK)
            st = which->pixels ? show_batches(w, err) : show_plan(w, err);
        loader_close(&w->loader);
    }
    return st;
}

enum status inspect_step_each(const struct inspect_step *which, inspect_fn *fn, void *arg,
                              struct error *err)
{
    struct recipe *recipe = NULL;
    struct loader_source *sources = NULL;
    enum status st =
        recipe_open(&recipe, which->recipe, which->assignments, which->assignment_count, err);

    if (st == ST_OK && !(sources = mem_calloc(recipe->n_sources + 1, sizeof *sources)))
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sources");
    if (st == ST_OK) {
        struct walk w = { .which = which, .recipe = recipe, .fn = fn, .arg = arg };
        st = show_step(&w, sources, err);
        close_datasets(&w.open);
    }
    mem_free(sources);
    recipe_close(&recipe);
    return st;
}
