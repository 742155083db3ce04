/* cli/chart.h: line charts as text (braille dots) and as SVG. Values that are not finite are left out, on a
 * logarithmic axis those that are not positive, too. */
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

enum chart_scale { CHART_AUTO, CHART_LINEAR, CHART_LOG }; /* auto: log from a ratio of 30 on */

struct chart_options {
    const char *title, *x_label, *y_label;
    enum chart_scale scale;
    size_t smooth;     /* points on each side that the mean runs over; 0: as they are */
    int width, height; /* text: characters, labels included; SVG: pixels */
};

/* One line; below its name the last and the least value. */
enum status chart_text(struct buffer *out, const struct chart_line *line,
                       const struct chart_options *opt, struct error *err);
/* All lines over one another: each as it is, pale, and its mean; axes, grid, legend. Follows the reader's
 * choice of dark or light. */
enum status chart_svg(struct buffer *out, const struct chart_line *lines, size_t n_lines,
                      const struct chart_options *opt, struct error *err);

#endif
