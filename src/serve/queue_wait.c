/* How long a request may wait for its run, and what becomes of it then. */
#include <stdio.h>

#include "base/clock.h"
#include "serve/internal_int.h"
#include "serve/queue.h"

static const struct queue_policy *policy_of(const struct served *m, const struct infer *i)
{
    return &m->shared->limits.queue[i->priority - 1];
}

void queue_wait_begin(struct served *m, struct infer *i)
{
    uint64_t wait_ns = policy_of(m, i)->wait_ns;
    i->begin_by_ns = wait_ns > 0 ? i->t_submit_ns + wait_ns : 0;
}

uint64_t queue_part_begin_by(const struct served *m, const struct infer *whole, uint32_t part)
{
    return part == 0 || policy_of(m, whole)->is_delay ? whole->begin_by_ns : 0;
}

uint64_t queue_answer_by(const struct served *m, const struct infer *i, uint32_t ahead)
{
    uint32_t cap = m->lane.row_cap > i->rows ? m->lane.row_cap : i->rows;
    uint32_t rows = ahead < cap - i->rows ? ahead + i->rows : cap;
    if (i->begin_by_ns == 0 || policy_of(m, i)->is_delay)
        return i->deadline_ns;
    uint64_t by = i->begin_by_ns + (uint64_t)cost_run_ns(&m->schedule.cost, rows);
    return by < i->deadline_ns ? by : i->deadline_ns;
}

static void put_behind(struct served *m, struct infer *i)
{
    i->expected_ns = 0; /* what was thought holds no more, and teaches nothing */
    infer_reorder(m, i, i->order + ORDER_BEHIND);
    if (i->order > m->mix.last_order)
        m->mix.last_order = i->order;
}

bool queue_overdue(struct served *m, struct infer *i)
{
    struct lane_block *b = i->block;
    bool is_published = b && b->use == LANE_PUBLISHED;
    uint64_t waited_ns = i->begin_by_ns - i->t_submit_ns;
    i->begin_by_ns = 0;
    if (is_published && !lane_is_open(b))
        return false; /* it runs, or has run */
    if (policy_of(m, i)->is_delay) {
        put_behind(m, i);
        return false;
    }
    if (is_published && !lane_take_back(b))
        return false;
    char text[200];
    (void)snprintf(text, sizeof text, "Request timeout expired: it waited %llu ms for a run of model '%s'",
                   (unsigned long long)(waited_ns / NS_PER_MS), m->info.name);
    i->deadline_ns = i->t_submit_ns + waited_ns; /* what was learned of it counts from there */
    infer_end_err(i, ERR_TIMEOUT, text, "try again, give the model more instances, or raise models.NAME.queue_timeout");
    if (b)
        abandon_block(m, b);
    return true;
}

void queue_has_run(struct lane_block *b)
{
    for (struct infer *i = b->first; i; i = i->next)
        i->begin_by_ns = 0;
}
