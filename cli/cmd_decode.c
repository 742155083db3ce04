/* cli/cmd_decode.c: the picture path of the loader for one file, for people who doubt a picture. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/options.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "loader/decode.h"

static const struct command_help help = {
    .usage = "deem decode FILE --size S --geometry crop|squash [--mode exact|fast] -o OUT.ppm",
    .about = "Decodes one picture and brings it to S x S pixels exactly as the loader does it.",
    .examples = "  deem decode pond.jpg --size 256 --geometry crop -o pond.ppm\n"
                "  deem decode pond.jpg --size 448 --geometry squash --mode fast -o pond.ppm\n",
};

/* Binary PPM out of a (3, side, side) tensor. */
static enum status write_ppm(const char *path, const uint8_t *tensor, uint32_t side,
                             struct error *err)
{
    const size_t pixels = (size_t)side * side;
    struct buffer file = { 0 };

    enum status st = buffer_printf(&file, err, "P6\n%u %u\n255\n", (unsigned)side, (unsigned)side);
    if (st == ST_OK)
        st = buffer_reserve(&file, 3 * pixels, err);
    if (st == ST_OK) {
        uint8_t *p = file.data + file.size;
        for (size_t i = 0; i < pixels; i++)
            for (size_t c = 0; c < 3; c++)
                *p++ = tensor[c * pixels + i];
        file.size += 3 * pixels;
        st = file_replace(path, file.data, file.size, err);
    }
    buffer_clear(&file);
    return st;
}

static enum status decode_file(const char *in, const char *out, const struct decode_options *opt,
                               struct error *err)
{
    struct buffer file = { 0 };
    uint8_t *tensor = mem_alloc(3 * (size_t)opt->side_a * opt->side_a);
    enum status st = ST_FAIL;

    if (!tensor) {
        error_set(err, st, CAUSE_NOMEM, "out of memory: %u x %u pixels", (unsigned)opt->side_a,
                  (unsigned)opt->side_a);
        goto done;
    }
    st = file_read_all(&file, in, opt->limits.max_bytes, err);
    if (st != ST_OK)
        goto done;
    st = decode_picture(tensor, NULL, file.data, file.size, opt, NULL, err);
    if (st != ST_OK) {
        error_prefix(err, st, "%s", in);
        goto done;
    }
    st = write_ppm(out, tensor, opt->side_a, err);
done:
    buffer_clear(&file);
    mem_free(tensor);
    return st;
}

int cmd_decode(int argc, char **argv)
{
    static const char *const geometries[] = { "crop", "squash", NULL };
    static const char *const modes[] = { "exact", "fast", NULL };
    int64_t size = 0;
    int geometry = -1, mode = 0;
    const char *out = NULL;
    const struct option options[] = {
        { "size", OPTION_INT, &size, "S", "side of the square, pixels", 1, 16384, NULL },
        { "geometry", OPTION_CHOICE, &geometry, "HOW",
          "crop: halve, scale, cut the centre; squash: one resize, ratio not kept", 0, 0,
          geometries },
        { "mode", OPTION_CHOICE, &mode, "MODE", "exact equals Pillow; fast shrinks in the decoder",
          0, 0, modes },
        { "o", OPTION_TEXT, &out, "OUT.ppm", "where the pixels go", 0, 0, NULL },
    };
    struct option_list inputs = { 0 };
    struct decode_options opt;
    struct error err = { 0 };

    enum status st = options_parse(argc, argv, options, sizeof options / sizeof options[0], &help,
                                   &inputs, &err);
    if (st == ST_OK && (inputs.count != 1 || size == 0 || geometry < 0 || !out))
        st = error_set(&err, ST_FAIL, CAUSE_ARG,
                       "one FILE, --size, --geometry and -o are needed; see deem decode --help");
    if (st == ST_OK) {
        decode_options_init(&opt);
        opt.side_a = (uint32_t)size;
        opt.side_b = 0;
        opt.geometry = geometry == 0 ? RESAMPLE_CROP : RESAMPLE_SQUASH;
        opt.mode = mode == 0 ? DECODE_EXACT : DECODE_FAST;
        st = decode_file(inputs.items[0], out, &opt, &err);
    }
    options_clear_list(&inputs);
    if (st == ST_OK || st == ST_END)
        return 0;
    log_error(&err);
    return error_exit_code(err.cause);
}
