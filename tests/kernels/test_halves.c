/* tests/kernels/test_halves.c: a float32 weight as a bf16 half and 16 low bits (adamw.h), for every finite pattern. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "kernels/adamw.h"

static float number(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The first pattern of [first, last] that does not come back, or last + 1. */
static uint64_t first_lost(uint64_t first, uint64_t last)
{
    uint64_t lost = last + 1;
    for (uint64_t u = first; u <= last; u++) {
        const uint32_t bits = (uint32_t)u;
        if (adamw_join(adamw_high(bits), adamw_low(bits)) != bits && u < lost)
            lost = u;
    }
    return lost;
}

static void every_finite_number_comes_back(void **state)
{
    (void)state;
    assert_int_equal(first_lost(0, 0x7f7fffffu), 0x7f800000u);
    assert_int_equal(first_lost(0x80000000u, 0xff7fffffu), 0xff800000u);
}

static void the_high_half_is_the_nearest(void **state)
{
    (void)state;
    for (uint32_t bits = 0x00800000u; bits < 0x7f000000u; bits += 40503u) {
        const float x = number(bits),
                    step = number((bits & 0xffff0000u) + 0x10000u) - number(bits & 0xffff0000u);
        const float high = number((uint32_t)adamw_high(bits) << 16);
        assert_true(fabsf(high - x) <= 0.5f * step);
    }
    /* halves away from zero, both signs */
    assert_int_equal(adamw_high(0x3f808000u), 0x3f81);
    assert_int_equal(adamw_high(0xbf808000u), 0xbf81);
    assert_int_equal(adamw_high(0x3f807fffu), 0x3f80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_finite_number_comes_back),
        cmocka_unit_test(the_high_half_is_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
