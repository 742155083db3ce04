/* cli/chart.c: see chart.h. */
#include "cli/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL = 10, MAX_COLUMNS = 200, MAX_ROWS = 60, TICKS_MAX = 12, LINES_MAX = 8 };
enum { LEFT = 68, RIGHT = 18, TOP = 64, BOTTOM = 52 }; /* margins of the SVG, pixels */
static const double log_from = 30.0;

/* What is drawn: y is the logarithm where `log`. */
struct axes {
    double x0, x1, y0, y1;
    bool log;
};

static double at(const struct axes *a, double y)
{
    return a->log ? (y > 0.0 ? log10(y) : (double)NAN) : y;
}

static bool usable(const struct axes *a, const struct chart_line *l, size_t i)
{
    return isfinite(l->x[i]) && isfinite(at(a, l->y[i]));
}

/* Mean over the points around i, of those that can be drawn. */
static double mean_at(const struct axes *a, const struct chart_line *l, size_t i, size_t around)
{
    const size_t from = i > around ? i - around : 0;
    const size_t to = i + around < l->count ? i + around + 1 : l->count;
    double sum = 0.0;
    size_t n = 0;
    for (size_t k = from; k < to; k++)
        if (usable(a, l, k)) {
            sum += l->y[k];
            n++;
        }
    return n > 0 ? at(a, sum / (double)n) : (double)NAN;
}

static bool wants_log(const struct chart_line *lines, size_t n)
{
    double least = HUGE_VAL, most = 0.0;
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < lines[k].count; i++) {
            const double y = lines[k].y[i];
            if (isfinite(y) && y <= 0.0)
                return false;
            if (isfinite(y)) {
                least = fmin(least, y);
                most = fmax(most, y);
            }
        }
    return most >= log_from * least;
}

static struct axes axes_of(const struct chart_line *lines, size_t n, enum chart_scale scale)
{
    struct axes a = { HUGE_VAL, -HUGE_VAL, HUGE_VAL, -HUGE_VAL, false };
    a.log = scale == CHART_LOG || (scale == CHART_AUTO && wants_log(lines, n));
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < lines[k].count; i++) {
            if (!usable(&a, &lines[k], i))
                continue;
            const double y = at(&a, lines[k].y[i]);
            a.x0 = fmin(a.x0, lines[k].x[i]);
            a.x1 = fmax(a.x1, lines[k].x[i]);
            a.y0 = fmin(a.y0, y);
            a.y1 = fmax(a.y1, y);
        }
    if (!isfinite(a.x0))
        a = (struct axes){ 0, 1, 0, 1, a.log };
    if (!(a.x1 > a.x0))
        a.x1 = a.x0 + 1;
    const double margin = a.y1 > a.y0 ? 0.03 * (a.y1 - a.y0) : fmax(fabs(a.y0) * 0.1, 1e-9);
    a.y0 -= margin;
    a.y1 += margin;
    return a;
}

/* Round values inside [low, high]: 1, 2 or 5 times a power of ten apart. */
static int ticks(double out[TICKS_MAX], double low, double high, int wanted)
{
    const double raw = (high - low) / wanted, power = pow(10.0, floor(log10(raw)));
    const double lead = raw / power;
    const double step = power * (lead < 1.5 ? 1.0 : lead < 3.5 ? 2.0 : lead < 7.5 ? 5.0 : 10.0);
    int n = 0;
    for (double k = ceil(low / step - 1e-9); n < TICKS_MAX && k * step <= high + 1e-9 * step; k++)
        out[n++] = k * step + 0.0; /* never -0 */
    return n;
}

/* The same on the logarithmic axis, as logarithms: powers of ten, and 2 and 5 times where there are few. */
static int log_ticks(double out[TICKS_MAX], double low, double high)
{
    static const double leads[] = { 1.0, 2.0, 5.0 };
    const int per_decade = high - low > 3.0 ? 1 : 3;
    int n = 0;
    for (int d = (int)floor(low); d <= high; d++)
        for (int i = 0; i < per_decade; i++) {
            const double t = d + log10(leads[i]);
            if (t >= low - 1e-9 && t <= high + 1e-9 && n < TICKS_MAX)
                out[n++] = t;
        }
    return n;
}

static int y_ticks(double out[TICKS_MAX], const struct axes *a, int wanted)
{
    const int n = a->log ? log_ticks(out, a->y0, a->y1) : ticks(out, a->y0, a->y1, wanted);
    return n > 0 ? n : ticks(out, a->y0, a->y1, wanted);
}

static double value_of(const struct axes *a, double y)
{
    return a->log ? pow(10.0, y) : y;
}

/* ---- text ---- */

typedef unsigned char canvas[MAX_ROWS][MAX_COLUMNS];

/* Dot (x, y) of a canvas of 2 x 4 dots a character; y from the top. */
static void set_dot(canvas c, int x, int y)
{
    static const unsigned char bits[4][2] = {
        { 0x01, 0x08 }, { 0x02, 0x10 }, { 0x04, 0x20 }, { 0x40, 0x80 }
    };
    c[y / 4][x / 2] |= bits[y % 4][x % 2];
}

static void draw(canvas c, const struct chart_line *l, const struct axes *a, size_t around,
                 int dots_x, int dots_y)
{
    int last_x = -1, last_y = 0;
    for (size_t i = 0; i < l->count; i++) {
        const double v = usable(a, l, i) ? mean_at(a, l, i, around) : (double)NAN;
        if (!isfinite(v))
            continue;
        const int x = (int)lround((l->x[i] - a->x0) / (a->x1 - a->x0) * (dots_x - 1));
        const int y = (int)lround((a->y1 - v) / (a->y1 - a->y0) * (dots_y - 1));
        const int steps = last_x < 0                          ? 0
                          : abs(x - last_x) > abs(y - last_y) ? abs(x - last_x)
                                                              : abs(y - last_y);
        for (int s = 0; s <= steps; s++)
            set_dot(c, last_x < 0 || steps == 0 ? x : last_x + (x - last_x) * s / steps,
                    last_x < 0 || steps == 0 ? y : last_y + (y - last_y) * s / steps);
        last_x = x;
        last_y = y;
    }
}

static enum status put_head(struct buffer *out, const struct chart_line *l, const struct axes *a,
                            struct error *err)
{
    size_t last = l->count, least = l->count;
    for (size_t i = 0; i < l->count; i++)
        if (usable(a, l, i)) {
            last = i;
            least = least == l->count || l->y[i] < l->y[least] ? i : least;
        }
    if (last == l->count)
        return buffer_printf(out, err, "%s: nothing to draw\n", l->name);
    return buffer_printf(out, err, "%s: %.4g at the end, least %.4g at %.6g%s\n", l->name,
                         l->y[last], l->y[least], l->x[least], a->log ? " (logarithmic)" : "");
}

/* Labels of the rows that hold a tick, the nearest row each. */
static void label_rows(char labels[MAX_ROWS][LABEL + 1], const struct axes *a, int high)
{
    double t[TICKS_MAX];
    const int n = y_ticks(t, a, high / 4 > 2 ? high / 4 : 2);
    for (int i = 0; i < n; i++) {
        const int row = (int)((a->y1 - t[i]) / (a->y1 - a->y0) * (high - 1) + 0.5);
        snprintf(labels[row], LABEL + 1, "%.4g", value_of(a, t[i]));
    }
}

static int between(int low, int v, int high)
{
    return v < low ? low : v > high ? high : v;
}

enum status chart_text(struct buffer *out, const struct chart_line *line,
                       const struct chart_options *opt, struct error *err)
{
    canvas c = { { 0 } };
    char labels[MAX_ROWS][LABEL + 1] = { "" };
    const struct axes a = axes_of(line, 1, opt->scale);
    const int wide = between(8, opt->width - LABEL - 1, MAX_COLUMNS);
    const int high = between(3, opt->height - 2, MAX_ROWS);
    enum status st = put_head(out, line, &a, err);

    draw(c, line, &a, opt->smooth, 2 * wide, 4 * high);
    label_rows(labels, &a, high);
    for (int y = 0; y < high && st == ST_OK; y++) {
        st = buffer_printf(out, err, "%*s %s", LABEL - 1, labels[y], labels[y][0] ? "┤" : "│");
        for (int x = 0; x < wide && st == ST_OK; x++) {
            const unsigned char d = c[y][x]; /* U+2800 + d in UTF-8 */
            const char utf8[3] = { (char)0xe2, (char)(0xa0 | d >> 6), (char)(0x80 | (d & 0x3f)) };
            st = buffer_append(out, utf8, sizeof utf8, err);
        }
        if (st == ST_OK)
            st = buffer_append_str(out, "\n", err);
    }
    const int half = wide / 2;
    return st == ST_OK ? buffer_printf(out, err, "%*s %-*.6g%s%*.6g\n", LABEL, "",
                                       half - (int)strlen(opt->x_label) / 2, a.x0, opt->x_label,
                                       wide - half - ((int)strlen(opt->x_label) + 1) / 2, a.x1)
                       : st;
}

/* ---- SVG ---- */

/* Colours that keep apart for most eyes (Okabe and Ito), and on both backgrounds. */
static const char *const colours[LINES_MAX] = { "#888888", "#0f8fd0", "#d55e00", "#009e73",
                                                "#cc79a7", "#b58900", "#6a5acd", "#8b4513" };

static const char style[] =
    "<style>\n"
    ".paper{fill:#ffffff}.ink{fill:#303030}.soft{fill:#606060}.grid{stroke:#e4e4e4}"
    ".axis{stroke:#909090}\n"
    "@media(prefers-color-scheme:dark){.paper{fill:#16181c}.ink{fill:#e6e6e6}.soft{fill:#a8a8a8}"
    ".grid{stroke:#30343a}.axis{stroke:#707070}}\n"
    "</style>\n";

struct sheet {
    struct buffer *out;
    const struct chart_options *opt;
    struct axes a;
    int right, bottom; /* of the plot, pixels */
    enum status st;
    struct error *err;
};

static double px(const struct sheet *s, double x)
{
    return LEFT + (x - s->a.x0) / (s->a.x1 - s->a.x0) * (s->right - LEFT);
}

static double py(const struct sheet *s, double y)
{
    return TOP + (s->a.y1 - y) / (s->a.y1 - s->a.y0) * (s->bottom - TOP);
}

#define PUT(s, ...)                                                                                \
    do {                                                                                           \
        if ((s)->st == ST_OK)                                                                      \
            (s)->st = buffer_printf((s)->out, (s)->err, __VA_ARGS__);                              \
    } while (0)

static void put_text(struct sheet *s, const char *text)
{
    for (; *text && s->st == ST_OK; text++)
        s->st = strchr("<>&\"", *text) ? buffer_printf(s->out, s->err, "&#%d;", *text)
                                       : buffer_append(s->out, text, 1, s->err);
}

static void put_axes(struct sheet *s)
{
    double t[TICKS_MAX];
    const int middle = (TOP + s->bottom) / 2;
    int n = y_ticks(t, &s->a, 6);
    for (int i = 0; i < n; i++)
        PUT(s,
            "<path class=\"grid\" d=\"M%d %.1fH%d\"/>"
            "<text class=\"soft\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n",
            LEFT, py(s, t[i]), s->right, LEFT - 8, py(s, t[i]) + 4, value_of(&s->a, t[i]));
    n = ticks(t, s->a.x0, s->a.x1, 8);
    for (int i = 0; i < n; i++)
        PUT(s,
            "<path class=\"grid\" d=\"M%.1f %dV%d\"/>"
            "<text class=\"soft\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n",
            px(s, t[i]), TOP, s->bottom, px(s, t[i]), s->bottom + 18, t[i]);
    PUT(s, "<path class=\"axis\" fill=\"none\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, s->bottom,
        s->right);
    PUT(s, "<text class=\"ink\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + s->right) / 2,
        s->bottom + 40);
    put_text(s, s->opt->x_label);
    PUT(s,
        "</text>\n<text class=\"ink\" transform=\"translate(16 %d) rotate(-90)\" "
        "text-anchor=\"middle\">",
        middle);
    put_text(s, s->opt->y_label);
    PUT(s, "%s</text>\n", s->a.log ? ", logarithmic" : "");
}

static void put_line(struct sheet *s, const struct chart_line *l, const char *colour, size_t around,
                     double width, double opacity)
{
    PUT(s,
        "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-opacity=\"%.2f\" "
        "stroke-linejoin=\"round\" points=\"",
        colour, width, opacity);
    for (size_t i = 0; i < l->count; i++) {
        const double v = usable(&s->a, l, i) ? mean_at(&s->a, l, i, around) : (double)NAN;
        if (isfinite(v))
            PUT(s, "%.1f,%.1f ", px(s, l->x[i]), py(s, v));
    }
    PUT(s, "\"/>\n");
}

static void put_legend(struct sheet *s, const struct chart_line *lines, size_t n)
{
    int x = LEFT;
    for (size_t i = 0; i < n; i++) {
        PUT(s,
            "<path stroke=\"%s\" stroke-width=\"3\" d=\"M%d 48h18\"/><text class=\"ink\" x=\"%d\" "
            "y=\"52\">",
            colours[i % LINES_MAX], x, x + 24);
        put_text(s, lines[i].name);
        PUT(s, "</text>\n");
        x += 48 + 8 * (int)strlen(lines[i].name);
    }
    if (s->opt->smooth > 0)
        PUT(s,
            "<text class=\"soft\" x=\"%d\" y=\"52\" text-anchor=\"end\">mean of %zu, pale: "
            "each</text>\n",
            s->right, 2 * s->opt->smooth + 1);
}

enum status chart_svg(struct buffer *out, const struct chart_line *lines, size_t n_lines,
                      const struct chart_options *opt, struct error *err)
{
    struct sheet s = { .out = out,
                       .opt = opt,
                       .a = axes_of(lines, n_lines, opt->scale),
                       .right = opt->width - RIGHT,
                       .bottom = opt->height - BOTTOM,
                       .err = err };
    PUT(&s,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d "
        "%d\" "
        "font-family=\"sans-serif\" font-size=\"12\">\n%s"
        "<rect class=\"paper\" width=\"100%%\" height=\"100%%\"/>\n"
        "<text class=\"ink\" x=\"%d\" y=\"26\" font-size=\"15\">",
        opt->width, opt->height, opt->width, opt->height, style, LEFT);
    put_text(&s, opt->title);
    PUT(&s, "</text>\n");
    put_axes(&s);
    for (size_t i = 0; i < n_lines && opt->smooth > 0; i++)
        put_line(&s, &lines[i], colours[i % LINES_MAX], 0, 1.0, 0.3);
    for (size_t i = 0; i < n_lines; i++)
        put_line(&s, &lines[i], colours[i % LINES_MAX], opt->smooth, 1.8, 1.0);
    put_legend(&s, lines, n_lines);
    PUT(&s, "</svg>\n");
    return s.st;
}
