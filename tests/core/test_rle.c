/* tests/core/test_rle.c: COCO run lengths against a slow reading of the definition, and the hostile
 * inputs of spec robustness.md 2.6. */
#include "tests/support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rle.h"

/* Steele, Vigna: SplitMix64. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return *state ^= z ^ (z >> 31);
}

static void a_mask_of_two_sizes_is_not_merged(void **state)
{
    struct rle a, b, out;
    struct error err = { 0 };
    (void)state;

    rle_init(&a);
    rle_init(&b);
    rle_init(&out);
    assert_int_equal(rle_from_constant(&a, 2, 3, true, &err), ST_OK);
    assert_int_equal(rle_from_constant(&b, 3, 2, true, &err), ST_OK);
    assert_int_equal(rle_merge(&out, &a, &b, false, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    rle_clear(&a);
    rle_clear(&b);
    rle_clear(&out);
}

static void sizes_beyond_the_limit_are_refused(void **state)
{
    static const int64_t sizes[][2] = {
        { 0, 4 },
        { 4, 0 },
        { -1, 4 },
        { 1, INT64_MAX },
        { INT64_MAX, INT64_MAX },
        { 1, (1 << 28) + 1 },
        { 16385, 16384 },
        { INT64_MIN, 1 },
    };
    struct rle r;
    struct error err = { 0 };
    (void)state;

    rle_init(&r);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(rle_start(&r, sizes[i][0], sizes[i][1], &err), ST_SKIP);
        assert_string_equal(err.code, "mask-size");
        error_clear(&err);
    }
    assert_int_equal(rle_from_constant(&r, 16384, 16384, true, &err), ST_OK);
    assert_int_equal(rle_area(&r), 1 << 28);
    rle_clear(&r);
}

static void far_coordinates_are_clamped_and_bounded(void **state)
{
    static const double wild[] = { -1e30, -1e30, 1e30, -1e30, 1e30, 1e30, -1e30, 1e30 };
    struct rle r;
    struct rle_scratch s;
    struct error err = { 0 };
    (void)state;

    rle_init(&r);
    rle_scratch_init(&s);
    assert_int_equal(rle_from_polygon(&r, 5, 7, wild, 8, &s, &err), ST_OK);
    assert_int_equal(rle_area(&r), 35);
    assert_int_equal(rle_from_polygon(&r, 5, 7, wild, 0, &s, &err), ST_OK);
    assert_int_equal(rle_area(&r), 0);

    const size_t n = 20000; /* points that cross 16,384 columns each: more work than the limit */
    double *xy = malloc(2 * n * sizeof *xy);
    for (size_t i = 0; i < n; i++) {
        xy[2 * i] = i & 1 ? 16384.0 : 0.0;
        xy[2 * i + 1] = (double)i;
    }
    assert_int_equal(rle_from_polygon(&r, 16384, 16384, xy, 2 * n, &s, &err), ST_SKIP);
    assert_string_equal(err.code, "mask-work");
    free(xy);
    rle_clear(&r);
    rle_scratch_clear(&s);
}

/* An independent, slow reading of the definition in data.md 7.4: the dense walk. */
static void slow_polygon(uint8_t *columns, const double *xy, size_t points, int h, int w)
{
    static int u[1 << 18], v[1 << 18]; /* 20 edges of at most 5 x 20 x 64 steps */
    int x[20], y[20];
    size_t m = 0;

    assert_true(points <= 20);
    for (size_t i = 0; i < points; i++) {
        x[i] = (int)(5 * xy[2 * i] + .5);
        y[i] = (int)(5 * xy[2 * i + 1] + .5);
    }
    for (size_t i = 0; i < points; i++) {
        int xs = x[i], ys = y[i], xe = x[(i + 1) % points], ye = y[(i + 1) % points];
        const int dx = abs(xe - xs), dy = abs(ye - ys), n = dx > dy ? dx : dy;
        const bool flat = dx >= dy, flip = flat ? xs > xe : ys > ye;
        if (flip) {
            const int tx = xs, ty = ys;
            xs = xe, ys = ye, xe = tx, ye = ty;
        }
        const double s = n == 0 ? 0 : flat ? (double)(ye - ys) / dx : (double)(xe - xs) / dy;
        for (int d = 0; d <= n; d++) {
            const int t = flip ? n - d : d;
            u[m] = flat ? xs + t : (int)(xs + s * t + .5);
            v[m++] = flat ? (int)(ys + s * t + .5) : ys + t;
        }
    }
    memset(columns, 0, (size_t)h * (size_t)w);
    for (size_t j = 1; j < m; j++) {
        const int uu = u[j] < u[j - 1] ? u[j] : u[j] - 1, vv = v[j] < v[j - 1] ? v[j] : v[j - 1];
        if (u[j] == u[j - 1] || uu < 2 || uu % 5 != 2 || (uu - 2) / 5 >= w)
            continue;
        int row = (int)ceil((vv - 2) / 5.0);
        row = row < 0 ? 0 : row > h ? h : row;
        for (size_t p = (size_t)((uu - 2) / 5) * (size_t)h + (size_t)row; p < (size_t)h * (size_t)w;
             p++)
            columns[p] ^= 1;
    }
}

static void the_short_walk_equals_the_dense_walk(void **state)
{
    uint64_t seed = 20240607;
    struct rle r, want;
    struct rle_scratch s;
    struct error err = { 0 };
    (void)state;

    rle_init(&r);
    rle_init(&want);
    rle_scratch_init(&s);
    for (int k = 0; k < 20000; k++) {
        double xy[40];
        uint8_t columns[40 * 40];
        const int h = 1 + (int)(next_random(&seed) % 40), w = 1 + k % 40;
        const size_t points = 1 + (size_t)k % 20;
        for (size_t i = 0; i < 2 * points; i++) {
            next_random(&seed);
            const double unit = (double)(seed >> 11) * 0x1p-53;
            xy[i] = (unit * 1.6 - 0.3) * (i & 1 ? h : w) * (k % 7 == 0 ? 20 : 1);
            if (seed % 3 == 0)
                xy[i] = rint(xy[i] * 2) / 2; /* halves sit on the rounding edges */
        }
        slow_polygon(columns, xy, points, h, w);
        assert_int_equal(rle_from_bytes(&want, h, w, columns, &err), ST_OK);
        assert_int_equal(rle_from_polygon(&r, h, w, xy, 2 * points, &s, &err), ST_OK);
        if (!rle_equal(&r, &want))
            fail_msg("polygon %d of %zu points on %d x %d differs", k, points, w, h);
    }
    rle_clear(&r);
    rle_clear(&want);
    rle_scratch_clear(&s);
}

static void a_failed_allocation_is_an_error(void **state)
{
    static const double xy[] = { 1, 1, 30, 1, 30, 30, 1, 30 };
    static const size_t sizes[] = { 8, 8 };
    double both[16];
    bool done = false;
    (void)state;

    memcpy(both, xy, sizeof xy);
    memcpy(both + 8, xy, sizeof xy);
    both[8] = 7;
    for (uint64_t k = 1; !done; k++) {
        struct rle r;
        struct rle_scratch s;
        struct error err = { 0 };
        rle_init(&r);
        rle_scratch_init(&s);
        mem_fail_at(k, true);
        const enum status st = rle_from_polygons(&r, 40, 40, both, sizes, 2, &s, &err);
        mem_fail_at(0, false);
        done = st == ST_OK;
        if (!done)
            assert_int_equal(err.cause, CAUSE_NOMEM);
        rle_clear(&r);
        rle_scratch_clear(&s);
        assert_true(k < 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mask_of_two_sizes_is_not_merged),
        cmocka_unit_test(sizes_beyond_the_limit_are_refused),
        cmocka_unit_test(far_coordinates_are_clamped_and_bounded),
        cmocka_unit_test(the_short_walk_equals_the_dense_walk),
        cmocka_unit_test(a_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
