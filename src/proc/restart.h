/* When to start a dead child again. A pure function of what happened and the time, so that tests need no processes.
 *
 *  - Died after it was ready: at once. If it keeps dying within 100 ms of being ready, wait 10 ms, 20 ms, ... up to 5 s.
 *  - Died before it was ready: 100 ms, doubling up to 10 s; after RESTART_TRIES such deaths in a row give up: the child is failed until
 *    somebody reloads. (A model file that crashes its engine would otherwise burn a core for ever.) One that was ready before is known to be able to start
 *    (it is being killed from outside, or memory is short): it is never given up, only tried more rarely. */
#ifndef PROC_RESTART_H
#define PROC_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#define RESTART_TRIES 5

struct restart {
    uint64_t started_ns, ready_ns; /* of the present life; ready_ns 0: not yet */
    uint32_t unready_deaths;       /* in a row */
    uint32_t short_lives;          /* in a row */
    uint32_t restarts;             /* in all, for people */
    bool was_ready;                /* in any life */
};

void restart_started(struct restart *r, uint64_t now_ns);
void restart_ready(struct restart *r, uint64_t now_ns);
/* The child died: returns true and when to start again, or false to give up. */
bool restart_died(struct restart *r, uint64_t now_ns, uint64_t *out_at_ns);

#endif
