/* cli/bench_train.c: `deem bench train RECIPE`: a real run in a folder of its own: plain steps, steps with a
 * ledger of every operation beside its bare cost, a checkpoint, and the first step after a resume. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/options.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/mem.h"
#include "trainer/train.h"
#include "trainer/train_profile.h"

static const struct command_help help = {
    .usage = "deem bench train RECIPE [--set key=value ...] [OPTION...]",
    .about =
        "Seconds of a training step by part, against the sum of its operations' bare costs in the "
        "same run;\nloader's wait, memory against the plan, checkpoints, start and resume.",
    .examples = "  deem bench train recipes/tiny-stage1.yaml\n"
                "  deem bench train recipes/tiny-stage1.yaml --steps 20 --ledger 5 --json\n",
};

struct settings {
    struct option_list inputs, set;
    const char *folder;
    int64_t steps, ledger;
    bool json;
};

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct spread {
    double lowest, median, highest;
};

static struct spread spread_of(double *values, int64_t n)
{
    qsort(values, (size_t)n, sizeof *values, ascending);
    return (struct spread){ values[0], values[n / 2], values[n - 1] };
}

static double sum_of(const double *values, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += values[i];
    return sum;
}

/* What is compared, of the ledger's steps and of the process. */
struct figures {
    struct spread step;
    double wait_share; /* of the plain steps' time */
    struct profile_row whole,
        rest;             /* a step against its roof; what is neither operation nor update */
    double planned, held; /* bytes; resident at most less what stood before the run */
};

/* Of a step. */
static struct profile_row a_step(const struct profile_row *sums, double steps)
{
    struct profile_row r = *sums;
    r.step.wall /= steps;
    r.step.thread /= steps;
    r.bare.wall /= steps;
    r.bare.thread /= steps;
    return r;
}

static double ratio(double a, double b)
{
    return b > 0.0 ? a / b : 0.0;
}

static void finish_rows(struct train_profile *p)
{
    const double steps = (double)p->n_ledger;
    for (int i = 0; i < p->n_spans; i++)
        p->span[i] = a_step(&p->span[i], steps);
    for (int i = 0; i < p->n_parts; i++)
        p->part[i] = a_step(&p->part[i], steps);
    const struct runner_seconds best = p->update.bare;
    p->nodes = a_step(&p->nodes, steps);
    p->update = a_step(&p->update, steps);
    p->update.bare = best;
    p->ledger.wall /= steps;
    p->ledger.thread /= steps;
}

static struct figures figures_of(struct train_profile *p)
{
    struct figures f = {
        .wait_share = ratio(sum_of(p->waits, p->n_plain), sum_of(p->plain, p->n_plain)),
        .planned = (double)(p->parameters + p->gradients + p->optimizer + p->programs + p->loader +
                            p->checkpoint),
        .held = (double)(p->resident - p->resident_before),
    };
    finish_rows(p);
    f.whole.step = p->ledger;
    f.whole.bare.wall = p->nodes.bare.wall + p->update.bare.wall;
    f.whole.bare.thread = p->nodes.bare.thread + p->update.bare.thread;
    f.rest.step.wall = p->ledger.wall - p->nodes.step.wall - p->update.step.wall;
    f.rest.step.thread = p->ledger.thread - p->nodes.step.thread - p->update.step.thread;
    f.step = spread_of(p->plain, p->n_plain);
    return f;
}

static void print_row(const char *name, const struct profile_row *r)
{
    printf("  %-20s %9.2f %9.2f %6.2f %11.2f %9.2f %6.2f\n", name, 1e3 * r->step.wall,
           1e3 * r->bare.wall, ratio(r->step.wall, r->bare.wall), 1e3 * r->step.thread,
           1e3 * r->bare.thread, ratio(r->step.thread, r->bare.thread));
}

static void print_rows(const char *title, const struct profile_row *rows, int n)
{
    printf("%-22s %9s %9s %6s %11s %9s %6s\n", title, "clock ms", "bare", "ratio", "thread ms",
           "bare", "ratio");
    for (int i = 0; i < n; i++)
        print_row(rows[i].name, &rows[i]);
}

static void print_memory(const struct figures *f, const struct train_profile *p)
{
    const double mega = 1e-6;
    const struct {
        const char *what;
        int64_t bytes;
    } parts[] = { { "parameters", p->parameters }, { "gradients", p->gradients },
                  { "moments", p->optimizer },     { "programs", p->programs },
                  { "loader", p->loader },         { "checkpoint", p->checkpoint } };
    printf("memory            %9.1f MB planned:", f->planned * mega);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        printf("%s %s %.1f", i ? "," : "", parts[i].what, (double)parts[i].bytes * mega);
    printf("\n                  %9.1f MB resident at most, besides %.1f before the run: %.2f of "
           "the plan\n",
           f->held * mega, (double)p->resident_before * mega, ratio(f->held, f->planned));
}

static void print_text(const struct figures *f, const struct train_profile *p, double resume)
{
    print_rows("a step by span", p->span, p->n_spans);
    print_rows("a step by part", p->part, p->n_parts);
    print_rows("a step", NULL, 0);
    print_row("operations", &p->nodes);
    print_row("norm, clip, update", &p->update);
    print_row("all else", &f->rest);
    print_row("whole step", &f->whole);
    printf(
        "\nplain steps       %9.3f s median of %d (%.3f to %.3f), %.2f %% of it waiting for data\n",
        f->step.median, (int)p->n_plain, f->step.lowest, f->step.highest, 100.0 * f->wait_share);
    print_memory(f, p);
    printf("checkpoint        %9.1f ms until the step goes on, %.1f ms until it is on disk\n",
           1e3 * p->checkpoint_blocked, 1e3 * p->checkpoint_seconds);
    printf("first step done   %9.2f s after the start, %.2f s after a resume\n", p->first_step,
           resume);
}

static void put_row(struct json_writer *w, const char *key, const struct profile_row *r)
{
    json_key(w, key);
    json_begin_object(w);
    json_key(w, "seconds");
    json_number(w, r->step.wall);
    json_key(w, "bare_seconds");
    json_number(w, r->bare.wall);
    json_key(w, "thread_seconds");
    json_number(w, r->step.thread);
    json_key(w, "bare_thread_seconds");
    json_number(w, r->bare.thread);
    json_end_object(w);
}

static void put_rows(struct json_writer *w, const char *key, const struct profile_row *rows, int n)
{
    json_key(w, key);
    json_begin_object(w);
    for (int i = 0; i < n; i++)
        put_row(w, rows[i].name, &rows[i]);
    json_end_object(w);
}

static enum status print_json(const struct figures *f, const struct train_profile *p, double resume,
                              struct error *err)
{
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        { "step_seconds", f->step.median },
        { "step_seconds_lowest", f->step.lowest },
        { "step_seconds_highest", f->step.highest },
        { "loader_wait_share", f->wait_share },
        { "ratio", ratio(f->whole.step.wall, f->whole.bare.wall) },
        { "thread_ratio", ratio(f->whole.step.thread, f->whole.bare.thread) },
        { "planned_bytes", f->planned },
        { "resident_bytes", f->held },
        { "checkpoint_blocked_seconds", p->checkpoint_blocked },
        { "checkpoint_seconds", p->checkpoint_seconds },
        { "start_to_first_step_seconds", p->first_step },
        { "resume_to_first_step_seconds", resume },
    };
    struct json_writer w;
    struct buffer line;
    buffer_init(&line);
    json_writer_init(&w, &line);
    json_begin_object(&w);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_key(&w, numbers[i].key);
        json_number(&w, numbers[i].value);
    }
    put_row(&w, "step", &f->whole);
    put_row(&w, "operations", &p->nodes);
    put_row(&w, "update", &p->update);
    put_rows(&w, "spans", p->span, p->n_spans);
    put_rows(&w, "parts", p->part, p->n_parts);
    json_end_object(&w);
    const enum status st = json_writer_finish(&w, err);
    if (st == ST_OK)
        printf("%.*s\n", (int)line.size, (const char *)line.data);
    buffer_clear(&line);
    return st;
}

/* `steps` of the recipe in `out`, from where they are. */
static enum status run(const struct settings *s, const char *out, struct train_profile *p,
                       bool resume, int64_t until, struct error *err)
{
    struct train_options opt;
    const char **set = mem_calloc(s->set.count + 2, sizeof(const char *));
    char *where = str_format("out=%s", out);
    enum status st =
        set && where ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: bench");
    train_options_init(&opt);
    for (size_t i = 0; st == ST_OK && i < s->set.count; i++)
        set[i] = s->set.items[i];
    if (st == ST_OK) {
        set[s->set.count] = where;
        set[s->set.count + 1] = "run.checkpoint_every=1000000";
        opt.recipe = s->inputs.items[0];
        opt.assignments = set;
        opt.n_assignments = s->set.count + 2;
        opt.resume = resume;
        opt.stop_after = until;
        opt.profile = p;
        st = train_run(&opt, err);
    }
    mem_free(set);
    mem_free(where);
    return st;
}

static enum status measure(const struct settings *s, const char *out, struct error *err)
{
    struct train_profile *p = mem_calloc(2, sizeof *p);
    const int64_t all = 1 + s->steps + s->ledger;
    if (!p)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: bench");
    p[0].plain_steps = s->steps;
    p[0].ledger_steps = s->ledger;
    enum status st = run(s, out, &p[0], false, all, err);
    if (st == ST_OK)
        st = run(s, out, &p[1], true, all + 1, err);
    if (st == ST_OK && (p[0].n_ledger < s->ledger || p[1].steps < 1))
        st = error_set(err, ST_FAIL, CAUSE_ARG, "the recipe ends before step %lld: --set steps=N",
                       (long long)all + 1);
    if (st == ST_OK) {
        const struct figures f = figures_of(&p[0]);
        if (s->json)
            st = print_json(&f, &p[0], p[1].first_step, err);
        else
            print_text(&f, &p[0], p[1].first_step);
    }
    mem_free(p);
    return st;
}

static enum status measure_apart(const struct settings *s, struct error *err)
{
    struct error left = { 0 };
    if (file_exists(s->folder))
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s is there already: --folder names another",
                         s->folder);
    enum status st = measure(s, s->folder, err);
    if (file_remove_tree(s->folder, &left) != ST_OK && st == ST_OK)
        log_error(&left);
    return st;
}

int bench_train(int argc, char **argv)
{
    struct settings s = { .folder = "deem-bench-train", .steps = 10, .ledger = 5 };
    const struct option options[] = {
        { "set", OPTION_LIST, &s.set, "KEY=VALUE", "replace a value of the recipe; repeatable", 0,
          0, NULL },
        { "steps", OPTION_INT, &s.steps, "N", "steps that are only timed (10)", 1,
          PROFILE_STEPS_MAX, NULL },
        { "ledger", OPTION_INT, &s.ledger, "N", "steps with the ledger (5)", 1, 1000, NULL },
        { "folder", OPTION_TEXT, &s.folder, "FOLDER",
          "of the run, removed at the end (deem-bench-train)", 0, 0, NULL },
        { "json", OPTION_FLAG, &s.json, NULL, "one line of JSON", 0, 0, NULL },
    };
    struct error err = { 0 };
    enum status st = options_parse(argc, argv, options, sizeof options / sizeof options[0], &help,
                                   &s.inputs, &err);
    if (st == ST_OK && s.inputs.count != 1)
        st = error_set(&err, ST_FAIL, CAUSE_ARG, "want one RECIPE; --help explains");
    if (st == ST_OK)
        st = measure_apart(&s, &err);
    options_clear_list(&s.inputs);
    options_clear_list(&s.set);
    if (st == ST_FAIL)
        log_error(&err);
    return error_exit_code(err.cause);
}
