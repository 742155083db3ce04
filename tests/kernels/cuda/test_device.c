/* tests/kernels/cuda/test_device.c: opening a device where each allocation in turn fails, and what is said where no
 * GPU memory is left. On the host's stand-in for CUDA (tests/support/cuda_host). */
#include "tests/support/support.h"

#include <string.h>

#include "kernels/device.h"

void host_fail_at(int k);

static void a_device_without_memory_is_not_opened(void **state)
{
    int k = 1;
    (void)state;
    for (;; k++) {
        struct device *d = NULL;
        struct error err = { 0 };
        host_fail_at(k);
        const enum status st = device_open_driver(&d, deem_cuda_driver(), NULL, &err);
        host_fail_at(0);
        if (st == ST_OK) {
            device_close(&d);
            break;
        }
        assert_null(d);
        assert_int_equal(err.cause, CAUSE_NOMEM);
        assert_non_null(strstr(err.text, "out of "));
    }
    assert_true(k > 3); /* the workspace, the fault word, its copy on the host */
}

static void memory_that_is_not_there_is_named(void **state)
{
    struct device *d = NULL;
    struct error err = { 0 };
    void *p = &err;
    (void)state;
    assert_int_equal(device_open_driver(&d, deem_cuda_driver(), NULL, &err), ST_OK);
    assert_int_equal(device_backend(d), BACKEND_CUDA);
    host_fail_at(1);
    assert_int_equal(device_alloc(d, &p, 1234, "arena", &err), ST_FAIL);
    assert_null(p);
    assert_int_equal(err.cause, CAUSE_NOMEM);
    assert_non_null(strstr(err.text, "out of GPU memory: arena of 1234 bytes"));
    struct error other = { 0 };
    host_fail_at(1);
    assert_int_equal(device_alloc_host(d, &p, 99, "batch", &other), ST_FAIL);
    assert_non_null(strstr(other.text, "out of pinned memory: batch of 99 bytes"));
    struct error third = { 0 };
    assert_int_equal(device_alloc(d, &p, 16, "more", &third), ST_OK);
    device_free(d, p);
    device_close(&d);
    assert_null(d);
}

static void every_kernel_has_both_sides(void **state)
{
    struct device *cuda = NULL, *cpu = NULL;
    struct error err = { 0 };
    (void)state;
    assert_int_equal(device_open_driver(&cuda, deem_cuda_driver(), NULL, &err), ST_OK);
    assert_int_equal(device_open(&cpu, BACKEND_CPU, NULL, &err), ST_OK);
    for (int k = KERNEL_NONE + 1; k < KERNEL_COUNT; k++) {
        assert_non_null(device_kernel(cuda, (enum kernel)k));
        assert_non_null(device_kernel(cpu, (enum kernel)k));
    }
    assert_null(device_kernel(cuda, KERNEL_NONE));
    assert_string_equal(kernel_name(KERNEL_xent_fwd), "xent_fwd");
    device_close(&cuda);
    device_close(&cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_without_memory_is_not_opened),
        cmocka_unit_test(memory_that_is_not_there_is_named),
        cmocka_unit_test(every_kernel_has_both_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
