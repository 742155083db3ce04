/* cli/term_picture.h: pictures in a terminal by chafa: sixel, kitty, iTerm or coloured symbols, whatever
 * the terminal says that it can. */
#ifndef DEEM_CLI_TERM_PICTURE_H
#define DEEM_CLI_TERM_PICTURE_H

#include "core/error.h"
#include "core/image.h"
#include "core/mem.h"

struct term_picture;
/* *out is NULL where standard output is no terminal that can show pictures. */
enum status term_picture_open(struct term_picture **out, struct error *err);
void term_picture_close(struct term_picture **t);
/* Appends what draws the picture. */
enum status term_picture_draw(struct term_picture *t, struct buffer *out, const struct image *img,
                              struct error *err);

#endif
