/* tests/fuzz/fuzz_shard.c: any bytes as a shard file: pages, values, unit record. Whatever it holds is
 * read in full and verified. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#include "shards/shard_reader.h"

static void count_finding(void *arg, const struct error *finding)
{
    (void)finding;
    ++*(unsigned *)arg;
}

static void read_all(struct shard_reader *r)
{
    struct arena arena;
    struct buffer memory;
    struct shard_picture p;
    struct pieces *pieces = NULL;
    struct sample s;
    unsigned findings = 0;

    arena_init(&arena, 1 << 28);
    buffer_init(&memory);
    for (uint64_t i = 0; i < shard_reader_sequences(r) && i < 64; i++)
        shard_reader_sequence(r, i, &s, &arena, NULL);
    for (uint32_t i = 0; i < shard_reader_pictures(r) && i < 64; i++)
        shard_reader_picture(r, i, &memory, &p, NULL);
    shard_reader_pieces(r, &pieces, NULL);
    if (shard_reader_pictures(r) < 10000 && shard_reader_sequences(r) < 10000)
        shard_reader_verify(r, count_finding, &findings, &(struct error){ 0 });
    pieces_close(&pieces);
    buffer_clear(&memory);
    arena_clear(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct shard_reader *r = NULL;
    struct shard_reader_options opt;
    struct error err = { 0 };
    const int fd = memfd_create("shard", 0);

    if (fd < 0)
        abort();
    if (size > 0 && write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    shard_reader_options_init(&opt);
    opt.max_record_bytes = 1 << 24;
    if (shard_reader_open(&r, path, &opt, &err) == ST_OK)
        read_all(r);
    else if (r || err.cause == CAUSE_NONE)
        abort();
    shard_reader_close(&r);
    close(fd);
    return 0;
}
