/* trainer/placement.h: where programs run, and their parameters with them. The CPU works in the host's own
 * memory. A device has memory of its own: values in the storage type and gradients in float32, at the
 * element offsets of params.h, copied as whole blocks:
 *
 *     placement_open(&pl, params, &opt, err);
 *     ... runner_open(&r, program, pl, err); weights into params->list[i].value ...
 *     placement_upload(pl, err);                  after every change of values on the host
 *     placement_clear_gradients(pl, err);
 *     ... runs ...
 *     placement_download_gradients(pl, err);      now params->gradients has them
 *
 * On the CPU uploads and downloads have nothing to do. One thread. */
#ifndef DEEM_TRAINER_PLACEMENT_H
#define DEEM_TRAINER_PLACEMENT_H

#include <stdbool.h>

#include "kernels/device.h"
#include "trainer/params.h"

struct placement_options {
    enum backend backend;
    enum dtype storage; /* of ROLE_STORAGE: float32, or bf16 on CUDA */
    bool apart;         /* the CPU as a device with memory of its own: for tests */
    struct device_options device;
};
void placement_options_init(struct placement_options *opt);

struct placement;
/* `params` is borrowed. ST_FAIL: CAUSE_ARG (bf16 on the CPU), as device_open. */
enum status placement_open(struct placement **out, struct params *params,
                           const struct placement_options *opt, struct error *err);
void placement_close(struct placement **p);
/* Memory for the parameters, once they have theirs on the host; done again it does nothing. */
enum status placement_allocate(struct placement *p, struct error *err);

enum status placement_upload(struct placement *p, struct error *err);
enum status placement_download_gradients(struct placement *p, struct error *err);
/* The device's and the host's. */
enum status placement_clear_gradients(struct placement *p, struct error *err);

/* For runners. False: everything lies in the host's memory. */
bool placement_apart(const struct placement *p);
enum dtype placement_storage(const struct placement *p);
struct device *placement_device(const struct placement *p);
/* The two blocks, in the device's memory; only of placements that are apart, after placement_allocate. */
void *placement_values(const struct placement *p);
float *placement_gradients(const struct placement *p);
/* Where the device has a parameter's value and gradient; NULL for the gradient of a frozen one. */
void *placement_value(const struct placement *p, const struct param *q);
void *placement_gradient(const struct placement *p, const struct param *q);

/* Host and device: `n` numbers, float32 on the host, `type` on the device. The call waits until `host` may
 * be used again. */
enum status placement_copy_in(struct placement *p, void *to, const float *host, int64_t n,
                              enum dtype type, struct error *err);
enum status placement_copy_out(struct placement *p, float *host, const void *from, int64_t n,
                               enum dtype type, struct error *err);

#endif
