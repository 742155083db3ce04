/* core/image_probe.c: what a file is, by its first bytes. The size of a picture and whether a
 * library may see it is decided by the header readers in the codecs' own files. */
#include <string.h>

#include "core/image_private.h"

static bool begins(const uint8_t *data, size_t size, const char *magic, size_t n)
{
    return size >= n && memcmp(data, magic, n) == 0;
}

enum image_codec image_sniff(const uint8_t *data, size_t size)
{
    if (begins(data, size, "\xff\xd8\xff", 3))
        return IMAGE_JPEG;
    if (begins(data, size, "\x89PNG\r\n\x1a\n", 8))
        return IMAGE_PNG;
    if (size >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0)
        return IMAGE_WEBP;
    if (begins(data, size, "GIF87a", 6) || begins(data, size, "GIF89a", 6))
        return IMAGE_GIF;
    if (begins(data, size, "BM", 2) && size >= 18)
        return IMAGE_BMP;
    return IMAGE_UNKNOWN;
}

/* ISO base media files carry their brand at byte 8. */
static const char *looks_like_brand(const uint8_t *data)
{
    static const struct {
        const char *brand, *name;
    } brands[] = { { "avif", "AVIF" }, { "avis", "AVIF" }, { "heic", "HEIC" },
                   { "heix", "HEIC" }, { "mif1", "HEIF" }, { "msf1", "HEIF" } };

    for (size_t i = 0; i < sizeof brands / sizeof brands[0]; i++)
        if (memcmp(data + 8, brands[i].brand, 4) == 0)
            return brands[i].name;
    return "MP4";
}

/* Text formats: skips white space and a BOM, ignores case. */
static const char *looks_like_text(const uint8_t *data, size_t size)
{
    char head[256];
    size_t n = 0, i = begins(data, size, "\xef\xbb\xbf", 3) ? 3 : 0;

    while (i < size && (data[i] == ' ' || data[i] == '\t' || data[i] == '\r' || data[i] == '\n'))
        i++;
    for (; i < size && n + 1 < sizeof head; i++) {
        const uint8_t b = data[i];
        if (b < 0x20 && b != '\t' && b != '\r' && b != '\n')
            return NULL;
        head[n++] = (char)(b >= 'A' && b <= 'Z' ? b + 32 : b);
    }
    head[n] = '\0';
    if (n == 0)
        return "white space";
    if (strstr(head, "<svg"))
        return "SVG";
    if (strstr(head, "<!doctype html") || strstr(head, "<html") || strstr(head, "<head"))
        return "HTML";
    if (head[0] == '<')
        return "XML";
    if (head[0] == '{' || head[0] == '[')
        return "JSON";
    return "text";
}

const char *image_looks_like(const uint8_t *data, size_t size)
{
    static const struct {
        const char *magic;
        size_t size;
        const char *name;
    } magics[] = {
        { "II*\0", 4, "TIFF" },
        { "MM\0*", 4, "TIFF" },
        { "\xff\x0a", 2, "JPEG XL" },
        { "\0\0\0\x0cJXL ", 8, "JPEG XL" },
        { "\0\0\0\x0cjP  ", 8, "JPEG 2000" },
        { "\xff\x4f\xff\x51", 4, "JPEG 2000" },
        { "%PDF", 4, "PDF" },
        { "\x1f\x8b", 2, "gzip" },
        { "PK\x03\x04", 4, "zip" },
        { "\0\0\1\0", 4, "ICO" },
        { "8BPS", 4, "Photoshop" },
        { "RIFF", 4, "RIFF, but not WebP" },
        { "\xff\xd8", 2, "a JPEG cut after its first marker" },
    };

    if (size == 0)
        return "an empty file";
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++)
        if (begins(data, size, magics[i].magic, magics[i].size))
            return magics[i].name;
    if (size >= 12 && memcmp(data + 4, "ftyp", 4) == 0)
        return looks_like_brand(data);
    size_t zeros = 0;
    while (zeros < size && zeros < 64 && data[zeros] == 0)
        zeros++;
    if (zeros == size || zeros == 64)
        return "zero bytes";
    const char *text = looks_like_text(data, size);
    return text ? text : "unknown binary data";
}
