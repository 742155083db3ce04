/* trainer/train_finite.c: losses, gradients and weights that are not finite. The step is never applied, the message
 * names step, tensor and records, and no such weight is saved. */
#include <inttypes.h>
#include <math.h>

#include "core/log.h"
#include "trainer/train_private.h"

void train_forget_rows(struct train *t)
{
    t->rows.size = 0;
}

enum status train_note_rows(struct train *t, const struct batch *b, struct error *err)
{
    return buffer_append(&t->rows, b->rows, (size_t)b->B * sizeof b->rows[0], err);
}

/* "mmc4 FOLDER shard 3 sequence 17, ..." */
static enum status name_records(struct buffer *out, const struct recipe *r,
                                const struct batch_row *rows, size_t count, struct error *err)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < count && st == ST_OK; i++) {
        const struct recipe_source *s = &r->sources[rows[i].source];
        st = buffer_printf(out, err, "%s%s %s shard %u sequence %" PRIu64, i ? ", " : "", s->name,
                           s->datasets[rows[i].dataset], rows[i].shard, rows[i].index);
    }
    return st;
}

static const char *bad_loss(const struct micro_losses *l)
{
    return !isfinite(l->ntp)   ? "loss_ntp"
           : !isfinite(l->nip) ? "loss_nip"
           : !isfinite(l->csr) ? "loss_csr"
                               : "loss";
}

enum status train_note_bad_loss(const struct train *t, const struct batch *b,
                                const struct micro_losses *losses, struct error *err)
{
    struct buffer records;

    buffer_init(&records);
    const enum status st = name_records(&records, t->recipe, b->rows, (size_t)b->B, err);
    if (st == ST_OK)
        log_line(LOG_WARN, "step %" PRId64 ": %s is not finite; records: %s", t->step,
                 bad_loss(losses), (const char *)records.data);
    buffer_clear(&records);
    return st;
}

enum status train_skip(struct train *t, bool loss, const char *parameter, struct error *err)
{
    struct buffer records;
    const char *what = loss        ? "a loss"
                       : parameter ? parameter
                                   : "the norm, or a parameter of another rank,";

    t->skipped++;
    t->skipped_in_a_row++;
    buffer_init(&records);
    enum status st = name_records(&records, t->recipe, (const void *)t->rows.data,
                                  t->rows.size / sizeof(struct batch_row), err);
    const bool stop = t->recipe->nonfinite == NONFINITE_STOP;
    t->agreed = stop || t->skipped_in_a_row >= TRAIN_SKIPS_MOST;
    if (st == ST_OK && t->agreed)
        st = error_set(err, ST_FAIL, CAUSE_LIMIT,
                       "step %" PRId64 ": %s%s is not finite%s; records: %s", t->step,
                       loss ? "" : "gradient of ", what, stop ? "" : ", as in all steps before",
                       (const char *)records.data);
    else if (st == ST_OK)
        log_line(LOG_WARN, "step %" PRId64 ": %s%s is not finite: skipped; records: %s", t->step,
                 loss ? "" : "gradient of ", what, (const char *)records.data);
    buffer_clear(&records);
    return st;
}

enum status train_check_weights(struct train *t, struct error *err)
{
    for (size_t i = 0; i < t->params->count; i++) {
        const struct param *p = &t->params->list[i];
        for (int64_t e = 0; p->trainable && e < p->count; e++)
            if (!isfinite(p->value[e])) {
                t->agreed = true;
                return error_set(err, ST_FAIL, CAUSE_LIMIT,
                                 "after step %" PRId64
                                 ": %s is not finite; no checkpoint is written",
                                 t->step - 1, p->name);
            }
    }
    return ST_OK;
}
