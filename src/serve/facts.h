/* What can be said of a request when it ends: who ran it, with whom, and what its admission went by. Costs some hundred nanoseconds, so it is asked
 * only for requests that leave a record. Within done(), on the owning thread. */
#ifndef SERVE_FACTS_H
#define SERVE_FACTS_H

#include "serve/infer.h"

#define FACTS_MATES_MAX 4

#define FACTS_STEPS_MAX 6

struct facts_step { /* of an ensemble, in order of the configuration; times in us */
    char name[24], model[32];
    uint32_t from_us; /* since the request was let in */
    uint32_t wait_us, run_us, batch_rows;
};

struct infer_facts {
    uint32_t worker_pid; /* who ran it, or runs it; 0: nobody yet */
    uint64_t running_ns; /* its run is under way for so long; 0: it is not */
    uint64_t
        usual_run_ns;   /* learned cost of a run like its own, or of its own rows when it did not run; 0: not known */
    uint64_t guests_ns; /* what rows of other priorities cost its run; 0: there were none */
    uint64_t delay_ns;
    uint32_t run_max, instances, queue_len, queue_max;
    bool is_inline, is_ensemble;
    char mates[FACTS_MATES_MAX][40]; /* ids of other requests of its run */
    uint32_t mates_len;
    struct facts_step steps[FACTS_STEPS_MAX]; /* those that have begun */
    uint32_t steps_len;
};

void infer_facts(const struct infer *i, struct infer_facts *out);

#endif
