/* What the two files of the budget know of each other: master_budget.c decides and acts, master_budget_show.c tells of it. */
#ifndef APP_MASTER_BUDGET_INT_H
#define APP_MASTER_BUDGET_INT_H

#include "app/master_int.h"

struct budget {
    bool is_dirty;
    uint64_t next_ns, watch_ns, sample_ns;
    uint64_t held_bytes, program_bytes; /* as last decided */
    struct budget_model *models;        /* of lives with workers, in their order */
    struct life **lives;
    size_t cap;
};

static inline bool has_workers(const struct life *l)
{
    return l->segment_fd >= 0 && l->children_len > 0;
}

static inline bool has_processes(const struct life *l)
{
    for (int i = 0; i < l->children_len; i++)
        if (l->children[i].pid != 0)
            return true;
    return false;
}

#endif
