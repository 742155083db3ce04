/* cli/version.c: see version.h. */
#include "cli/version.h"

#include <archive.h>
#include <cblas.h>
#include <chafa.h>
#include <gif_lib.h>
#include <lmdb.h>
#include <nettle/version.h>
#include <spng.h>
#include <utf8proc.h>
#include <webp/decode.h>
#include <xxhash.h>
#include <yaml.h>
#include <zlib.h>
#include <zstd.h>

#include <jpeglib.h> /* wants stdio.h first */

#include "ingest/spm.h"

#define WORDS(x)    WORDS_OF(x)
#define WORDS_OF(x) #x

static void line(FILE *to, const char *name, const char *version)
{
    fprintf(to, "%-14s %s\n", name, version);
}

static void number(FILE *to, const char *name, unsigned major, unsigned minor, unsigned patch)
{
    fprintf(to, "%-14s %u.%u.%u\n", name, major, minor, patch);
}

void version_print(FILE *to)
{
    const int webp = WebPGetDecoderVersion();
    const unsigned xxh = XXH_versionNumber();

    line(to, "deem", DEEM_VERSION);
    line(to, "libarchive", archive_version_details());
    line(to, "libjpeg-turbo", WORDS(LIBJPEG_TURBO_VERSION));
    line(to, "libspng", spng_version_string());
    number(to, "libwebp", (unsigned)webp >> 16, (unsigned)webp >> 8 & 0xff, (unsigned)webp & 0xff);
    number(to, "giflib", GIFLIB_MAJOR, GIFLIB_MINOR, GIFLIB_RELEASE);
    line(to, "zstd", ZSTD_versionString());
    line(to, "zlib", zlibVersion());
    number(to, "xxhash", xxh / 10000, xxh / 100 % 100, xxh % 100);
    fprintf(to, "%-14s %d.%d\n", "nettle", nettle_version_major(), nettle_version_minor());
    line(to, "utf8proc", utf8proc_version());
    line(to, "lmdb", mdb_version(NULL, NULL, NULL));
    line(to, "libyaml", yaml_get_version_string());
    line(to, "sentencepiece", spm_version());
    number(to, "chafa", CHAFA_MAJOR_VERSION, CHAFA_MINOR_VERSION, CHAFA_MICRO_VERSION);
    line(to, "openblas", openblas_get_config());
    line(to, "mpi", VERSION_MPI);
    line(to, "cuda", VERSION_CUDA);
}
