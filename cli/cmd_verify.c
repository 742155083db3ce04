/* cli/cmd_verify.c: every checksum, digest and count of a dataset, or of a checkpoint. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/options.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "shards/dataset.h"
#include "trainer/checkpoint.h"

static const struct command_help help = {
    .usage = "deem verify DATASET|CHECKPOINT",
    .about =
        "Reads everything and checks every digest, checksum and count: shards against the\n"
        "manifest, every record against its hash, and for every input file\n"
        "seen = stored + filtered + quarantined. Exit 0: all is well; 1: one line per finding.",
    .examples = "  deem verify data/mmc4\n"
                "  deem verify runs/stage1/checkpoints/step-010000\n",
};

static void print_finding(void *arg, const struct error *finding)
{
    uint64_t *count = arg;
    ++*count;
    log_line(LOG_ERROR, "%s", finding->text);
}

static enum status verify_checkpoint(const char *path, uint64_t *findings, struct error *err)
{
    struct buffer lines;
    size_t count = 0;

    buffer_init(&lines);
    enum status st = checkpoint_verify(path, &lines, &count, err);
    for (size_t at = 0; st == ST_OK && at < lines.size;) {
        const uint8_t *line = lines.data + at;
        const uint8_t *stop = memchr(line, '\n', lines.size - at);
        const size_t size = stop ? (size_t)(stop - line) : lines.size - at;
        log_line(LOG_ERROR, "%.*s", (int)size, (const char *)line);
        at += size + 1;
    }
    *findings = count;
    buffer_clear(&lines);
    return st;
}

static enum status verify(const char *path, uint64_t *findings, struct error *err)
{
    struct file_info info;
    const enum status st = file_stat(path, &info, err);

    if (st == ST_END)
        return error_set(err, ST_FAIL, CAUSE_IO, "%s: no such folder", path);
    if (st != ST_OK)
        return st;
    if (checkpoint_is(path))
        return verify_checkpoint(path, findings, err);
    return dataset_verify(path, print_finding, findings, err);
}

int cmd_verify(int argc, char **argv)
{
    struct option_list inputs = { 0 };
    struct error err = { 0 };
    uint64_t findings = 0;
    enum status st = options_parse(argc, argv, NULL, 0, &help, &inputs, &err);

    if (st == ST_OK && inputs.count != 1)
        st = error_set(&err, ST_FAIL, CAUSE_ARG, "one folder is needed; see deem verify --help");
    if (st == ST_OK)
        st = verify(inputs.items[0], &findings, &err);
    if (st == ST_OK && findings == 0)
        log_line(LOG_INFO, "%s: no fault found", inputs.items[0]);
    options_clear_list(&inputs);
    if (st == ST_OK || st == ST_END)
        return findings > 0 ? 1 : 0;
    log_error(&err);
    return error_exit_code(err.cause);
}
