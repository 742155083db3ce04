/* cli/bench_kernels.c: `deem bench kernels`: every operation once, at a shape of the model that takes
 * milliseconds on a CPU. Operations that are products are reported in GFLOP/s as a share of BLAS's own
 * square product, the others in GB/s (each operand counted once) as a share of memcpy on one thread, best
 * of the repetitions that fit the time; operands that fit the caches can exceed it. */
#include <cblas.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/options.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/add.h"
#include "kernels/attention.h"
#include "kernels/check.h"
#include "kernels/conv2d.h"
#include "kernels/copy.h"
#include "kernels/depthwise.h"
#include "kernels/dropout.h"
#include "kernels/gather.h"
#include "kernels/groupnorm.h"
#include "kernels/layernorm.h"
#include "kernels/linear.h"
#include "kernels/mmfs.h"
#include "kernels/reduce.h"
#include "kernels/resize.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/xent.h"

enum { SQUARE = 1024, COPY_BYTES = 64 << 20, OUTS = 6, INS = 11 };

/* What an operand holds before the run. */
enum content { LEFT_OUT, RANDOM, POSITIVE, ONES, ZEROS_I32, ONES_I32, COUNT_I32 };
struct operand {
    enum content content;
    int64_t shape[4]; /* up to the first 0 */
};
struct row {
    const char *name, *shape;
    kernel_fn *run;
    const void *attrs;
    double flops; /* 0: reported by bytes */
    struct operand out[OUTS], in[INS];
};

#define FLOAT(...)                                                                                 \
    {                                                                                              \
        RANDOM,                                                                                    \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define STAT(...)                                                                                  \
    {                                                                                              \
        POSITIVE,                                                                                  \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define NONE                                                                                       \
    {                                                                                              \
        LEFT_OUT,                                                                                  \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

static const struct linear_attrs linear = { 0 };
static const struct conv2d_attrs same3 = { 1, 1, 1, 1, 1, 0 }, point = { 1, 0, 0, 0, 0, 0 },
                                 half3 = { 2, 1, 1, 1, 1, 0 }, stem = { 4, 0, 0, 0, 0, 0 };
static const struct depthwise_attrs depthwise = { 0 };
static const struct attention_attrs causal = { 16, 1, 0.0883883f, 0, 0, 0, 0 },
                                    full = { 5, 0, 0.125f, 0, 0, 0, 0 };
static const struct layernorm_attrs layernorm = { 1e-6f, 0, 0, 0 };
static const struct rmsnorm_attrs rmsnorm = { 1e-5f, 0, 0 };
static const struct groupnorm_attrs groupnorm = { 32, 1, 1e-5f, 0, 0, 0 };
static const struct activation_attrs activation = { 0 };
static const struct swiglu_attrs swiglu = { 0, 0 };
static const struct rope_attrs rope = { 16, 10000.0f, 0, 0 };
static const struct add_attrs sum = { 1, 1 };
static const struct xent_attrs xent = { 1 };
static const struct gather_attrs gather = { 0 };
static const struct dropout_attrs dropout = { 0.1, 0 };
static const struct upsample2_attrs upsample = { 0 };
static const struct reduce_attrs reduce = { 1, 0 };
static const struct adamw_attrs adamw = { 1e-4, 0.9, 0.995, 1e-6, 0.05, 1, 1 };
static const struct mmfs_attrs mmfs = { .heads = 16,
                                        .points = 8,
                                        .levels = 3,
                                        .height = { 32, 16, 8 },
                                        .width = { 32, 16, 8 },
                                        .shape = { 32, 16, 8 },
                                        .base = 16,
                                        .queries_per_list = 1 };

/* 2 M N K of the products, model.md 8.1. */
#define LINEAR_FLOPS (2.0 * SQUARE * SQUARE * SQUARE)
#define CONV_FLOPS   (2.0 * 32 * 32 * 320 * 320 * 9)
#define CAUSAL_FLOPS (2.0 * 16 * 1024 * 1024 * 128) /* half the square, two products */
#define FULL_FLOPS   (4.0 * 5 * 2048 * 2048 * 64)
#define MAP          FLOAT(1, 64, 64, 320)
#define TOKENS       FLOAT(1024, 4096)

static const struct row rows[] = {
    { "linear",
      "1024 x 1024 x 1024",
      linear_fwd_cpu,
      &linear,
      LINEAR_FLOPS,
      { FLOAT(SQUARE, SQUARE) },
      { FLOAT(SQUARE, SQUARE), FLOAT(SQUARE, SQUARE), FLOAT(SQUARE) } },
    { "linear dx",
      "1024 x 1024 x 1024",
      linear_dx_cpu,
      &linear,
      LINEAR_FLOPS,
      { FLOAT(SQUARE, SQUARE) },
      { FLOAT(SQUARE, SQUARE), FLOAT(SQUARE, SQUARE) } },
    { "linear dw",
      "1024 x 1024 x 1024",
      linear_dw_cpu,
      &linear,
      LINEAR_FLOPS,
      { FLOAT(SQUARE, SQUARE) },
      { FLOAT(SQUARE, SQUARE), FLOAT(SQUARE, SQUARE) } },
    { "linear db", "1024 x 4096", linear_db_cpu, &linear, 0, { FLOAT(4096) }, { TOKENS } },
    { "conv 3x3",
      "32 x 32, 320 to 320",
      conv2d_fwd_cpu,
      &same3,
      CONV_FLOPS,
      { FLOAT(1, 32, 32, 320) },
      { FLOAT(1, 32, 32, 320), FLOAT(320, 320, 3, 3), FLOAT(320) } },
    { "conv 3x3 dx",
      "32 x 32, 320 to 320",
      conv2d_dx_cpu,
      &same3,
      CONV_FLOPS,
      { FLOAT(1, 32, 32, 320) },
      { FLOAT(1, 32, 32, 320), FLOAT(320, 320, 3, 3) } },
    { "conv 3x3 dw",
      "32 x 32, 320 to 320",
      conv2d_dw_cpu,
      &same3,
      CONV_FLOPS,
      { FLOAT(320, 320, 3, 3) },
      { FLOAT(1, 32, 32, 320), FLOAT(1, 32, 32, 320) } },
    { "conv 3x3/2",
      "64 x 64, 320 to 320",
      conv2d_fwd_cpu,
      &half3,
      CONV_FLOPS,
      { FLOAT(1, 32, 32, 320) },
      { MAP, FLOAT(320, 320, 3, 3), FLOAT(320) } },
    { "conv 1x1",
      "64 x 64, 320 to 320",
      conv2d_fwd_cpu,
      &point,
      2.0 * 64 * 64 * 320 * 320,
      { MAP },
      { MAP, FLOAT(320, 320, 1, 1), FLOAT(320) } },
    { "conv 4x4/4",
      "256 x 256, 3 to 128",
      conv2d_fwd_cpu,
      &stem,
      2.0 * 64 * 64 * 48 * 128,
      { FLOAT(1, 64, 64, 128) },
      { FLOAT(1, 256, 256, 3), FLOAT(128, 3, 4, 4), FLOAT(128) } },
    { "depthwise 7x7",
      "64 x 64 x 128",
      depthwise_fwd_cpu,
      &depthwise,
      2.0 * 64 * 64 * 128 * 49,
      { FLOAT(1, 64, 64, 128) },
      { FLOAT(1, 64, 64, 128), FLOAT(128, 1, 7, 7), FLOAT(128) } },
    { "depthwise 7x7 dw",
      "64 x 64 x 128",
      depthwise_dw_cpu,
      &depthwise,
      2.0 * 64 * 64 * 128 * 49,
      { FLOAT(128, 1, 7, 7) },
      { FLOAT(1, 64, 64, 128), FLOAT(1, 64, 64, 128) } },
    { "attention causal",
      "1024, 16 x 128",
      attention_fwd_cpu,
      &causal,
      CAUSAL_FLOPS,
      { FLOAT(1, 1024, 2048), FLOAT(1, 16, 1024) },
      { FLOAT(1, 1024, 2048), FLOAT(1, 1024, 2048), FLOAT(1, 1024, 2048) } },
    { "attention causal bwd",
      "1024, 16 x 128",
      attention_bwd_cpu,
      &causal,
      2.5 * CAUSAL_FLOPS,
      { FLOAT(1, 1024, 2048), FLOAT(1, 1024, 2048), FLOAT(1, 1024, 2048) },
      { FLOAT(1, 1024, 2048), FLOAT(1, 1024, 2048), FLOAT(1, 1024, 2048), FLOAT(1, 1024, 2048),
        FLOAT(1, 1024, 2048), STAT(1, 16, 1024) } },
    { "attention full",
      "2048, 5 x 64",
      attention_fwd_cpu,
      &full,
      FULL_FLOPS,
      { FLOAT(1, 2048, 320), FLOAT(1, 5, 2048) },
      { FLOAT(1, 2048, 320), FLOAT(1, 2048, 320), FLOAT(1, 2048, 320) } },
    { "attention full bwd",
      "2048, 5 x 64",
      attention_bwd_cpu,
      &full,
      2.5 * FULL_FLOPS,
      { FLOAT(1, 2048, 320), FLOAT(1, 2048, 320), FLOAT(1, 2048, 320) },
      { FLOAT(1, 2048, 320), FLOAT(1, 2048, 320), FLOAT(1, 2048, 320), FLOAT(1, 2048, 320),
        FLOAT(1, 2048, 320), STAT(1, 5, 2048) } },
    { "layernorm",
      "1024 x 4096",
      layernorm_fwd_cpu,
      &layernorm,
      0,
      { TOKENS, FLOAT(1024), FLOAT(1024) },
      { TOKENS, FLOAT(4096), FLOAT(4096) } },
    { "layernorm bwd",
      "1024 x 4096",
      layernorm_bwd_cpu,
      &layernorm,
      0,
      { TOKENS, FLOAT(4096), FLOAT(4096) },
      { TOKENS, TOKENS, FLOAT(4096), FLOAT(1024), STAT(1024) } },
    { "rmsnorm",
      "1024 x 4096",
      rmsnorm_fwd_cpu,
      &rmsnorm,
      0,
      { TOKENS, FLOAT(1024) },
      { TOKENS, FLOAT(4096) } },
    { "groupnorm + silu",
      "64 x 64 x 320",
      groupnorm_fwd_cpu,
      &groupnorm,
      0,
      { MAP, FLOAT(1, 32), FLOAT(1, 32) },
      { MAP, FLOAT(320), FLOAT(320) } },
    { "groupnorm + silu bwd",
      "64 x 64 x 320",
      groupnorm_bwd_cpu,
      &groupnorm,
      0,
      { MAP },
      { MAP, MAP, FLOAT(320), FLOAT(320), FLOAT(1, 32), STAT(1, 32) } },
    { "gelu", "1024 x 4096", gelu_fwd_cpu, &activation, 0, { TOKENS }, { TOKENS } },
    { "silu", "1024 x 4096", silu_fwd_cpu, &activation, 0, { TOKENS }, { TOKENS } },
    { "swiglu", "1024 x 4096", swiglu_fwd_cpu, &swiglu, 0, { TOKENS }, { TOKENS, TOKENS } },
    { "add", "1024 x 4096", add_fwd_cpu, &sum, 0, { TOKENS }, { TOKENS, TOKENS } },
    { "rope",
      "1024, 16 x 128",
      rope_fwd_cpu,
      &rope,
      0,
      { FLOAT(1, 1024, 2048) },
      { FLOAT(1, 1024, 2048), { COUNT_I32, { 1024 } } } },
    { "cross-entropy",
      "256 x 32006",
      xent_fwd_cpu,
      &xent,
      0,
      { FLOAT(256, 32006), FLOAT(256) },
      { FLOAT(256, 32006), { ZEROS_I32, { 256 } }, { ONES, { 1 } } } },
    { "gather",
      "1024 x 4096",
      gather_fwd_cpu,
      &gather,
      0,
      { TOKENS },
      { TOKENS, { COUNT_I32, { 1024 } } } },
    { "dropout",
      "16 x 77 x 768",
      dropout_fwd_cpu,
      &dropout,
      0,
      { FLOAT(16, 77, 768) },
      { FLOAT(16, 77, 768), { COUNT_I32, { 16, 4 } } } },
    { "upsample",
      "32 x 32 x 320",
      upsample2_fwd_cpu,
      &upsample,
      0,
      { MAP },
      { FLOAT(1, 32, 32, 320) } },
    { "sampling",
      "256 tokens, 1 image",
      mmfs_fwd_cpu,
      &mmfs,
      0,
      { FLOAT(256, 1024) },
      { FLOAT(256, 256),
        FLOAT(2, 256),
        FLOAT(256, 432),
        FLOAT(2, 432),
        FLOAT(1, 1344, 1024),
        FLOAT(1024),
        STAT(1, 2),
        { COUNT_I32, { 257 } },
        { ZEROS_I32, { 256 } },
        { ONES_I32, { 256 } } } },
    { "sampling bwd",
      "256 tokens, 1 image",
      mmfs_bwd_cpu,
      &mmfs,
      0,
      { FLOAT(256, 256), FLOAT(2, 256), FLOAT(256, 432), FLOAT(2, 432), FLOAT(1, 1344, 1024),
        FLOAT(1024) },
      { FLOAT(256, 1024),
        FLOAT(256, 256),
        FLOAT(2, 256),
        FLOAT(256, 432),
        FLOAT(2, 432),
        FLOAT(1, 1344, 1024),
        FLOAT(1024),
        STAT(1, 2),
        { COUNT_I32, { 257 } },
        { ZEROS_I32, { 256 } },
        { ONES_I32, { 256 } } } },
    { "sum", "1024 x 4096", reduce_sum_fwd_cpu, &reduce, 0, { FLOAT(1) }, { TOKENS } },
    { "adamw",
      "4 Mi",
      adamw_fwd_cpu,
      &adamw,
      0,
      { TOKENS, TOKENS, { POSITIVE, { 1024, 4096 } } },
      { TOKENS } },
};
enum { ROWS = sizeof rows / sizeof *rows };

static void fill(struct view *v, enum content content)
{
    uint64_t state = 1;
    for (int64_t i = 0; i < view_count(v); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const float unit = (float)(state >> 40) * 0x1p-24f;
        if (v->type == DT_I32)
            ((int32_t *)v->data)[i] = content == COUNT_I32 ? (int32_t)i : content == ONES_I32;
        else
            ((float *)v->data)[i] = content == ONES       ? 1.0f
                                    : content == POSITIVE ? 0.5f + 0.5f * unit
                                                          : 2.0f * unit - 1.0f;
    }
}

static enum status make_view(struct view *v, const struct operand *o, struct error *err)
{
    *v = (struct view){ 0 };
    if (o->content == LEFT_OUT)
        return ST_OK;
    v->type = o->content >= ZEROS_I32 ? DT_I32 : DT_F32;
    while (v->rank < 4 && o->shape[v->rank] > 0) {
        v->shape[v->rank] = o->shape[v->rank];
        v->rank++;
    }
    v->data = mem_alloc_aligned(64, (size_t)view_count(v) * 4);
    if (!v->data)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: bench operand");
    fill(v, o->content);
    return ST_OK;
}

/* How long to try, and by which clock. */
struct timing {
    double seconds;
    double (*now)(void);
};

/* Best time of one call, over at least two and as many as fit `seconds`. */
static enum status best_time(double *best, const struct row *row, const struct view *out,
                             const struct view *in, const struct timing *t, struct error *err)
{
    const double end = t->now() + t->seconds;
    struct kctx k = { 0 };
    *best = 1e30;
    for (int n = 0; n < 2 || t->now() < end; n++) {
        const double start = t->now();
        if (row->run(&k, out, in, row->attrs, err) != ST_OK)
            return ST_FAIL;
        const double took = t->now() - start;
        *best = took < *best ? took : *best;
    }
    return ST_OK;
}

/* Sets the time of a call and the bytes of its operands. */
static enum status measure(double *best, double *bytes, const struct row *row,
                           const struct timing *t, struct error *err)
{
    struct view v[OUTS + INS] = { { 0 } };
    enum status st = ST_OK;
    *bytes = 0.0;
    for (int i = 0; i < OUTS + INS && st == ST_OK; i++) {
        st = make_view(&v[i], i < OUTS ? &row->out[i] : &row->in[i - OUTS], err);
        if (v[i].data)
            *bytes += 4.0 * (double)view_count(&v[i]);
    }
    if (st == ST_OK)
        st = best_time(best, row, v, v + OUTS, t, err);
    for (int i = 0; i < OUTS + INS; i++)
        mem_free(v[i].data);
    return st;
}

/* The limits: BLAS on a square product (GFLOP/s), memcpy (GB/s, read and write counted). */
static enum status product_kernel(struct kctx *k, const struct view *out, const struct view *in,
                                  const void *attrs, struct error *err)
{
    (void)k;
    (void)attrs;
    (void)err;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SQUARE, SQUARE, SQUARE, 1.0f, in[0].data,
                SQUARE, in[1].data, SQUARE, 0.0f, out[0].data, SQUARE);
    return ST_OK;
}
static enum status copy_kernel(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    (void)k;
    (void)attrs;
    (void)err;
    memcpy(out[0].data, in[0].data, COPY_BYTES);
    return ST_OK;
}
static const struct row product_row = {
    "BLAS",
    "1024 x 1024 x 1024",
    product_kernel,
    NULL,
    LINEAR_FLOPS,
    { FLOAT(SQUARE, SQUARE) },
    { FLOAT(SQUARE, SQUARE), FLOAT(SQUARE, SQUARE) },
};
static const struct row copy_row = {
    "memcpy", "64 MiB", copy_kernel, NULL, 0, { FLOAT(COPY_BYTES / 4) }, { FLOAT(COPY_BYTES / 4) },
};

static void print_row(const struct row *row, double best, double bytes, const double limit[2],
                      bool json)
{
    const bool product = row->flops > 0.0;
    const double rate = (product ? row->flops : bytes) / best / 1e9;
    const double share = rate / limit[product ? 0 : 1];
    if (json)
        printf(
            "{\"operation\":\"%s\",\"shape\":\"%s\",\"seconds\":%.6g,\"rate\":%.4g,\"unit\":\"%s\","
            "\"limit\":\"%s\",\"share\":%.4f}\n",
            row->name, row->shape, best, rate, product ? "GFLOP/s" : "GB/s",
            product ? "BLAS" : "memcpy", share);
    else
        printf("%-22s %-20s %9.3f ms %8.2f %-8s %5.0f %% of %s\n", row->name, row->shape,
               best * 1e3, rate, product ? "GFLOP/s" : "GB/s", share * 100.0,
               product ? "BLAS" : "memcpy");
    fflush(stdout);
}

static enum status run(const char *only, const struct timing *t, bool json, struct error *err)
{
    double best, bytes, limit[2] = { 0 };
    if (measure(&best, &bytes, &product_row, t, err) != ST_OK)
        return ST_FAIL;
    limit[0] = product_row.flops / best / 1e9;
    print_row(&product_row, best, bytes, limit, json);
    if (measure(&best, &bytes, &copy_row, t, err) != ST_OK)
        return ST_FAIL;
    limit[1] = bytes / best / 1e9;
    print_row(&copy_row, best, bytes, limit, json);
    for (int i = 0; i < ROWS; i++) {
        if (only && !strstr(rows[i].name, only))
            continue;
        if (measure(&best, &bytes, &rows[i], t, err) != ST_OK)
            return error_prefix(err, ST_FAIL, "%s", rows[i].name);
        print_row(&rows[i], best, bytes, limit, json);
    }
    return ST_OK;
}

int bench_kernels(int argc, char **argv)
{
    static const struct command_help help = {
        "deem bench kernels [--only WORD] [--seconds S] [--processor] [--json]",
        "Times every operation of the CPU backend: products as a share of BLAS, the rest of "
        "memcpy.",
        "  deem bench kernels\n  deem bench kernels --only attention --json\n",
    };
    const char *only = NULL;
    struct timing t = { .seconds = 0.2, .now = clock_seconds };
    bool json = false, processor = false;
    const struct option options[] = {
        { "only", OPTION_TEXT, &only, "WORD", "operations whose name holds WORD (all)", 0, 0,
          NULL },
        { "seconds", OPTION_REAL, &t.seconds, "S", "time for each operation (0.2)", 0.001, 60,
          NULL },
        { "processor", OPTION_FLAG, &processor, NULL,
          "processor time of all threads instead of wall time, for a machine that is not quiet", 0,
          0, NULL },
        { "json", OPTION_FLAG, &json, NULL, "one JSON object a line", 0, 0, NULL },
    };
    struct error err = { 0 };
    enum status st = options_parse(argc, argv, options, 4, &help, NULL, &err);

    if (st == ST_END)
        return 0;
    if (processor)
        t.now = clock_process_seconds;
    if (st == ST_OK)
        st = run(only, &t, json, &err);
    if (st != ST_OK)
        log_error(&err);
    return error_exit_code(err.cause);
}
