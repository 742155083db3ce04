/* cli/cmd_plot.c: `deem plot OUT`: the curves of a run, in the terminal and as SVG. */
#include <stdio.h>

#include "cli/chart.h"
#include "cli/command.h"
#include "cli/options.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "trainer/metrics.h"

static const struct command_help help = {
    "deem plot OUT [--svg FILE] [OPTION...]",
    "Draws loss curves of a training run from OUT/metrics.jsonl: here, or as a picture. What is 0 "
    "all along\n"
    "is left out.",
    "  deem plot runs/stage1\n"
    "  deem plot runs/stage1 --smooth 25 --scale log\n"
    "  deem plot runs/stage1 --svg loss.svg\n",
};

enum { CURVES = 4 };
static const char *const names[CURVES] = { "loss", "loss_ntp", "loss_nip", "loss_csr" };

static double curve_value(const struct metrics_row *row, int curve)
{
    return curve == 0   ? row->loss
           : curve == 1 ? row->loss_ntp
           : curve == 2 ? row->loss_nip
                        : row->loss_csr;
}

/* Fills the x and y columns from the rows. */
static enum status make_curves(struct chart_line *lines, double **columns,
                               const struct metrics_row *rows, size_t count, struct error *err)
{
    *columns = mem_calloc(count * (CURVES + 1) + 1, sizeof **columns);
    if (!*columns)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %zu steps", count);
    for (size_t i = 0; i < count; i++)
        (*columns)[i] = (double)rows[i].step;
    for (int c = 0; c < CURVES; c++) {
        double *y = *columns + count * (size_t)(c + 1);
        for (size_t i = 0; i < count; i++)
            y[i] = curve_value(&rows[i], c);
        lines[c] = (struct chart_line){ names[c], *columns, y, count };
    }
    return ST_OK;
}

/* Lines of losses that the run has, in front; how many. */
static size_t drop_absent(struct chart_line lines[CURVES])
{
    size_t n = 0;
    for (int c = 0; c < CURVES; c++) {
        bool any = false;
        for (size_t i = 0; i < lines[c].count; i++)
            any |= lines[c].y[i] != 0.0;
        if (any)
            lines[n++] = lines[c];
    }
    return n;
}

struct wishes {
    const char *svg;
    int64_t smooth; /* steps that the mean runs over; 0: a thirtieth of the run */
    int scale;
};

static enum status draw(const struct wishes *w, const struct chart_line *lines, size_t n,
                        const char *folder, struct error *err)
{
    struct buffer text;
    struct chart_options opt = { .title = folder,
                                 .x_label = "optimizer step",
                                 .y_label = "loss",
                                 .scale = (enum chart_scale)w->scale };
    const size_t steps = w->smooth > 0 ? (size_t)w->smooth : lines[0].count / 30;
    enum status st = ST_OK;

    buffer_init(&text);
    opt.smooth = steps / 2;
    if (w->svg) {
        opt.width = 900;
        opt.height = 480;
        st = chart_svg(&text, lines, n, &opt, err);
        if (st == ST_OK)
            st = file_replace(w->svg, text.data, text.size, err);
    }
    for (size_t c = 0; c < n && !w->svg && st == ST_OK; c++) {
        opt.width = 100;
        opt.height = c == 0 ? 16 : 10;
        st = chart_text(&text, &lines[c], &opt, err);
    }
    if (st == ST_OK && !w->svg)
        fwrite(text.data, 1, text.size, stdout);
    buffer_clear(&text);
    return st;
}

static enum status plot(const char *folder, const struct wishes *w, struct error *err)
{
    struct chart_line lines[CURVES];
    struct metrics_row *rows = NULL;
    double *columns = NULL;
    size_t count = 0;
    enum status st = metrics_read(&rows, &count, folder, err);

    if (st == ST_OK && count == 0)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s/metrics.jsonl: no step yet", folder);
    if (st == ST_OK)
        st = make_curves(lines, &columns, rows, count, err);
    if (st == ST_OK) {
        const size_t n = drop_absent(lines);
        st = n > 0 ? draw(w, lines, n, folder, err)
                   : error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: every loss is 0", folder);
    }
    mem_free(rows);
    mem_free(columns);
    return st;
}

int cmd_plot(int argc, char **argv)
{
    static const char *const scales[] = { "auto", "linear", "log", NULL };
    struct wishes w = { 0 };
    struct option_list inputs = { 0 };
    struct error err = { 0 };
    const struct option options[] = {
        { "svg", OPTION_TEXT, &w.svg, "FILE", "write an SVG picture instead of drawing here", 0, 0,
          NULL },
        { "smooth", OPTION_INT, &w.smooth, "N",
          "steps that the mean runs over; 1: none (a thirtieth of the run)", 1, 1000000, NULL },
        { "scale", OPTION_CHOICE, &w.scale, "KIND",
          "auto (default: log where values lie far apart), linear or log", 0, 0, scales },
    };
    enum status st = options_parse(argc, argv, options, sizeof options / sizeof options[0], &help,
                                   &inputs, &err);

    if (st == ST_OK && inputs.count != 1)
        st = error_set(&err, ST_FAIL, CAUSE_ARG, "want one OUT folder; --help explains");
    if (st == ST_OK)
        st = plot(inputs.items[0], &w, &err);
    options_clear_list(&inputs);
    if (st == ST_FAIL)
        log_error(&err);
    return error_exit_code(err.cause);
}
