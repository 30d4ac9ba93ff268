/* What the files of the budget know of each other: master_budget.c decides and acts, by what master_budget_lives.c says of each life;
 * master_budget_show.c tells of it. */
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

/* master_budget_lives.c */
bool budget_is_served(const struct master *m, const struct life *news); /* without it, by another life of its model */
void budget_look_at_replacements(const struct master *m, struct life **lives, size_t len); /* lives: room for all */
bool budget_is_pinned(const struct life *l);
struct budget_model budget_describe(const struct life *l);

#endif
