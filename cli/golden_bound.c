/* cli/golden_bound.c: how far a tensor may be off: case.json's tolerances, or those of bfloat16 storage
 * (goldens/README.md, tolerances_bf16). */
#include <string.h>

#include "cli/golden.h"

static const struct json_value *bf16_rules(const struct golden *g)
{
    const struct json_value *rules = json_get(g->root, "tolerances_bf16");
    return rules && rules->type == JSON_T_OBJECT && rules->child ? rules : NULL;
}

bool golden_has_bf16(const struct golden *g)
{
    return g->root && bf16_rules(g);
}

static bool number(const struct json_value *of, const char *key, double *out)
{
    const struct json_value *v = of ? json_get(of, key) : NULL;
    if (v && v->type == JSON_T_NUMBER)
        *out = v->number;
    return v && v->type == JSON_T_NUMBER;
}

static bool starts(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* What bfloat16 changes of the bound of a tensor; false: nothing. */
static bool bf16_bound(const struct golden *g, const char *name, struct golden_bound *b)
{
    const struct json_value *rules = bf16_rules(g);
    const struct json_value *exceptions = rules ? json_get(rules, "exceptions") : NULL;
    const struct json_value *own = exceptions ? json_get(exceptions, name) : NULL;
    if (!rules || (b->rel == 0.0 && b->abs == 0.0))
        return false; /* whole numbers are exact in every type */
    b->skip = starts(name, "step1.") || (own && own->type == JSON_T_STRING);
    if (own && own->type == JSON_T_NUMBER)
        b->rel = own->number;
    else if (starts(name, "grad"))
        return number(rules, "gradient", &b->rel);
    else if (starts(name, "loss.") && number(rules, "loss", &b->rel))
        return true;
    else
        return number(rules, "forward", &b->rel);
    return true;
}

bool golden_bound(const struct golden *g, const char *name, struct golden_bound *b)
{
    const struct json_value *all = json_get(g->root, "tolerances");
    const struct json_value *one = all ? json_get(all, name) : NULL;
    *b = (struct golden_bound){ 0 };
    if (!number(one, "rel_l2", &b->rel) || !number(one, "abs", &b->abs))
        return false;
    if (g->place.storage == DT_BF16)
        bf16_bound(g, name, b);
    return true;
}

bool golden_bound_cosine(const struct golden *g, double *least)
{
    return g->place.storage == DT_BF16 && number(bf16_rules(g), "gradient_cosine_overall", least);
}
