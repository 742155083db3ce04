/* cli/cmd_inspect.c: looks into a dataset, or at what a training step will see. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/inspect.h"
#include "cli/options.h"
#include "cli/term_picture.h"
#include "core/file.h"
#include "core/log.h"

static const struct command_help help = {
    .usage = "deem inspect DATASET [--json] [--range A:B] [--pictures DIR] [--html FILE]\n"
             "       deem inspect RECIPE --step K [--world W] [--rank R] [--set key=value ...] "
             "[--html FILE]",
    .about =
        "Shows packed sequences: in the terminal with pictures, as one HTML page, or as JSON\n"
        "lines. With --step: what the trainer will see at that global step; the page then shows\n"
        "the pictures as they are resized. A damaged record stops it as it would stop training,\n"
        "unless --skip-damaged (the recipe's loader.damaged: skip).",
    .examples = "  deem inspect data/mmc4\n"
                "  deem inspect data/mmc4 --range 100:120 --html page.html\n"
                "  deem inspect data/mmc4 --json | jq .documents\n"
                "  deem inspect recipes/stage1.yaml --step 5000 --world 8 --rank 3 --json\n",
};

enum { SHOWN = 20 }; /* sequences, where no range is given */

struct inspect_options {
    bool json, skip_damaged;
    const char *range, *pictures, *html;
    int64_t step, world, rank;
    struct option_list set;
};

/* Where the views of the items go. */
struct sink {
    const struct inspect_options *opt;
    struct term_picture *terminal;
    struct buffer out;
    int html; /* descriptor, -1: none */
};

static enum status flush_out(struct sink *s, struct error *err)
{
    const size_t size = s->out.size;

    s->out.size = 0;
    if (size > 0 && fwrite(s->out.data, 1, size, stdout) != size)
        return error_set(err, ST_FAIL, CAUSE_IO, "standard output: write");
    return ST_OK;
}

static enum status write_html(struct sink *s, struct error *err)
{
    const size_t size = s->out.size;

    s->out.size = 0;
    return file_write(s->html, s->opt->html, s->out.data, size, err);
}

/* One file for each picture, named by its hash; one that is there has the same content. */
static enum status save_picture(const struct sink *s, const struct inspect_item *item,
                                const struct sample_image *m, struct error *err)
{
    struct shard_picture p;
    struct buffer memory;
    char hash[33];
    int fd = -1;

    hash128_hex(hash, m->hash);
    char *path = str_format("%s/%s.%s", s->opt->pictures, hash, image_codec_extension(m->codec));
    if (!path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: pictures");
    buffer_init(&memory);
    enum status st = ST_OK;
    if (!file_exists(path)) {
        st = shard_reader_picture(item->reader, m->picture, &memory, &p, err);
        if (st == ST_OK)
            st = file_open_write(&fd, path, err);
        if (st == ST_OK)
            st = file_write(fd, path, p.data, p.size, err);
        if (fd >= 0 && file_close(&fd, path, err) != ST_OK)
            st = ST_FAIL;
    }
    buffer_clear(&memory);
    mem_free(path);
    return st;
}

static enum status show(void *arg, const struct inspect_item *item, struct error *err)
{
    struct sink *s = arg;
    enum status st = ST_OK;

    for (size_t i = 0; s->opt->pictures && st == ST_OK && i < item->sample->image_count; i++)
        st = save_picture(s, item, &item->sample->images[i], err);
    if (st == ST_OK && s->html >= 0) {
        st = inspect_html_item(&s->out, item, err);
        if (st == ST_OK)
            st = write_html(s, err);
    }
    if (st == ST_OK && s->opt->json)
        st = inspect_json(&s->out, item, err);
    else if (st == ST_OK && s->html < 0)
        st = inspect_text(&s->out, item, s->terminal, err);
    return st == ST_OK ? flush_out(s, err) : st;
}

/* "A:B", either may be empty. */
static enum status parse_range(const char *text, uint64_t *begin, uint64_t *end, struct error *err)
{
    const char *colon = strchr(text, ':');
    char *stop = NULL;
    bool good = colon != NULL;

    errno = 0;
    if (good && colon != text) {
        *begin = strtoull(text, &stop, 10);
        good = stop == colon && text[0] >= '0' && text[0] <= '9';
    }
    if (good && colon[1] != '\0') {
        *end = strtoull(colon + 1, &stop, 10);
        good = *stop == '\0' && colon[1] >= '0' && colon[1] <= '9';
    }
    if (!good || errno != 0 || *begin > *end)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--range: got \"%s\", want A:B with A <= B",
                         text);
    return ST_OK;
}

/* Around the items: the page's head and tail, and the file itself. */
static enum status begin_page(struct sink *s, enum status head, struct error *err)
{
    enum status st = head;

    if (st == ST_OK)
        st = file_open_write(&s->html, s->opt->html, err);
    return st == ST_OK ? write_html(s, err) : st;
}

static enum status end_page(struct sink *s, enum status st, struct error *err)
{
    if (s->html < 0)
        return st;
    if (st == ST_OK)
        st = inspect_html_tail(&s->out, err);
    if (st == ST_OK)
        st = write_html(s, err);
    return file_close(&s->html, s->opt->html, err) == ST_OK ? st : ST_FAIL;
}

static enum status show_dataset(struct sink *s, const struct dataset *d, uint64_t begin,
                                uint64_t end, struct error *err)
{
    enum status st = ST_OK;

    if (s->opt->html)
        st = begin_page(s, inspect_html_head(&s->out, d, begin, end, err), err);
    if (st == ST_OK)
        st = inspect_each(d, begin, end, show, s, err);
    return end_page(s, st, err);
}

static enum status inspect_dataset(struct sink *s, const char *folder, struct error *err)
{
    struct dataset *d = NULL;
    uint64_t begin = 0, end = UINT64_MAX;
    enum status st = s->opt->range ? parse_range(s->opt->range, &begin, &end, err) : ST_OK;

    if (st == ST_OK)
        st = dataset_open(&d, folder, err);
    if (st == ST_OK) {
        const uint64_t count = dataset_sequences(d);
        const bool first_only = !s->opt->range && !s->opt->json;
        end = end < count ? end : count;
        end = first_only && end > SHOWN ? SHOWN : end;
        begin = begin < end ? begin : end;
        st = show_dataset(s, d, begin, end, err);
        if (st == ST_OK && first_only && count > SHOWN)
            log_line(LOG_INFO, "%d of %" PRIu64 " sequences; --range A:B shows others", SHOWN,
                     count);
    }
    dataset_close(&d);
    return st;
}

static enum status inspect_recipe(struct sink *s, const char *path, struct error *err)
{
    const struct inspect_step which = {
        .recipe = path,
        .assignments = s->opt->set.items,
        .assignment_count = s->opt->set.count,
        .step = (uint64_t)s->opt->step,
        .world = (uint64_t)s->opt->world,
        .rank = s->opt->rank,
        .pixels = s->opt->html != NULL,
    };
    enum status st = ST_OK;

    if (s->opt->range)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--step does not go with --range");
    if (s->opt->rank >= s->opt->world)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--rank: got %" PRId64 ", want less than --world",
                         s->opt->rank);
    if (s->opt->html)
        st = begin_page(s, inspect_html_step(&s->out, &which, err), err);
    if (st == ST_OK)
        st = inspect_step_each(&which, show, s, err);
    return end_page(s, st, err);
}

static enum status inspect(const struct inspect_options *opt, const char *path, struct error *err)
{
    struct sink s = { .opt = opt, .html = -1 };
    enum status st = ST_OK;

    buffer_init(&s.out);
    if (opt->pictures)
        st = file_make_folders(opt->pictures, err);
    if (st == ST_OK && !opt->json && !opt->html)
        st = term_picture_open(&s.terminal, err);
    if (st == ST_OK)
        st = opt->step >= 0 ? inspect_recipe(&s, path, err) : inspect_dataset(&s, path, err);
    if (fflush(stdout) != 0 && st == ST_OK)
        st = error_set(err, ST_FAIL, CAUSE_IO, "standard output: write");
    term_picture_close(&s.terminal);
    buffer_clear(&s.out);
    return st;
}

int cmd_inspect(int argc, char **argv)
{
    struct inspect_options o = { .step = -1, .world = 1, .rank = -1 };
    const struct option options[] = {
        { "json", OPTION_FLAG, &o.json, NULL, "one JSON line a sequence, all of them", 0, 0, NULL },
        { "range", OPTION_TEXT, &o.range, "A:B", "sequences A to B - 1 (else the first 20)", 0, 0,
          NULL },
        { "pictures", OPTION_TEXT, &o.pictures, "DIR", "also write the pictures as DIR/HASH.EXT", 0,
          0, NULL },
        { "html", OPTION_TEXT, &o.html, "FILE", "one self-contained page", 0, 0, NULL },
        { "step", OPTION_INT, &o.step, "K", "of a recipe: what step K will see", 0, 1e15, NULL },
        { "world", OPTION_INT, &o.world, "W", "ranks of the run (1)", 1, 1e6, NULL },
        { "rank", OPTION_INT, &o.rank, "R", "only what rank R gets (else all)", 0, 1e6, NULL },
        { "set", OPTION_LIST, &o.set, "KEY=VALUE", "change the recipe", 0, 0, NULL },
        { "skip-damaged", OPTION_FLAG, &o.skip_damaged, NULL,
          "show the substitute of a damaged sequence (loader.damaged=skip)", 0, 0, NULL },
    };
    struct option_list inputs = { 0 };
    struct error err = { 0 };
    enum status st =
        options_parse(argc, argv, options, sizeof options / sizeof *options, &help, &inputs, &err);

    if (st == ST_OK && inputs.count != 1)
        st = error_set(&err, ST_FAIL, CAUSE_ARG,
                       "one DATASET or RECIPE is needed; see deem inspect --help");
    if (st == ST_OK && o.skip_damaged)
        st = options_add(&o.set, "loader.damaged=skip", &err);
    if (st == ST_OK && o.step < 0 && (o.set.count > 0 || o.rank >= 0))
        st = error_set(&err, ST_FAIL, CAUSE_ARG,
                       "--set, --skip-damaged, --world and --rank go with --step");
    if (st == ST_OK)
        st = inspect(&o, inputs.items[0], &err);
    options_clear_list(&inputs);
    options_clear_list(&o.set);
    if (st == ST_OK || st == ST_END)
        return 0;
    log_error(&err);
    return error_exit_code(err.cause);
}
