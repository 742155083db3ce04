/* trainer/weight_init.h: the values of a parameter that no published file has, by its composite name:
 * spec model.md 2.1 to 2.8 (which distribution), 3.5 T9 (the draws). Every element is a function of (seed,
 * name, index), so rows that are added to a published table are those of the whole table. Parameters
 * that published files would bring are drawn, too, for models that start from nothing: LLaMA and text
 * tables N(0, 0.02^2), the trunk as timm makes it, convolutions and dense layers of the diffusion model as
 * PyTorch does. */
#ifndef DEEM_TRAINER_WEIGHT_INIT_H
#define DEEM_TRAINER_WEIGHT_INIT_H

#include <stdint.h>

#include "core/error.h"
#include "trainer/params.h"

enum weight_law {
    LAW_CONSTANT,  /* `a` */
    LAW_NORMAL,    /* standard deviation `a` */
    LAW_UNIFORM,   /* U(-a, a) */
    LAW_HEAD,      /* rows of published ids by N(0, a^2), zeros after them */
    LAW_HEAD_BIAS, /* 0 for published ids, `a` after them */
};
struct weight_rule {
    enum weight_law law;
    double a;
};

/* The rule of a parameter. `fan_in` of a bias is that of its weight; see weight_fan_in. */
struct weight_rule weight_rule(const char *name, int64_t fan_in, int64_t fan_out);
/* Inputs of each output of a weight [out,in,...]; of a bias, those of the weight beside it in `params` (1
 * where there is none). */
int64_t weight_fan_in(const struct params *params, const struct param *q);

/* Fills out[0 .. count - first) with elements [first, count) of the parameter. `published` is how many
 * rows of the token tables published files have. ST_FAIL: CAUSE_NOMEM. */
enum status weight_draw(float *out, const struct params *params, const struct param *q,
                        int64_t first, uint64_t seed, int64_t published, struct error *err);

#endif
