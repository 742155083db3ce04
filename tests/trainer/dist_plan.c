/* tests/trainer/dist_plan.c: see dist_plan.h. */
#include "tests/trainer/dist_plan.h"

#include <math.h>
#include <stdbool.h>

#include "core/rng.h"

float dist_plan_element(const struct plan *p, size_t salt, int rank, int64_t i)
{
    return p->table[(salt + (size_t)rank * 571 + (size_t)i * 7) % TABLE];
}

float dist_plan_gradient(const struct plan *p, int step, int rank, int64_t i, float value)
{
    if (step == p->bad_step && rank == p->bad_rank && i == p->elements / 2)
        return (float)NAN;
    return dist_plan_element(p, (size_t)step * 977 + 13, rank, i) + 0.1f * value;
}

static void cut(struct op *op, struct rng *g, int world)
{
    op->offsets[world] = op->count;
    for (int r = world - 1; r > 0; r--)
        op->offsets[r] = (int64_t)rng_below(g, (uint64_t)op->offsets[r + 1] + 1);
    op->offsets[0] = 0;
}

static void move_a_cut(struct op *op, int world)
{
    int r = 1;
    while (r < world && op->offsets[r] == op->offsets[r + 1])
        r++;
    if (r < world)
        op->offsets[r]++;
    else
        op->offsets[1]--; /* all end with the block */
}

/* What no other rank calls at that place: another call, another size, another cut or root. */
static struct op disagreeing(const struct plan *p, struct rng *g)
{
    if (p->fault_at >= p->n_ops[p->fault_step])
        return (struct op){ .kind = BARRIER };
    struct op op = p->ops[p->fault_step][p->fault_at];
    const uint64_t how = rng_below(g, 4);
    const bool parts = op.kind == REDUCE_SCATTER || op.kind == ALL_GATHER;

    if (op.kind == BARRIER || how == 0)
        op.kind = (op.kind + 1) % KINDS;
    else if (how > 1 && op.kind == BROADCAST)
        op.root = (op.root + 1) % p->world;
    else if (how > 1 && parts && op.count > 0)
        move_a_cut(&op, p->world);
    else
        op.offsets[p->world] = ++op.count;
    return op;
}

static void draw_fault(struct plan *p, struct rng *g)
{
    p->deadline = PATIENCE;
    if (p->world == 1 || rng_bernoulli(g, 0.3))
        return;
    p->fault = (enum fault)(1 + rng_below(g, FAULTS - 1));
    p->fault_rank = (int)rng_below(g, (uint64_t)p->world);
    p->fault_step = (int)rng_below(g, (uint64_t)p->steps);
    p->fault_at = (int)rng_below(g, (uint64_t)p->n_ops[p->fault_step] + 2);
    if (p->fault == STALLS)
        p->deadline = 0.02 + 0.06 * rng_unit(g);
    if (p->fault == DISAGREES && rng_bernoulli(g, 0.8) && p->n_ops[p->fault_step] > 0)
        p->fault_at = (int)rng_below(g, (uint64_t)p->n_ops[p->fault_step]);
    if (p->fault == DISAGREES)
        p->wrong = disagreeing(p, g);
}

void dist_plan_draw(struct plan *p, uint64_t seed)
{
    struct rng_key key;
    struct rng g;

    rng_key_init(&key, seed, "test dist faults");
    rng_init(&g, &key);
    p->seed = seed;
    p->world = 1 + (int)rng_below(&g, WORLDS);
    p->steps = 1 + (int)rng_below(&g, STEPS);
    p->sizes[0] = 1 + (int64_t)rng_below(&g, 700);
    p->sizes[1] = 1 + (int64_t)rng_below(&g, 700); /* one piece of the optimizer in all, */
    if (rng_bernoulli(&g, 0.1))                    /* or some ranks own one each */
        p->sizes[1] += 65536 * (1 + (int64_t)rng_below(&g, 3));
    for (int i = 0; i < TABLE; i++)
        p->table[i] = (float)((rng_unit(&g) - 0.5) * pow(10.0, (double)rng_below(&g, 7) - 3.0));
    p->bad_step = rng_bernoulli(&g, 0.1) ? (int)rng_below(&g, (uint64_t)p->steps) : -1;
    p->bad_rank = (int)rng_below(&g, (uint64_t)p->world);
    for (int s = 0; s < p->steps; s++) {
        p->n_ops[s] = (int)rng_below(&g, OPS + 1);
        for (int i = 0; i < p->n_ops[s]; i++) {
            struct op *op = &p->ops[s][i];
            op->kind = (enum kind)rng_below(&g, KINDS);
            op->count = (int)rng_below(&g, COUNT);
            op->root = (int)rng_below(&g, (uint64_t)p->world);
            op->salt = rng_below(&g, TABLE);
            cut(op, &g, p->world);
        }
    }
    draw_fault(p, &g);
}
