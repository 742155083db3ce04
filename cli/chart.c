/* cli/chart.c: see chart.h. */
#include "cli/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL = 10, MAX_COLUMNS = 200, MAX_ROWS = 60, MARGIN = 56 };

struct range {
    double x0, x1, y0, y1;
};

static bool finite_at(const struct chart_line *l, size_t i)
{
    return isfinite(l->x[i]) && isfinite(l->y[i]);
}

static struct range range_of(const struct chart_line *lines, size_t n)
{
    struct range r = { HUGE_VAL, -HUGE_VAL, HUGE_VAL, -HUGE_VAL };
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < lines[k].count; i++) {
            if (!finite_at(&lines[k], i))
                continue;
            r.x0 = fmin(r.x0, lines[k].x[i]);
            r.x1 = fmax(r.x1, lines[k].x[i]);
            r.y0 = fmin(r.y0, lines[k].y[i]);
            r.y1 = fmax(r.y1, lines[k].y[i]);
        }
    if (!isfinite(r.x0))
        r = (struct range){ 0, 1, 0, 1 };
    if (!(r.x1 > r.x0))
        r.x1 = r.x0 + 1;
    if (!(r.y1 > r.y0))
        r.y1 = r.y0 + fmax(fabs(r.y0) * 0.1, 1e-9);
    return r;
}

/* Dot (x, y) of a canvas of 2 x 4 dots a character; y from the top. */
static void set_dot(unsigned char canvas[MAX_ROWS][MAX_COLUMNS], int x, int y)
{
    static const unsigned char bits[4][2] = {
        { 0x01, 0x08 }, { 0x02, 0x10 }, { 0x04, 0x20 }, { 0x40, 0x80 }
    };
    canvas[y / 4][x / 2] |= bits[y % 4][x % 2];
}

static void draw(unsigned char canvas[MAX_ROWS][MAX_COLUMNS], const struct chart_line *l,
                 const struct range *r, int dots_x, int dots_y)
{
    int last_x = -1, last_y = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (!finite_at(l, i))
            continue;
        const int x = (int)lround((l->x[i] - r->x0) / (r->x1 - r->x0) * (dots_x - 1));
        const int y = (int)lround((r->y1 - l->y[i]) / (r->y1 - r->y0) * (dots_y - 1));
        const int steps = last_x < 0                          ? 0
                          : abs(x - last_x) > abs(y - last_y) ? abs(x - last_x)
                                                              : abs(y - last_y);
        for (int s = 0; s <= steps; s++)
            set_dot(canvas, last_x < 0 || steps == 0 ? x : last_x + (x - last_x) * s / steps,
                    last_x < 0 || steps == 0 ? y : last_y + (y - last_y) * s / steps);
        last_x = x;
        last_y = y;
    }
}

enum status chart_text(struct buffer *out, const struct chart_line *line, int columns, int rows,
                       struct error *err)
{
    unsigned char canvas[MAX_ROWS][MAX_COLUMNS] = { { 0 } };
    const struct range r = range_of(line, 1);
    const int wide = columns - LABEL < 8             ? 8
                     : columns - LABEL > MAX_COLUMNS ? MAX_COLUMNS
                                                     : columns - LABEL;
    const int high = rows - 2 < 3 ? 3 : rows - 2 > MAX_ROWS ? MAX_ROWS : rows - 2;
    enum status st = buffer_printf(out, err, "%s\n", line->name);

    draw(canvas, line, &r, 2 * wide, 4 * high);
    for (int y = 0; y < high && st == ST_OK; y++) {
        char label[LABEL + 1] = "";
        if (y == 0 || y == high - 1)
            snprintf(label, sizeof label, "%9.4g", y == 0 ? r.y1 : r.y0);
        st = buffer_printf(out, err, "%*s ", LABEL - 1, label);
        for (int x = 0; x < wide && st == ST_OK; x++) {
            const unsigned char c = canvas[y][x]; /* U+2800 + c in UTF-8 */
            const char utf8[3] = { (char)0xe2, (char)(0xa0 | c >> 6), (char)(0x80 | (c & 0x3f)) };
            st = buffer_append(out, utf8, sizeof utf8, err);
        }
        if (st == ST_OK)
            st = buffer_append_str(out, "\n", err);
    }
    return st == ST_OK ? buffer_printf(out, err, "%*s%-*.6g%*.6g\n", LABEL, "", wide / 2, r.x0,
                                       wide - wide / 2, r.x1)
                       : st;
}

static const char *const colours[] = { "#3b7dd8", "#d8683b", "#2f9e63", "#a04fc4", "#b58900" };

static enum status svg_line(struct buffer *out, const struct chart_line *l, const struct range *r,
                            const char *colour, int width, int height, struct error *err)
{
    enum status st = buffer_printf(
        out, err, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colour);
    for (size_t i = 0; i < l->count && st == ST_OK; i++)
        if (finite_at(l, i))
            st =
                buffer_printf(out, err, "%.2f,%.2f ",
                              MARGIN + (l->x[i] - r->x0) / (r->x1 - r->x0) * (width - 2 * MARGIN),
                              MARGIN + (r->y1 - l->y[i]) / (r->y1 - r->y0) * (height - 2 * MARGIN));
    return st == ST_OK ? buffer_append_str(out, "\"/>\n", err) : st;
}

static enum status svg_text(struct buffer *out, const char *text, struct error *err)
{
    enum status st = ST_OK;
    for (; *text && st == ST_OK; text++)
        st = strchr("<>&\"", *text) ? buffer_printf(out, err, "&#%d;", *text)
                                    : buffer_append(out, text, 1, err);
    return st;
}

static enum status svg_axes(struct buffer *out, const char *title, const struct range *r, int width,
                            int height, struct error *err)
{
    const int right = width - MARGIN, bottom = height - MARGIN;
    enum status st =
        buffer_printf(out, err,
                      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                      "font-family=\"sans-serif\" font-size=\"12\" fill=\"#808080\">\n"
                      "<path d=\"M%d %d V%d H%d\" fill=\"none\" stroke=\"#808080\"/>\n",
                      width, height, MARGIN, MARGIN, bottom, right);
    if (st == ST_OK)
        st = buffer_printf(out, err, "<text x=\"%d\" y=\"24\" font-size=\"15\">", MARGIN);
    if (st == ST_OK)
        st = svg_text(out, title, err);
    if (st == ST_OK)
        st = buffer_append_str(out, "</text>\n", err);
    for (int i = 0; i <= 4 && st == ST_OK; i++)
        st = buffer_printf(out, err,
                           "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.4g</text>\n"
                           "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n",
                           MARGIN - 6, bottom - (bottom - MARGIN) * i / 4 + 4,
                           r->y0 + (r->y1 - r->y0) * i / 4, MARGIN + (right - MARGIN) * i / 4,
                           bottom + 18, r->x0 + (r->x1 - r->x0) * i / 4);
    return st;
}

enum status chart_svg(struct buffer *out, const char *title, const struct chart_line *lines,
                      size_t n_lines, int width, int height, struct error *err)
{
    const struct range r = range_of(lines, n_lines);
    enum status st = svg_axes(out, title, &r, width, height, err);

    for (size_t i = 0; i < n_lines && st == ST_OK; i++) {
        const char *colour = colours[i % (sizeof colours / sizeof colours[0])];
        st = svg_line(out, &lines[i], &r, colour, width, height, err);
        if (st == ST_OK)
            st = buffer_printf(out, err, "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n",
                               MARGIN + 110 * (int)i, MARGIN - 10, colour, lines[i].name);
    }
    return st == ST_OK ? buffer_append_str(out, "</svg>\n", err) : st;
}
