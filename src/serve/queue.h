/* How many requests may wait for a run, of all edge threads together, and who gives way when the queue is full.
 *
 * A request waits until a worker claims its block, be it in a block already or not; one in parts is one, and waits until all have run. Each thread shows
 * the others what waits with it (model_load.waits), and its blocks how many requests they have (block_shm.requests_at), so that a count needs no message. */
#ifndef SERVE_QUEUE_H
#define SERVE_QUEUE_H

#include "base/err.h"

#include <stdint.h>

struct infer;
struct served;

/* A request that is in no block, or in parts, begins to wait (1) or does no more (-1). */
void queue_note(struct served *m, const struct infer *i, int change);
/* Requests that wait, of all priorities. */
uint32_t queue_len(const struct served *m);
/* Whether one more may wait. A full queue refuses whoever comes last in its order: a client that floods it, not the one that asks now and then. Then another may
 * have ended here. ERR_BUSY: it is refused, with the time when what waits has run. */
enum err_code queue_admit(struct served *m, struct infer *i);

#endif
