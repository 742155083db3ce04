/* cli/chart.h: line charts as text (braille dots) and as SVG. Values that are not finite are left out. */
#ifndef DEEM_CLI_CHART_H
#define DEEM_CLI_CHART_H

#include <stddef.h>

#include "core/error.h"
#include "core/mem.h"

struct chart_line {
    const char *name;
    const double *x, *y; /* `count` points, x ascending */
    size_t count;
};
/* `columns` x `rows` characters, axis labels included. */
enum status chart_text(struct buffer *out, const struct chart_line *line, int columns, int rows,
                       struct error *err);
/* All lines over one another with a legend; readable on dark and light pages. */
enum status chart_svg(struct buffer *out, const char *title, const struct chart_line *lines,
                      size_t n_lines, int width, int height, struct error *err);

#endif
