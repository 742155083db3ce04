/* core/resample_plain.c: the definition of both passes. The sum starts at half a unit, the result is
 * shifted arithmetically and clipped to a byte. */
#include "core/resample_private.h"

static uint8_t weigh(const uint8_t *p, size_t step, const int32_t *weight, uint32_t taps)
{
    int32_t sum = 1 << (RESAMPLE_BITS - 1);

    for (uint32_t j = 0; j < taps; j++)
        sum += weight[j] * p[j * step];
    sum >>= RESAMPLE_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

enum status resample_x_plain(const struct resample_planes *out, const struct resample_view *in,
                             const struct resample_axis *axis, uint32_t y_begin, uint32_t y_end,
                             struct error *err)
{
    (void)err;
    for (size_t c = 0; c < 3; c++)
        for (uint32_t y = y_begin; y < y_end; y++) {
            const uint8_t *row = in->data + c * in->channel + (y - in->y0) * in->row;
            uint8_t *to = out->data + c * out->channel + (y - out->y0) * out->row;
            for (uint32_t i = 0; i < axis->end - axis->begin; i++)
                to[axis->begin + i - out->x0] =
                    weigh(row + (axis->first[i] - in->x0) * in->pixel, in->pixel,
                          axis->weight + (size_t)i * axis->cap, axis->taps[i]);
        }
    return ST_OK;
}

enum status resample_y_plain(const struct resample_planes *out, const struct resample_view *in,
                             const struct resample_axis *axis, uint32_t x_begin, uint32_t x_end,
                             struct error *err)
{
    (void)err;
    for (size_t c = 0; c < 3; c++)
        for (uint32_t i = 0; i < axis->end - axis->begin; i++) {
            const uint8_t *rows = in->data + c * in->channel + (axis->first[i] - in->y0) * in->row;
            uint8_t *to = out->data + c * out->channel + (axis->begin + i - out->y0) * out->row;
            for (uint32_t x = x_begin; x < x_end; x++)
                to[x - out->x0] = weigh(rows + (x - in->x0), in->row,
                                        axis->weight + (size_t)i * axis->cap, axis->taps[i]);
        }
    return ST_OK;
}
