/* tests/kernels/cuda/host_module.c: keeps the driver in the module. */
#include "kernels/device.h"

extern device_driver_fn *const host_module_driver;
device_driver_fn *const host_module_driver = deem_cuda_driver;
