/* What is found out of a model's batching: which rows may share a run, and what that gains. It is kept (app/kept.h) for each combination of model
 * file, engine, processor and settings, so that the next start need not find it out again. What is whole and was measured on a calm machine is kept for good, which rows may share and
 * what it gains each for itself; anything else is tried again at the next starts, and believed after LEARNED_TRIES of them. Lost or unreadable: it is found out again, nothing else.
 *
 * What batches gain is taken over by a new version whose file has the same size and whose tensors are the same; which rows may share is not: that is a question of right and
 * wrong. */
#ifndef APP_WORKER_LEARNED_H
#define APP_WORKER_LEARNED_H

#include "model/backend.h"

/* After describe: sets the fields of d that are about batching, by what is kept or by trying. opt->cache_dir NULL: nothing is kept, and less time is spent. */
void learned_batching(const struct backend *b, void *instance, const struct backend_load *opt, struct model_desc *d);

#define LEARNED_TRIES 3 /* the machine may have been busy once; one that always is would measure at every start */

#endif
