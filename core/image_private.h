/* core/image_private.h: what the picture files of core share. Not for other folders. */
#ifndef DEEM_CORE_IMAGE_PRIVATE_H
#define DEEM_CORE_IMAGE_PRIVATE_H

#include "core/image.h"

/* What the frame header of a JPEG says, and what our walk over its markers saw. */
struct jpeg_header {
    uint8_t sof;           /* marker: 0xC0, 0xC1, 0xC2, 0xC9 or 0xCA */
    uint8_t h[4], v[4];    /* sampling factors by component */
    unsigned scans;        /* SOS markers in the whole file */
    uint64_t coefficients; /* bytes of all coefficients, what a several-scan decode holds */
};
/* One picture on its way: the bytes (borrowed), what the probe found, tolerated oddities. */
struct image_job {
    const uint8_t *data;
    size_t size;
    struct image_decode_options opt;
    struct image_info info;
    struct jpeg_header jpeg;
    unsigned notes;
};

/* A bad picture: sets `code` and text, CAUSE_LIMIT where the code names a limit. Returns ST_SKIP. */
enum status image_bad(struct error *err, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Side and pixel limits; refuses empty pictures, too. */
enum status image_check_size(uint64_t width, uint64_t height, const struct image_limits *l,
                             struct error *err);

/* Codec by magic bytes alone. */
enum image_codec image_sniff(const uint8_t *data, size_t size);
/* "HTML", "AVIF", "empty file": what else the bytes look like. Never NULL. */
const char *image_looks_like(const uint8_t *data, size_t size);

/* Header readers, one a codec: fill job->info (and job->jpeg), check limits. */
typedef enum status image_probe_fn(struct image_job *job, struct error *err);
image_probe_fn image_probe_jpeg, image_probe_png, image_probe_webp, image_probe_gif,
    image_probe_bmp;
/* Decoders: out->rgb is allocated in the size of job->info. */
typedef enum status image_decode_fn(struct image *out, struct image_job *job, struct error *err);
image_decode_fn image_decode_jpeg, image_decode_png, image_decode_webp, image_decode_gif,
    image_decode_bmp;

/* Reads the headers of any kind. */
enum status image_job_probe(struct image_job *job, struct error *err);
/* After a probe: allocates and decodes. */
enum status image_job_decode(struct image *out, struct image_job *job, struct error *err);
/* Fresh pixels, not initialised. ST_FAIL: CAUSE_NOMEM. */
enum status image_alloc(struct image *out, uint32_t width, uint32_t height, struct error *err);

/* Orientation 1..8 of the EXIF data in a JPEG, PNG or WebP file; 1 where there is none or none that
 * makes sense. */
unsigned image_exif_orientation(const struct image_job *job);
/* Turns and mirrors as EXIF orientation 2..8 asks. ST_FAIL: CAUSE_NOMEM. */
enum status image_orient(struct image *img, unsigned orientation, struct error *err);

/* Verifies a JPEG and rewrites it as design.md 5 says; see image_prepare. */
enum status image_prepare_jpeg(struct buffer *stored, struct image_job *job,
                               enum image_jpeg_policy policy, struct error *err);

/* One colour sample over white: (c a + 255 (255 - a) + 127) div 255. */
static inline uint8_t image_over_white(unsigned c, unsigned a)
{
    return (uint8_t)((c * a + 255 * (255 - a) + 127) / 255);
}

#endif
