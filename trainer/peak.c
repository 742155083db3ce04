/* trainer/peak.c: see peak.h. The same kernel as the program's products, on operands that are no zeros. */
#include "trainer/peak.h"

#include "core/file.h"
#include "core/mem.h"
#include "kernels/matmul.h"

static double product_seconds(const struct view *out, const struct view *in, struct error *err)
{
    const struct matmul_attrs plain = { .alpha = 1.0f };
    struct kctx k = { 0 };
    const double begin = clock_seconds();
    return matmul_fwd_cpu(&k, out, in, &plain, err) == ST_OK ? clock_seconds() - begin : -1.0;
}

enum status peak_measure(double *flops_per_second, double seconds, struct error *err)
{
    const int64_t n = PEAK_ROWS, count = n * n;
    float *data = mem_alloc((size_t)(3 * count) * sizeof *data);
    struct view v[3];
    double best = 0.0, spent = 0.0;

    *flops_per_second = 0.0;
    if (!data)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: rate of a product");
    for (int64_t i = 0; i < 3 * count; i++)
        data[i] = (float)(i % 251 - 125) / 125.0f;
    for (int i = 0; i < 3; i++)
        v[i] = (struct view){ data + i * count, DT_F32, 2, { n, n } };
    for (int run = 0; run < 2 || spent < seconds; run++) {
        const double took = product_seconds(v, v + 1, err);
        if (took < 0.0) {
            mem_free(data);
            return ST_FAIL;
        }
        spent += took;
        best = best == 0.0 || took < best ? took : best;
    }
    mem_free(data);
    *flops_per_second = best > 0.0 ? 2.0 * (double)n * (double)count / best : 0.0;
    return ST_OK;
}

double peak_share(double flops, double seconds, double peak)
{
    return seconds > 0.0 && peak > 0.0 ? flops / seconds / peak : 0.0;
}
