/* What the files of the budget know of each other: master_budget.c decides, by what master_budget_lives.c says of each life and master_budget_watch.c
 * has seen of it; master_budget_act.c does it, master_budget_show.c tells of it. */
#ifndef APP_MASTER_BUDGET_INT_H
#define APP_MASTER_BUDGET_INT_H

#include "app/master_int.h"

#define BUDGET_WATCH_EVERY_NS (50 * NS_PER_MS) /* models that load may take more than was thought */

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

/* master_budget_act.c */
void budget_load(struct master *m, struct life *l);
/* The edge is asked to let go of it, unless it never had it; budget_yielded hears the answer. is_drain: even if it is in use. why: for people. */
void budget_yield(struct master *m, struct life *l, bool is_drain, const char *why);
/* A load that takes more than there is: what is known of it now decides whether it is tried again. */
void budget_stop(struct master *m, struct life *l);
/* It cannot fit, whoever goes. bytes: there are for models. */
void budget_refuse(struct master *m, struct life *l, const struct budget_model *b, uint64_t bytes);

/* master_budget_watch.c */
void budget_refresh(struct master *m, struct life *l, uint64_t now_ns);
void budget_watch_loads(struct master *m, uint64_t now_ns); /* sets watch_ns */
void budget_sample(struct master *m, uint64_t now_ns);      /* sets sample_ns */

#endif
