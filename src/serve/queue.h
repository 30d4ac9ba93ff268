/* How many requests may wait for a run, of all edge threads together, who gives way when the queue is full, and how long they may wait.
 *
 * A request waits until a worker claims its block, be it in a block already or not; one in parts is one, and waits until all have run. Each thread shows
 * the others what waits with it (model_load.waits), and its blocks how many requests they have (block_shm.requests_at), so that a count needs no message. */
#ifndef SERVE_QUEUE_H
#define SERVE_QUEUE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct infer;
struct lane_block;
struct served;

/* Of the requests of one priority. */
struct queue_policy {
    uint32_t max;     /* so many may wait; 0: as many as of all together */
    uint64_t wait_ns; /* for so long; 0: as long as their deadlines allow */
    bool is_delay;    /* then they go behind all that have not waited so long; else they fail */
};

/* A request that is in no block, or in parts, begins to wait (1) or does no more (-1). */
void queue_note(struct served *m, const struct infer *i, int change);
/* Requests that wait; priority 0: of all. */
uint32_t queue_len(const struct served *m, uint32_t priority);
/* Whether one more may wait. A full queue refuses whoever comes last in its order: a client that floods it, not the one that asks now and then. Then another may
 * have ended here. ERR_BUSY: it is refused, with the time when what waits has run. */
enum err_code queue_admit(struct served *m, struct infer *i);

/* From now on it waits. */
void queue_wait_begin(struct served *m, struct infer *i);
/* By when a part of a request must have begun; 0: at any time. */
uint64_t queue_part_begin_by(const struct served *m, const struct infer *whole, uint32_t part);
/* By when it is answered that has so many rows before it and begins in time. */
uint64_t queue_answer_by(const struct served *m, const struct infer *i, uint32_t ahead);
/* It has waited as long as it may. True: it has ended, and others may have with it. */
bool queue_overdue(struct served *m, struct infer *i);
/* The block's requests had begun when their worker died: their waiting is over. */
void queue_has_run(struct lane_block *b);

#endif
