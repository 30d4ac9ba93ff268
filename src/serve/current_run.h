/* Which run a worker is in, so that just that one can be ended from another thread. A request to end a run may come late: when the run is over and the next
 * one has begun, which must not be ended in its place. */
#ifndef SERVE_CURRENT_RUN_H
#define SERVE_CURRENT_RUN_H

#include <pthread.h>

#include "serve/exec.h"

struct current_run {
    pthread_mutex_t lock;
    bool is_any;
    struct exec_block block; /* under the lock */
};

void current_run_init(struct current_run *r);

/* By the thread that runs, around each run. */
void current_run_begin(struct current_run *r, const struct exec_block *b);
void current_run_end(struct current_run *r);

/* By any thread: asks the backend to end this run. False: it is not the one in progress, or the backend cannot. While this lasts no run ends or begins. */
bool current_run_abort(struct current_run *r, const struct exec_block *b, const struct backend *backend,
                       void *instance);

#endif
