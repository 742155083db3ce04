/* cli/inspect_tensors.c: pictures of a batch for the page of a training step: the two tensors as PNG, with
 * the region mask at the encoder's side drawn over the first. */
#include <inttypes.h>

#include "cli/inspect.h"
#include "cli/printable.h"
#include "core/image.h"

static enum status put_tensor(struct buffer *out, const uint8_t *tensor, int64_t side,
                              const char *name, struct error *err)
{
    const size_t pixels = (size_t)(side * side);
    struct image picture = { .width = (uint32_t)side,
                             .height = (uint32_t)side,
                             .rgb = mem_alloc(3 * pixels) };
    struct buffer png;
    enum status st = ST_OK;

    if (!picture.rgb)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: picture");
    buffer_init(&png);
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            picture.rgb[3 * i + c] = tensor[c * pixels + i];
    st = image_encode_png(&png, &picture, err);
    if (st == ST_OK)
        st =
            buffer_printf(out, err,
                          "<img alt=\"%s\" title=\"%s, %" PRId64 " x %" PRId64 "\" width=\"%" PRId64
                          "\" height=\"%" PRId64 "\" src=\"data:image/png;base64,",
                          name, name, side, side, side, side);
    if (st == ST_OK)
        st = printable_base64(out, png.data, png.size, err);
    if (st == ST_OK)
        st = buffer_append_str(out, "\">", err);
    buffer_clear(&png);
    image_clear(&picture);
    return st;
}

/* Rows of ones as strips. A mask of ones alone is no region. */
static enum status put_mask(struct buffer *out, const uint8_t *mask, int64_t side,
                            struct error *err)
{
    int64_t ones = 0;

    for (int64_t i = 0; i < side * side; i++)
        ones += mask[i];
    if (ones == side * side)
        return ST_OK;
    enum status st = buffer_printf(out, err,
                                   "<svg class=\"mask\" viewBox=\"0 0 %" PRId64 " %" PRId64
                                   "\" preserveAspectRatio=\"none\"><path d=\"",
                                   side, side);
    for (int64_t y = 0; st == ST_OK && y < side; y++)
        for (int64_t x = 0; st == ST_OK && x < side;) {
            const int64_t from = x;
            while (x < side && mask[y * side + x])
                x++;
            if (x > from)
                st = buffer_printf(out, err, "M%" PRId64 " %" PRId64 "h%" PRId64 "v1H%" PRId64 "z",
                                   from, y, x - from, from);
            x += x == from;
        }
    return st == ST_OK ? buffer_append_str(out, "\"/></svg>", err) : st;
}

enum status inspect_tensors_html(struct buffer *out, const struct inspect_item *item, size_t image,
                                 struct error *err)
{
    const struct batch *b = item->batch;
    const int64_t i = b->rows[item->row].first_image + (int64_t)image;
    enum status st = put_tensor(out, b->image + i * 3 * b->R * b->R, b->R, "encoder", err);

    if (st == ST_OK && b->mask)
        st = put_mask(out, b->mask + i * b->R * b->R, b->R, err);
    if (st == ST_OK && b->image_dec) {
        st = buffer_append_str(out, "</span> <span class=\"frame\">", err);
        if (st == ST_OK)
            st = put_tensor(out, b->image_dec + i * 3 * b->Rd * b->Rd, b->Rd, "decoder", err);
    }
    return st;
}
