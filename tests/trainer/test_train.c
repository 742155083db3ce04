/* tests/trainer/test_train.c: the loop on small real datasets: it learns, it repeats itself bit by bit after
 * any cut, and it refuses what would train something else. */
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/stop.h"
#include "tests/loader/fixture.h"
#include "trainer/metrics.h"
#include "trainer/micro_batch.h"
#include "trainer/train.h"

/* Sizes of tests/loader/fixture.h; %s is the folder of the test, the last one extra lines. */
static const char recipe[] =
    "stage: 1\nout: %s/run\nseed: 5\nsteps: 200\nwarmup: 2\nseq_len: 96\nimage_tokens: 2\n"
    "data:\n  a:\n    datasets: [%s/a]\n    weight: 2\n  b:\n    datasets: [%s/b]\n    weight: 1\n"
    "batch:\n  global: 4\n  micro: 2\n  pictures: 4\n"
    "image:\n  side: 32\n  decode_side: 64\n"
    "train:\n  llm: \"yes\"\n  head: \"yes\"\n"
    "optimizer:\n  lr: 3e-3\n  lr_llm: 3e-3\n  lr_cross: 3e-3\n  eps: 1e-8\n"
    "run:\n  checkpoint_every: 100\n"
    "model:\n  vocab: 306\n  vocab_base: 300\n  feature_width: 16\n  pos_grid: 4\n"
    "  dropout: 0\n  drop_path: 0\n"
    "  convnext:\n    depths: [1, 1, 1, 1]\n    dims: [4, 8, 8, 16]\n"
    "  llm:\n    hidden: 32\n    heads: 2\n    ffn: 48\n    layers: 2\n    cross_every: 2\n"
    "  mmfs:\n    heads: 2\n    points: 2\n    inner: 16\n    base: 4\n    max_images: 8\n"
    "  perceiver1:\n    hidden: 16\n    heads: 2\n    layers: 2\n    cross_every: 2\n    ffn: 24\n"
    "  perceiver2:\n    hidden: 16\n    heads: 2\n    ffn: 24\n"
    "  unet:\n    widths: [4, 8, 8, 8]\n    heads: [1, 2, 2, 2]\n    groups: 2\n"
    "  vae:\n    widths: [4, 4, 8, 8]\n    groups: 2\n"
    "  mmfs_net:\n    heads: 2\n    points: 2\n    inner: 16\n    grid: 8\n    max_images: 4\n"
    "    shapes: [8, 4, 2, 1]\n    bases: [8, 4, 2, 1]\n"
    "  mask_side: 14\n%s";

struct run_folder {
    char *folder, *recipe;
};

static struct run_folder make_place(const char *extra)
{
    const struct fixture_options a = { .shards = 2, .per_shard = 9, .seed = 1 };
    const struct fixture_options b = { .shards = 1, .per_shard = 7, .seed = 2 };
    struct run_folder p = { .folder = test_temp_folder() };
    struct error err = { 0 };
    struct buffer text;
    char *x = path_join(p.folder, "a"), *y = path_join(p.folder, "b");
    fixture_dataset(x, &a);
    fixture_dataset(y, &b);
    p.recipe = path_join(p.folder, "recipe.yaml");
    buffer_init(&text);
    char *full = str_format(recipe, p.folder, p.folder, p.folder, extra);
    assert_int_equal(file_replace(p.recipe, full, strlen(full), &err), ST_OK);
    mem_free(full);
    mem_free(x);
    mem_free(y);
    return p;
}

static void clear_place(struct run_folder *p)
{
    test_remove_tree(p->folder);
    free(p->folder);
    mem_free(p->recipe);
}

static enum status train(const struct run_folder *p, int64_t until, bool resume, const char *set,
                         struct error *err)
{
    struct train_options o;
    train_options_init(&o);
    o.recipe = p->recipe;
    o.resume = resume;
    o.stop_after = until;
    o.hash_steps = true;
    o.assignments = &set;
    o.n_assignments = set != NULL;
    return train_run(&o, err);
}

static void assert_trains(const struct run_folder *p, int64_t until, bool resume, const char *set)
{
    struct error err = { 0 };
    if (train(p, until, resume, set, &err) != ST_OK)
        fail_msg("%s", err.text);
}

static struct metrics_row *rows_of(const struct run_folder *p, size_t *count)
{
    struct metrics_row *rows = NULL;
    struct error err = { 0 };
    char *out = path_join(p->folder, "run");
    if (metrics_read(&rows, count, out, &err) != ST_OK)
        fail_msg("%s", err.text);
    mem_free(out);
    return rows;
}

static void losses_fall_and_every_step_stands_once(void **state)
{
    struct run_folder p = make_place("");
    size_t n = 0;
    (void)state;
    assert_trains(&p, 14, false, NULL);
    struct metrics_row *rows = rows_of(&p, &n);
    assert_int_equal(n, 14);
    double first = 0.0, last = 0.0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(rows[i].step, i);
        assert_true(isfinite(rows[i].loss) && rows[i].loss_nip > 0 && rows[i].loss_csr > 0);
        assert_true(rows[i].tokens > 0);
        first += i < 3 ? rows[i].loss_ntp : 0.0;
        last += i >= n - 3 ? rows[i].loss_ntp : 0.0;
    }
    assert_true(last < 0.9 * first);
    mem_free(rows);
    clear_place(&p);
}

static bool listed(const int64_t *steps, int64_t count, int64_t step)
{
    for (int64_t i = 0; i < count; i++)
        if (steps[i] == step)
            return true;
    return false;
}

/* Different steps in 1 .. steps - 1, in order, by a fixed seed. */
static void draw_cuts(int64_t *cuts, int64_t count, int64_t steps)
{
    uint64_t state = 19;
    for (int64_t n = 0; n < count;) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const int64_t step = 1 + (int64_t)((state >> 33) % (uint64_t)(steps - 1));
        int64_t at = n;
        if (listed(cuts, n, step))
            continue;
        for (; at > 0 && cuts[at - 1] > step; at--)
            cuts[at] = cuts[at - 1];
        cuts[at] = step;
        n++;
    }
}

/* Robustness.md T19; STEPS=200 CUTS=20 are its counts. Each part has another number of loader threads. */
static void a_run_that_was_cut_goes_on_bit_by_bit(void **state)
{
    static const char *const threads[] = { "loader.threads=1", "loader.threads=3",
                                           "loader.threads=2" };
    const int64_t steps = (int64_t)test_number("STEPS", 5),
                  n_cuts = (int64_t)test_number("CUTS", 3);
    struct run_folder whole = make_place(""), cut = make_place("");
    int64_t cuts[64];
    size_t n = 0, m = 0;
    (void)state;
    assert_true(steps <= 200 && n_cuts < steps && n_cuts < 64);
    draw_cuts(cuts, n_cuts, steps);
    assert_trains(&whole, steps, false, NULL);
    for (int64_t i = 0; i <= n_cuts; i++)
        assert_trains(&cut, i < n_cuts ? cuts[i] : steps, true, threads[i % 3]);
    struct metrics_row *a = rows_of(&whole, &n), *b = rows_of(&cut, &m);
    assert_int_equal(n, steps);
    assert_int_equal(m, steps);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(strlen(a[i].state), 32);
        if (strcmp(a[i].state, b[i].state) != 0)
            fail_msg("step %zu: another state than in the unbroken run", i);
    }
    print_message("%zu steps, %d cuts\n", n, (int)n_cuts);
    mem_free(a);
    mem_free(b);
    clear_place(&whole);
    clear_place(&cut);
}

static void the_same_folder_is_not_trained_over(void **state)
{
    struct run_folder p = make_place("");
    struct error err = { 0 };
    (void)state;
    assert_trains(&p, 1, true, NULL); /* nothing there yet: starts */
    assert_int_equal(train(&p, 2, false, NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    error_clear(&err);
    assert_int_equal(train(&p, 2, true, "optimizer.lr=1e-3", &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    assert_non_null(strstr(err.text, "optimizer.lr"));
    clear_place(&p);
}

static void data_that_does_not_fit_the_recipe_is_refused(void **state)
{
    static const char *const sets[] = { "image_tokens=3", "seq_len=64", "model.vocab_base=299" };
    struct run_folder p = make_place("");
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct error err = { 0 };
        assert_int_equal(train(&p, 1, false, sets[i], &err), ST_FAIL);
        assert_int_equal(err.cause, CAUSE_ARG);
    }
    clear_place(&p);
}

static void a_stop_request_leaves_a_checkpoint(void **state)
{
    struct run_folder p = make_place("");
    struct error err = { 0 };
    (void)state;
    stop_request();
    assert_int_equal(train(&p, 5, false, NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_SIGNAL);
    stop_clear();
    char *path = str_format("%s/run/checkpoints/step-000001/manifest.json", p.folder);
    assert_true(file_exists(path));
    mem_free(path);
    assert_trains(&p, 2, true, NULL);
    clear_place(&p);
}

/* What the next call number `at` (from 0) of micro_batch_run gets wrong. */
static struct {
    int at;
    bool loss, gradient, always;
} spoil;
enum status __real_micro_batch_run(struct deem *m, struct runner *r, const struct micro_batch *b,
                                   struct micro_losses *out, struct error *err);
enum status __wrap_micro_batch_run(struct deem *m, struct runner *r, const struct micro_batch *b,
                                   struct micro_losses *out, struct error *err);

enum status __wrap_micro_batch_run(struct deem *m, struct runner *r, const struct micro_batch *b,
                                   struct micro_losses *out, struct error *err)
{
    const enum status st = __real_micro_batch_run(m, r, b, out, err);
    const bool now = spoil.at-- == 0 || (spoil.always && spoil.at < 0);
    if (now && spoil.loss)
        out->total = out->nip = (double)NAN;
    if (now && spoil.gradient)
        m->p->params->gradients[7] = HUGE_VALF;
    return st;
}

static void a_number_that_is_not_finite_ends_the_run(void **state)
{
    (void)state;
    for (int loss = 0; loss < 2; loss++) {
        struct run_folder p = make_place("");
        struct error err = { 0 };
        spoil.at = 5; /* step 2 of 2 micro-batches */
        spoil.loss = loss != 0;
        spoil.gradient = !loss;
        assert_int_equal(train(&p, 20, false, "run.checkpoint_every=1", &err), ST_FAIL);
        spoil.loss = spoil.gradient = false;
        assert_int_equal(err.cause, CAUSE_LIMIT);
        assert_non_null(strstr(err.text, "step 2: "));
        assert_non_null(strstr(err.text, loss ? "a loss is not finite" : "gradient of "));
        assert_non_null(strstr(err.text, "not finite; records: "));
        assert_non_null(strstr(err.text, " shard 0 sequence "));
        char *kept = str_format("%s/run/checkpoints/step-000002/manifest.json", p.folder);
        char *bad = str_format("%s/run/checkpoints/step-000003", p.folder);
        assert_true(file_exists(kept));
        assert_false(file_exists(bad));
        mem_free(kept);
        mem_free(bad);
        assert_trains(&p, 4, true, NULL);
        clear_place(&p);
    }
}

static void a_skipped_step_is_counted_and_changes_nothing(void **state)
{
    (void)state;
    for (int loss = 0; loss < 2; loss++) {
        struct run_folder p = make_place("");
        size_t n = 0;
        spoil.at = 5;
        spoil.loss = loss != 0;
        spoil.gradient = !loss;
        assert_trains(&p, 5, false, "run.nonfinite=skip");
        spoil.loss = spoil.gradient = false;
        struct metrics_row *rows = rows_of(&p, &n);
        assert_int_equal(n, 5);
        assert_int_equal(rows[1].skipped, 0);
        assert_int_equal(rows[2].skipped, 1);
        assert_int_equal(rows[4].skipped, 1);
        assert_true(!isfinite(rows[2].grad_norm));
        /* the other micro-batch of step 2 is what its losses report */
        assert_true(isfinite(rows[2].loss) && rows[2].loss_nip > 0);
        assert_true(isfinite(rows[3].loss) && isfinite(rows[3].grad_norm));
        mem_free(rows);
        clear_place(&p);
    }
}

static void steps_that_are_all_skipped_end_the_run(void **state)
{
    struct run_folder p = make_place("");
    struct error err = { 0 };
    size_t n = 0;
    const char *const set[] = { "run.nonfinite=skip", "steps=1000", "batch.global=2" };
    struct train_options o;
    (void)state;
    spoil.at = -1;
    spoil.loss = spoil.always = true;
    train_options_init(&o);
    o.recipe = p.recipe;
    o.assignments = set;
    o.n_assignments = 3;
    assert_int_equal(train_run(&o, &err), ST_FAIL);
    spoil.loss = spoil.always = false;
    assert_int_equal(err.cause, CAUSE_LIMIT);
    assert_non_null(strstr(err.text, "step 99: "));
    struct metrics_row *rows = rows_of(&p, &n);
    assert_int_equal(n, 99);
    assert_true(isnan(rows[50].loss) && isnan(rows[50].loss_csr));
    mem_free(rows);
    clear_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_fall_and_every_step_stands_once),
        cmocka_unit_test(a_run_that_was_cut_goes_on_bit_by_bit),
        cmocka_unit_test(the_same_folder_is_not_trained_over),
        cmocka_unit_test(data_that_does_not_fit_the_recipe_is_refused),
        cmocka_unit_test(a_stop_request_leaves_a_checkpoint),
        cmocka_unit_test(a_number_that_is_not_finite_ends_the_run),
        cmocka_unit_test(a_skipped_step_is_counted_and_changes_nothing),
        cmocka_unit_test(steps_that_are_all_skipped_end_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
