/* cli/term_picture.c: see term_picture.h. Library: chafa 1.12. */
#include "cli/term_picture.h"

#include <chafa.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    MAX_COLUMNS = 48,
    MAX_ROWS = 16,
    CELL_WIDTH = 10, /* pixels, where the terminal does not say */
    CELL_HEIGHT = 20,
};

struct term_picture {
    ChafaTermInfo *info;
    ChafaCanvasMode mode;
    ChafaPixelMode pixels;
    int columns, cell_width, cell_height;
};

static bool can(const struct term_picture *t, ChafaTermSeq sequence)
{
    return chafa_term_info_have_seq(t->info, sequence);
}

static void choose_modes(struct term_picture *t)
{
    t->mode = CHAFA_CANVAS_MODE_FGBG;
    if (can(t, CHAFA_TERM_SEQ_SET_COLOR_FGBG_DIRECT))
        t->mode = CHAFA_CANVAS_MODE_TRUECOLOR;
    else if (can(t, CHAFA_TERM_SEQ_SET_COLOR_FGBG_256))
        t->mode = CHAFA_CANVAS_MODE_INDEXED_240;
    else if (can(t, CHAFA_TERM_SEQ_SET_COLOR_FGBG_16))
        t->mode = CHAFA_CANVAS_MODE_INDEXED_16;
    t->pixels = CHAFA_PIXEL_MODE_SYMBOLS;
    if (can(t, CHAFA_TERM_SEQ_BEGIN_KITTY_IMMEDIATE_IMAGE_V1))
        t->pixels = CHAFA_PIXEL_MODE_KITTY;
    else if (can(t, CHAFA_TERM_SEQ_BEGIN_ITERM2_IMAGE))
        t->pixels = CHAFA_PIXEL_MODE_ITERM2;
    else if (can(t, CHAFA_TERM_SEQ_BEGIN_SIXELS))
        t->pixels = CHAFA_PIXEL_MODE_SIXELS;
    if (t->pixels == CHAFA_PIXEL_MODE_SIXELS || t->pixels == CHAFA_PIXEL_MODE_KITTY)
        t->mode = CHAFA_CANVAS_MODE_TRUECOLOR;
}

enum status term_picture_open(struct term_picture **out, struct error *err)
{
    struct winsize size = { 0 };

    *out = NULL;
    if (!isatty(STDOUT_FILENO))
        return ST_OK;
    struct term_picture *t = mem_calloc(1, sizeof *t);
    if (!t)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: terminal");
    char **env = g_get_environ();
    const char *term = g_environ_getenv(env, "TERM");
    if (!term || strcmp(term, "dumb") == 0) {
        g_strfreev(env);
        mem_free(t);
        return ST_OK;
    }
    t->info = chafa_term_db_detect(chafa_term_db_get_default(), env);
    g_strfreev(env);
    choose_modes(t);
    t->columns = MAX_COLUMNS;
    t->cell_width = CELL_WIDTH;
    t->cell_height = CELL_HEIGHT;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        t->columns = size.ws_col < MAX_COLUMNS ? size.ws_col : MAX_COLUMNS;
        if (size.ws_xpixel >= size.ws_col && size.ws_row > 0 && size.ws_ypixel >= size.ws_row) {
            t->cell_width = size.ws_xpixel / size.ws_col;
            t->cell_height = size.ws_ypixel / size.ws_row;
        }
    }
    *out = t;
    return ST_OK;
}

void term_picture_close(struct term_picture **t)
{
    if (!*t)
        return;
    chafa_term_info_unref((*t)->info);
    mem_free(*t);
    *t = NULL;
}

enum status term_picture_draw(struct term_picture *t, struct buffer *out, const struct image *img,
                              struct error *err)
{
    ChafaCanvasConfig *config = chafa_canvas_config_new();
    ChafaSymbolMap *symbols = chafa_symbol_map_new();
    gint columns = t->columns, rows = MAX_ROWS;

    chafa_symbol_map_add_by_tags(symbols, CHAFA_SYMBOL_TAG_BLOCK | CHAFA_SYMBOL_TAG_BORDER |
                                              CHAFA_SYMBOL_TAG_SPACE);
    chafa_canvas_config_set_symbol_map(config, symbols);
    chafa_canvas_config_set_canvas_mode(config, t->mode);
    chafa_canvas_config_set_pixel_mode(config, t->pixels);
    chafa_canvas_config_set_cell_geometry(config, t->cell_width, t->cell_height);
    chafa_calc_canvas_geometry((gint)img->width, (gint)img->height, &columns, &rows, 0.5F, TRUE,
                               FALSE);
    chafa_canvas_config_set_geometry(config, columns, rows);
    ChafaCanvas *canvas = chafa_canvas_new(config);
    chafa_canvas_draw_all_pixels(canvas, CHAFA_PIXEL_RGB8, img->rgb, (gint)img->width,
                                 (gint)img->height, (gint)img->width * 3);
    GString *text = chafa_canvas_print(canvas, t->info);
    enum status st = buffer_append(out, text->str, text->len, err);
    if (st == ST_OK)
        st = buffer_append(out, "\n", 1, err);
    g_string_free(text, TRUE);
    chafa_canvas_unref(canvas);
    chafa_symbol_map_unref(symbols);
    chafa_canvas_config_unref(config);
    return st;
}
