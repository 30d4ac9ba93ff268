/* Fewer, fuller turns for a thread that is far ahead of its workers.
 *
 * Every answer and every request that arrives wakes the edge's thread. While much work is queued that gains nothing: what is read now only joins the
 * queue's end, and each turn costs switches and cold caches, on one core at the worker's expense. So the thread rests for a part of the time that the
 * queue lasts, and a worker that leaves a deep queue behind rings only after several runs (exec_may_ring_later). Nobody's time in the queue grows by
 * more than that part; a queue that is short, or other traffic on the thread, ends it. */
#ifndef SERVE_REST_H
#define SERVE_REST_H

#include <stdint.h>

struct serve;

/* How long the thread may leave its sockets alone from now on, workers' bells excepted; 0: not at all. */
uint64_t serve_rest_ns(const struct serve *s, uint64_t now_ns);

#endif
