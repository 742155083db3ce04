/* trainer/train_step.c: one optimizer step. Gradients add up over the rank's micro-batches; the optimizer
 * sums them over the ranks; every reported number is a mean over the micro-batches of the global batch. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "trainer/cost.h"
#include "trainer/peak.h"
#include "trainer/train_private.h"
#include "trainer/train_profile.h"

static int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* The shape of this batch's program: a function of the batch alone, so that a resumed run computes every
 * step with the program of the unbroken one. Lists are rounded up to few capacities. */
static void shape_of(struct deem_shape *out, const struct train *t, const struct batch *b)
{
    micro_batch_shape(out, t->input.layout, t->recipe->batch_pictures);
    out->I = b->I_padded > 0 ? b->I_padded : 1;
    out->passes = out->passes < out->I ? out->passes : out->I;
    out->context = round_up(out->context, (out->L + 3) / 4);
    out->pairs = round_up(out->pairs, out->B * out->L);
}

/* What a step adds up over micro-batches and ranks, in this order on the wire. */
enum sum {
    SUM_LOSS,
    SUM_NTP,
    SUM_NIP,
    SUM_CSR,
    SUM_BAD, /* micro-batches whose loss is not finite: in none of the four above */
    SUM_TOKENS,
    SUM_IMAGES,
    SUM_DAMAGED,
    SUM_WAIT,
    SUM_FLOPS,
    SUMS
};

static void add_losses(double *sums, const struct micro_losses *losses)
{
    sums[SUM_LOSS] += losses->total;
    sums[SUM_NTP] += losses->ntp;
    sums[SUM_NIP] += losses->nip;
    sums[SUM_CSR] += losses->csr;
}

static double picture_runs(const struct deem *m, const struct micro_losses *losses)
{
    const int64_t runs = (losses->passes + m->shape.passes - 1) / m->shape.passes;
    return (double)runs;
}

static enum status run_micro_batch(struct train *t, const struct batch *b, double *sums,
                                   struct error *err)
{
    struct deem *model = NULL;
    struct runner *runner = NULL;
    struct deem_shape shape;
    struct micro_losses losses = { 0 };
    enum status st = train_input_fill(&t->input, b, t->recipe, &t->config, err);

    if (st == ST_OK) {
        shape_of(&shape, t, b);
        st = deem_cache_get(t->programs, &shape, &model, &runner, err);
    }
    struct train_profile *ledger = profile_ledger(t->opt->profile) ? t->opt->profile : NULL;
    if (st == ST_OK && ledger)
        st = profile_watch(model, runner, err);
    if (st == ST_OK)
        st = micro_batch_run(model, runner, &t->input.batch, &losses, err);
    if (st == ST_OK && ledger)
        st = profile_book(ledger, model, runner, picture_runs(model, &losses), t->params, err);
    if (st != ST_OK)
        return st;
    st = train_note_rows(t, b, err);
    if (st == ST_OK && isfinite(losses.total)) {
        add_losses(sums, &losses);
    } else if (st == ST_OK) {
        sums[SUM_BAD] += 1.0;
        st = train_note_bad_loss(t, b, &losses, err);
    }
    for (int64_t row = 0; row < b->B; row++) {
        sums[SUM_TOKENS] += b->rows[row].length;
        sums[SUM_DAMAGED] += b->rows[row].taken != b->rows[row].sequence;
    }
    sums[SUM_IMAGES] += (double)b->I;
    sums[SUM_WAIT] += b->wait_seconds;
    sums[SUM_FLOPS] +=
        cost_model_flops(model->p, (double)losses.passes / (double)model->shape.passes);
    return st;
}

/* Pictures of the step's first micro-batch, where this step has any. */
static enum status show_pictures(struct train *t, struct error *err)
{
    const int64_t every = t->recipe->pictures_every;
    const double begin = clock_seconds();
    if (!t->metrics || every == 0 || (t->step + 1) % every != 0)
        return ST_OK;
    const enum status st = train_pictures(t, err);
    t->aside_seconds += clock_seconds() - begin;
    return st;
}

static enum status run_micro_batches(struct train *t, double *sums, struct error *err)
{
    const int64_t own = recipe_micro_batches(t->recipe) / dist_size(t->dist);
    enum status st = ST_OK;

    train_forget_rows(t);
    if (placement_clear_gradients(t->where, err) != ST_OK)
        return ST_FAIL;
    for (int64_t i = 0; i < own && st == ST_OK; i++) {
        const struct batch *b = NULL;
        st = loader_next(t->loader, &b, err);
        if (st == ST_OK) {
            st = run_micro_batch(t, b, sums, err);
            if (st == ST_OK && i == 0)
                st = show_pictures(t, err);
            loader_release(t->loader, b);
        }
    }
    return st;
}

/* The update. `bad` micro-batches have a loss that is not finite. That, or such a gradient, changes nothing on
 * any rank, and then the recipe decides. */
static enum status update(struct train *t, double bad, double factor, struct metrics_row *row,
                          struct error *err)
{
    struct optimizer_report report = { .grad_norm = (double)NAN };
    const double scale = 1.0 / (double)recipe_micro_batches(t->recipe);
    enum status st = ST_SKIP;

    if (bad == 0.0) {
        const struct runner_seconds begin = profile_now();
        st = optimizer_step(t->optimizer, scale, factor, &report, err);
        if (profile_ledger(t->opt->profile))
            profile_update(t->opt->profile, begin);
    }
    row->grad_norm = report.grad_norm;
    if (st == ST_SKIP) {
        error_clear(err);
        return train_skip(t, bad > 0.0, report.bad, err);
    }
    t->skipped_in_a_row = 0;
    return st;
}

/* Means over the micro-batches whose loss is finite; NaN where none is. */
static void report_losses(struct metrics_row *row, const double *sums, double micro_batches)
{
    const double finite = micro_batches - sums[SUM_BAD], M = finite > 0.0 ? finite : (double)NAN;
    row->loss = sums[SUM_LOSS] / M;
    row->loss_ntp = sums[SUM_NTP] / M;
    row->loss_nip = sums[SUM_NIP] / M;
    row->loss_csr = sums[SUM_CSR] / M;
}

enum status train_step(struct train *t, struct metrics_row *row, struct error *err)
{
    const double begin = clock_seconds();
    const double factor = schedule_factor(t->step, t->recipe->warmup, t->recipe->steps);
    double sums[SUMS] = { 0.0 };

    t->aside_seconds = 0.0;
    if (t->opt->profile)
        profile_step_begin(t->opt->profile);
    *row = (struct metrics_row){ .step = t->step };
    enum status st = run_micro_batches(t, sums, err);
    if (st != ST_OK)
        return st;
    const double computed = clock_seconds();
    t->aside_seconds += t->opt->profile ? t->opt->profile->aside.wall : 0.0;
    const double busy = computed - begin - t->aside_seconds;
    int64_t spread[2] = { (int64_t)(busy * 1e6), -(int64_t)(busy * 1e6) };
    st = dist_all_sum(t->dist, sums, SUMS, err);
    if (st == ST_OK)
        st = dist_all_max(t->dist, spread, 2, err);
    if (st == ST_OK)
        st = update(t, sums[SUM_BAD], factor, row, err);
    t->damaged += (int64_t)sums[SUM_DAMAGED];
    report_losses(row, sums, (double)recipe_micro_batches(t->recipe));
    row->lr = t->recipe->lr * t->recipe->lr_scale * factor;
    row->tokens = (int64_t)sums[SUM_TOKENS];
    row->images = (int64_t)sums[SUM_IMAGES];
    row->loader_wait_seconds = sums[SUM_WAIT] / dist_size(t->dist);
    row->rank_spread_seconds = (double)(spread[0] + spread[1]) * 1e-6;
    row->skipped = t->skipped;
    row->damaged = t->damaged;
    row->collective_seconds = clock_seconds() - computed;
    row->seconds = clock_seconds() - begin - t->aside_seconds;
    row->mfu = peak_share(sums[SUM_FLOPS], row->seconds, t->peak);
    return st;
}
