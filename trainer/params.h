/* trainer/params.h: the named parameters of one model. Programs of every shape refer to the same
 * table. A parameter is declared by the module that uses it (program_param); whether it trains is
 * asked once, by name. Values and gradients lie in two parallel blocks of equal element offsets:
 * first all that train, in the order of declaration turned round (the order in which backward
 * finishes them), then the frozen ones, which have no gradient. A table can live without memory:
 * counting and planning need names and shapes only. One thread. */
#ifndef DEEM_TRAINER_PARAMS_H
#define DEEM_TRAINER_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/mem.h"
#include "kernels/backend.h"

struct param {
    const char *name; /* composite name, spec model.md 2.9; owned by the table */
    int rank;
    int64_t shape[VIEW_RANK_MAX];
    int64_t count;   /* elements */
    bool trainable;  /* gets a gradient */
    bool buffer;     /* computed, not learned: saved in checkpoints, never loaded (tables) */
    int64_t offset;  /* elements into the blocks, after params_allocate */
    float *value;    /* borrowed from the table; NULL before params_allocate */
    float *gradient; /* NULL for frozen ones */
};

/* Whether the parameter of this name trains. */
typedef bool params_trainable_fn(const void *arg, const char *name);

struct params {
    struct param *list;
    size_t count, cap;
    struct hash_map *by_name;
    struct arena names;
    params_trainable_fn *trainable; /* NULL: nothing trains */
    const void *trainable_arg;      /* borrowed */
    float *values, *gradients;      /* blocks; NULL before params_allocate */
    int64_t trainable_elements, elements;
};

enum status params_open(struct params **out, params_trainable_fn *trainable, const void *arg,
                        struct error *err);
void params_close(struct params **p);

/* Index of the parameter, declared now or before. ST_FAIL: CAUSE_ARG (declared before with another
 * shape, or after params_allocate), CAUSE_NOMEM. */
enum status params_declare(struct params *p, size_t *index, const char *name, const int64_t *shape,
                           int rank, struct error *err);
/* As params_declare; never trains and carries `buffer`. */
enum status params_declare_buffer(struct params *p, size_t *index, const char *name,
                                  const int64_t *shape, int rank, struct error *err);
/* NULL where absent. Valid until the next declaration. */
struct param *params_find(const struct params *p, const char *name);

/* Memory for all values and for the gradients of what trains, zeroed. ST_FAIL: CAUSE_NOMEM. */
enum status params_allocate(struct params *p, struct error *err);
void params_clear_gradients(struct params *p);

#endif
