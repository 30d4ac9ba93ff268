/* What a worker has mapped of its model's folder in DATA/cache is read and compared with its sums: soon after it is ready, and whenever that is due again (model/backend.h). A thread of the
 * lowest priority does it, in small steps: it takes what processor time nobody else wants, and never all of the memory's speed. Where that has not been enough for ten seconds, one of
 * the usual priority begins anew, in steps so far apart that it takes little. All functions are for the thread that
 * serves nobody. */
#ifndef APP_WORKER_CHECK_H
#define APP_WORKER_CHECK_H

#include <stdatomic.h>

#include "model/backend.h"

struct worker_check {
    const struct backend *backend;
    void *instance;
    int bell; /* eventfd: readable when a check has ended; -1: nothing to check */
    bool is_running;
    _Atomic bool has_ended; /* found and err may be read */
    void *room;
    bool hurries;
    uint64_t patient_until_ns;
    uint64_t not_before_ns; /* after one that could not read */
    unsigned pieces;
    enum backend_state found;
    struct err err;
};

void worker_check_init(struct worker_check *c, const struct backend *b, void *instance);
/* Now and then: starts a check if one is due. */
void worker_check_tick(struct worker_check *c);
/* The bell rang. True: it is damaged, err says what, and what is loaded from now on is not; it is not checked again. */
bool worker_check_end(struct worker_check *c);

#endif
