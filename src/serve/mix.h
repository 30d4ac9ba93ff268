/* Which rows share a run when requests differ in urgency: late, in order, and with free places filled.
 *
 * While requests come in the order in which they run, a block is filled as they come. When they do not, that would bind them too early: what comes later
 * and is more urgent finds the places taken, or opens a block of its own and the model makes a run for two rows. So from the first request that
 * comes out of order until a second after the last one
 *
 * - only as many blocks wait for workers as keep these busy for some milliseconds; the other requests wait in their order, not decoded yet.
 * - a block takes requests of all priorities, in their order: rows of another priority than that of its first request are guests.
 * - Guests must be worth it: what they cost the run (b n) is no more than what starting a run of their own would (a), and no deadline in the block is
 *   missed by it. A model without a gain from batches has no guests.
 * - Places are kept for more urgent requests that are expected, by the rate of late, before a worker takes the block.
 * - What is less urgent is let in as far as it can run before it is old enough to overtake (SCHEDULE_AGE_NS for each priority): beside what is offered that is more
 *   urgent, but a tenth of what the model can do is always its own. Otherwise a patient flood would, once old, come before everything.
 * - A block that is full when a more urgent request comes runs right behind that request's own: full runs are not put off by one for a few rows.
 *
 * Pure functions over a small state of one thread and model. */
#ifndef SERVE_MIX_H
#define SERVE_MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "serve/schedule.h"

#define MIX_AHEAD_NS UINT64_C(5000000) /* blocks that wait keep the workers busy for so long, one for each at least */
#define MIX_FLOOR    0.1               /* of what the model can do is left to a less urgent priority */
#define MIX_LOOK     16                /* of the requests that wait, so many are looked at for free places */

struct infer;
struct lane_block;

struct mix_flow {
    double rows; /* decayed sum */
    uint64_t at_ns;
    uint64_t ahead_ns; /* how far behind the present the latest stands in the order */
    double asked;      /* decayed sum of those that came, admitted or not */
    uint64_t asked_ns;
};

struct mix {
    uint64_t last_order; /* the largest of those that wait or run */
    uint64_t seen_ns;    /* a request came out of order; 0: never */
    struct mix_flow flow[SCHEDULE_PRIORITY_MAX];
    /* as of now, for the lane */
    const struct cost *cost;
    uint64_t now_ns, claim_ns; /* claim_ns: until a worker takes the next block, about */
    uint64_t step_ns;          /* ... and each further one */
    uint32_t depth;            /* blocks that may wait for workers */
};

/* A request was admitted. Most come in order: then this is all that it costs. */
static inline void mix_note(struct mix *x, uint64_t now_ns, uint64_t order, bool is_alone)
{
    if (is_alone || order > x->last_order)
        x->last_order = order;
    else if (x->last_order - order > UINT64_C(1000000)) /* less is not worth it */
        x->seen_ns = now_ns;
}

bool mix_is_on(const struct mix *x, uint64_t now_ns);
void mix_arrive(struct mix *x, uint64_t now_ns, uint64_t order, uint32_t priority, uint32_t rows);
/* They came, be they admitted or not. */
void mix_ask(struct mix *x, uint64_t now_ns, uint32_t priority, uint32_t rows);
/* Rows a second that are offered lately and more urgent. */
double mix_demand(const struct mix *x, uint64_t now_ns, uint32_t priority);
/* Rows that will run before that order, of more urgent requests that come before a worker takes the next block. */
uint32_t mix_expected(const struct mix *x, uint64_t order, uint32_t priority);
/* The block is of its shape, and `before` blocks run before it: may its rows run with those in it, as far as time is concerned? */
bool mix_suits(const struct mix *x, const struct lane_block *b, const struct infer *i, uint32_t before);
/* ... and is there room for it, besides what is kept for others? */
bool mix_has_room(const struct mix *x, const struct lane_block *b, const struct infer *i);

#endif
