#include "serve/queue.h"

#include <stdio.h>

#include "base/clock.h"
#include "serve/internal_int.h"

void queue_note(struct served *m, const struct infer *i, int change)
{
    _Atomic uint32_t *shown = &m->shared->load[m->serve->thread].waits[i->priority - 1];
    uint32_t now = atomic_load_explicit(shown, memory_order_relaxed) + (uint32_t)change; /* only this thread writes */
    atomic_store_explicit(shown, now, memory_order_relaxed);
}

/* ---- how many ---- */

/* Of the numbers by priority: one, or with priority 0 all together. */
static uint32_t pick(const _Atomic uint32_t v[SCHEDULE_PRIORITY_MAX], uint32_t priority)
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < SCHEDULE_PRIORITY_MAX; p++)
        if (priority == 0 || p == priority - 1)
            n += atomic_load_explicit(&v[p], memory_order_relaxed);
    return n;
}

static uint32_t outside_blocks(const struct served *m, uint32_t priority)
{
    uint32_t n = 0;
    int threads = atomic_load_explicit(&m->shared->threads_seen, memory_order_relaxed);
    for (int t = 0; t < threads; t++)
        n += pick(m->shared->load[t].waits, priority);
    return n;
}

static uint32_t in_own_blocks(const struct served *m, uint32_t priority)
{
    uint32_t n = 0;
    for (uint32_t mask = ~m->lane.unused; mask != 0; mask &= mask - 1) {
        const struct lane_block *b = &m->lane.blocks[__builtin_ctz(mask)];
        for (uint32_t p = 0; p < SCHEDULE_PRIORITY_MAX && lane_is_ahead(b); p++)
            n += priority == 0 || p == priority - 1 ? b->requests_at[p] : 0;
    }
    return n;
}

/* Of other threads, as they are at the moment. What a worker might have written there [L5] only decides about requests of its own model. */
static uint32_t in_blocks_of(const struct served *m, uint32_t lane, uint32_t priority)
{
    uint32_t n = 0;
    const struct lane_shm *shm = &m->lane.map->shm->lane[lane];
    for (int k = 0; k < LANE_BLOCKS; k++) {
        const struct block_shm *b = &shm->blocks[k];
        enum block_phase phase = block_phase_of(atomic_load_explicit(&b->state, memory_order_relaxed));
        if (phase == BLOCK_FILLING || phase == BLOCK_OPEN)
            n += pick(b->requests_at, priority);
    }
    return n;
}

uint32_t queue_len(const struct served *m, uint32_t priority)
{
    uint32_t n = outside_blocks(m, priority) + in_own_blocks(m, priority);
    int threads = atomic_load_explicit(&m->shared->threads_seen, memory_order_relaxed);
    for (uint32_t lane = 0; lane < (uint32_t)threads && lane < m->lane.map->lanes; lane++)
        n += lane != m->lane.index ? in_blocks_of(m, lane, priority) : 0;
    return n;
}

/* Not fewer than wait, and cheap. */
static uint32_t at_most(const struct served *m)
{
    uint32_t n = m->placed;
    int threads = atomic_load_explicit(&m->shared->threads_seen, memory_order_relaxed);
    for (int t = 0; t < threads; t++)
        n += t != m->serve->thread ? atomic_load_explicit(&m->shared->load[t].in_flight, memory_order_relaxed) : 0;
    return n + outside_blocks(m, 0);
}

/* ---- who gives way ---- */

static bool may_give_way(const struct infer *i, uint32_t priority)
{
    return !i->part_of && (priority == 0 || i->priority == priority);
}

static struct infer *last_waiting(const struct served *m, uint32_t priority)
{
    struct infer *i = m->waiting_last;
    while (i && !may_give_way(i, priority))
        i = i->prev;
    return i;
}

/* Of those in blocks that no worker has claimed. One whose block has killed workers is looked at alone: it stays. */
static struct infer *last_in_blocks(const struct served *m, uint32_t priority)
{
    struct infer *last = NULL;
    for (uint32_t mask = ~m->lane.unused; mask != 0; mask &= mask - 1) {
        const struct lane_block *b = &m->lane.blocks[__builtin_ctz(mask)];
        bool may_go = b->deaths == 0 && lane_is_ahead(b);
        for (struct infer *i = b->first; i && may_go; i = i->next)
            if (may_give_way(i, priority) && (!last || i->order >= last->order))
                last = i;
    }
    return last;
}

/* What the queue has too many of. */
struct crowd {
    uint32_t priority, len; /* priority 0: of all */
};

/* Told to come back when what waits now has run. */
static enum err_code refuse(struct served *m, struct infer *i, const struct crowd *c)
{
    uint32_t rows = m->rows + infer_rows_elsewhere(m, SCHEDULE_PRIORITY_MAX);
    uint64_t now_ns = clock_now_ns();
    uint64_t finish = schedule_finish(&m->schedule, now_ns, rows, 1, m->lane.row_cap, m->info.instances_ready);
    uint64_t ms = finish > now_ns ? (finish - now_ns) / NS_PER_MS + 1 : 1;
    char of[32] = "";
    if (c->priority > 0)
        (void)snprintf(of, sizeof of, " of priority %u", c->priority);
    i->refusal = INFER_BY_QUEUE;
    err_set(&i->err, ERR_BUSY, "Exceeds maximum queue size: %u requests%s wait for model '%s'", c->len, of,
            m->info.name);
    i->err.retry_after_ms = (uint32_t)(ms < RETRY_MS_MAX ? ms : RETRY_MS_MAX);
    return err_remedy(&i->err, "try again later, or give the model more instances");
}

static bool give_way(struct served *m, struct infer *last, const struct crowd *c)
{
    struct lane_block *b = last->block;
    if (b && b->use == LANE_PUBLISHED && !lane_take_back(b))
        return false; /* a worker has it now */
    (void)refuse(m, last, c);
    infer_end(last);
    if (b)
        abandon_block(m, b);
    return true;
}

static enum err_code make_room(struct served *m, struct infer *i, const struct crowd *c)
{
    struct infer *last = last_waiting(m, c->priority);
    if ((!last || last->order <= i->order) && i->order < m->mix.last_order)
        last = last_in_blocks(m, c->priority);
    if (!last || last->order <= i->order || !give_way(m, last, c))
        return refuse(m, i, c);
    return ERR_OK;
}

enum err_code queue_admit(struct served *m, struct infer *i)
{
    uint32_t all = m->shared->limits.queue_max, own = m->shared->limits.queue[i->priority - 1].max, most = at_most(m);
    struct crowd c = {.priority = i->priority};
    if (LIKELY(most < all && (own == 0 || most < own)))
        return ERR_OK;
    if (own > 0 && (c.len = queue_len(m, i->priority)) >= own && make_room(m, i, &c))
        return i->err.code;
    c = (struct crowd){.len = queue_len(m, 0)};
    return c.len >= all ? make_room(m, i, &c) : ERR_OK;
}
