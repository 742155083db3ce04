/* cli/inspect_step.c: what a training step will see, by the recipe and the loader's plan. */
#include <inttypes.h>
#include <string.h>

#include "cli/inspect.h"
#include "loader/loader.h"
#include "trainer/recipe.h"

/* Datasets stay open from row to row; shards and tables are opened for each. */
struct open_dataset {
    struct dataset *dataset;
};
struct open_datasets {
    struct open_dataset *list;
    size_t count;
};

static enum status find_dataset(struct open_datasets *open, const char *folder,
                                struct dataset **out, struct error *err)
{
    for (size_t i = 0; i < open->count; i++)
        if (strcmp(dataset_folder(open->list[i].dataset), folder) == 0) {
            *out = open->list[i].dataset;
            return ST_OK;
        }
    struct open_dataset *list = mem_realloc(open->list, open->count + 1, sizeof *list);
    if (!list)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: datasets");
    open->list = list;
    if (dataset_open(out, folder, err) != ST_OK)
        return ST_FAIL;
    list[open->count++].dataset = *out;
    return ST_OK;
}

static void close_datasets(struct open_datasets *open)
{
    for (size_t i = 0; i < open->count; i++)
        dataset_close(&open->list[i].dataset);
    mem_free(open->list);
}

static enum status show_row(struct open_datasets *open, const struct loader_place *place,
                            const char *source, inspect_fn *fn, void *arg, struct error *err)
{
    struct dataset *d = NULL;
    struct shard_reader *r = NULL;
    struct pieces *pieces = NULL;
    struct arena arena;
    struct sample s;
    enum status st = find_dataset(open, place->folder, &d, err);

    arena_init(&arena, 0);
    if (st == ST_OK)
        st = dataset_shard(d, place->shard, &r, err);
    if (st == ST_OK)
        st = shard_reader_pieces(r, &pieces, err);
    if (st == ST_OK)
        st = shard_reader_sequence(r, place->index, &s, &arena, err);
    if (st == ST_OK) {
        uint64_t first = 0;
        for (uint32_t i = 0; i < place->shard; i++)
            first += dataset_manifest(d)->shards[i].sequences;
        const struct inspect_item item = {
            .sequence = first + place->index,
            .shard = place->shard,
            .index = place->index,
            .reader = r,
            .sample = &s,
            .pieces = pieces,
            .planned = true,
            .micro_batch = place->sample.micro_batch,
            .rank = place->rank,
            .epoch = place->sample.epoch,
            .dataset = place->folder,
            .source = source,
        };
        st = fn(arg, &item, err);
    }
    pieces_close(&pieces);
    shard_reader_close(&r);
    arena_clear(&arena);
    return st;
}

static enum status show_step(const struct loader *l, const struct loader_source *sources,
                             uint64_t rows, const struct inspect_step *which, inspect_fn *fn,
                             void *arg, struct error *err)
{
    struct open_datasets open = { 0 };
    struct loader_place place;
    enum status st = ST_OK;

    for (uint64_t i = 0; st == ST_OK && i < rows; i++) {
        st = loader_place(l, which->step, i, &place, err);
        if (st == ST_OK && (which->rank < 0 || place.rank == (uint64_t)which->rank))
            st = show_row(&open, &place, sources[place.sample.source].name, fn, arg, err);
    }
    close_datasets(&open);
    return st;
}

static enum status open_loader(struct loader **l, const struct recipe *recipe,
                               const struct loader_source *sources,
                               const struct inspect_step *which, struct error *err)
{
    struct loader_options opt;

    loader_options_init(&opt);
    opt.seed = (uint64_t)recipe->seed;
    opt.sources = sources;
    opt.n_sources = recipe->n_sources;
    opt.mixing = recipe->mixing == MIXING_IID ? PLAN_IID : PLAN_STRATIFIED;
    opt.order = recipe->order == ORDER_BLOCK ? PLAN_BLOCK : PLAN_PERMUTATION;
    opt.batch_global = (uint64_t)recipe->batch_global;
    opt.batch_micro = (uint64_t)recipe->batch_micro;
    opt.seq_len = recipe->seq_len;
    opt.world = which->world;
    opt.rank = 0;
    opt.threads = 0;
    return loader_open(l, &opt, err);
}

enum status inspect_step_each(const struct inspect_step *which, inspect_fn *fn, void *arg,
                              struct error *err)
{
    struct recipe *recipe = NULL;
    struct loader_source *sources = NULL;
    struct loader *l = NULL;
    enum status st =
        recipe_open(&recipe, which->recipe, which->assignments, which->assignment_count, err);

    if (st == ST_OK && !(sources = mem_calloc(recipe->n_sources + 1, sizeof *sources)))
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sources");
    for (size_t i = 0; st == ST_OK && i < recipe->n_sources; i++)
        sources[i] = (struct loader_source){
            .name = recipe->sources[i].name,
            .datasets = recipe->sources[i].datasets,
            .n_datasets = recipe->sources[i].n_datasets,
            .weight = (uint64_t)recipe->sources[i].weight,
        };
    if (st == ST_OK)
        st = open_loader(&l, recipe, sources, which, err);
    if (st == ST_OK)
        st = show_step(l, sources, (uint64_t)recipe->batch_global, which, fn, arg, err);
    loader_close(&l);
    mem_free(sources);
    recipe_close(&recipe);
    return st;
}
