/* trainer/planner.h: gives every arena tensor of a program its place in one block of memory. A tensor
 * lives from the node that first writes it to the node that last reads it; two tensors share bytes
 * only when their lives do not meet. Offsets are best fits: large tensors first, each into the
 * smallest hole that is free for its whole life. Source of the heuristic: Pisarchyk, Lee 2020,
 * arXiv:2001.03288 (greedy by size). */
#ifndef DEEM_TRAINER_PLANNER_H
#define DEEM_TRAINER_PLANNER_H

#include "trainer/program.h"

/* Life and place of one tensor that owns arena memory, in node indices (both ends included). */
struct plan_item {
    int tensor;
    int first, last;
    int64_t bytes, offset;
};

struct memory_plan {
    struct plan_item *items; /* in order of the tensor's id */
    int n_items;
    int *item_of;        /* by tensor: its item, -1 where it owns no arena memory */
    int64_t arena_bytes; /* the peak: what the runner allocates */
    int64_t live_bytes;  /* largest sum of live tensors over all nodes: no plan can be smaller */
    int live_node;       /* where that is */
};

/* Bytes of an element: 4 for exact and index, `storage` for the rest. */
enum status planner_open(struct memory_plan **out, const struct program *p, enum dtype storage,
                         struct error *err);
void planner_close(struct memory_plan **plan);
/* Brute force over all pairs: ST_FAIL, CAUSE_INTERNAL, names the first two live tensors that share
 * a byte. For tests. */
enum status planner_check(const struct memory_plan *plan, const struct program *p,
                          struct error *err);

static inline size_t role_bytes(enum role role, enum dtype storage)
{
    return role == ROLE_STORAGE ? dtype_size(storage) : 4;
}

#endif
