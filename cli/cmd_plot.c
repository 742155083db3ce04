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
    "deem plot OUT [--svg FILE]",
    "Draws loss curves of a training run from OUT/metrics.jsonl.",
    "  deem plot runs/stage1\n  deem plot runs/stage1 --svg loss.svg\n",
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

static enum status plot(const char *folder, const char *svg, struct error *err)
{
    struct chart_line lines[CURVES];
    struct metrics_row *rows = NULL;
    double *columns = NULL;
    size_t count = 0;
    struct buffer text;
    enum status st = metrics_read(&rows, &count, folder, err);

    buffer_init(&text);
    if (st == ST_OK && count == 0)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s/metrics.jsonl: no step yet", folder);
    if (st == ST_OK)
        st = make_curves(lines, &columns, rows, count, err);
    if (st == ST_OK && svg) {
        st = chart_svg(&text, folder, lines, CURVES, 900, 480, err);
        if (st == ST_OK)
            st = file_replace(svg, text.data, text.size, err);
    } else if (st == ST_OK) {
        for (int c = 0; c < CURVES && st == ST_OK; c++)
            st = chart_text(&text, &lines[c], 100, c == 0 ? 16 : 9, err);
        if (st == ST_OK)
            fwrite(text.data, 1, text.size, stdout);
    }
    mem_free(rows);
    mem_free(columns);
    buffer_clear(&text);
    return st;
}

int cmd_plot(int argc, char **argv)
{
    const char *svg = NULL;
    struct option_list inputs = { 0 };
    struct error err = { 0 };
    const struct option options[] = {
        { "svg", OPTION_TEXT, &svg, "FILE", "write an SVG picture instead of drawing here", 0, 0,
          NULL },
    };
    enum status st = options_parse(argc, argv, options, 1, &help, &inputs, &err);

    if (st == ST_OK && inputs.count != 1)
        st = error_set(&err, ST_FAIL, CAUSE_ARG, "want one OUT folder; --help explains");
    if (st == ST_OK)
        st = plot(inputs.items[0], svg, &err);
    options_clear_list(&inputs);
    if (st == ST_FAIL)
        log_error(&err);
    return error_exit_code(err.cause);
}
