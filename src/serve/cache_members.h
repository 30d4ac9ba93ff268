/* Private to the cache of answers: the answer of an ensemble depends on which lives of its members run. */
#ifndef SERVE_CACHE_MEMBERS_H
#define SERVE_CACHE_MEMBERS_H

#include <stdbool.h>

#include "serve/ensemble.h"

struct infer;

#define CACHE_MEMBERS_MAX ENSEMBLE_STEPS_MAX

/* Appends the identity of each step's model to *w; nothing for a model that is no ensemble. False: that is not sure now, since a member is not ready or
 * a canary takes a part of its requests. */
bool cache_members(const struct infer *i, uint64_t **w);

#endif
