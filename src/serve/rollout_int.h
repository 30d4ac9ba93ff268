#ifndef SERVE_ROLLOUT_INT_H
#define SERVE_ROLLOUT_INT_H

#include "serve/internal_int.h"

/* The canary of the model, when this caller belongs to it; else `stable` itself. */
struct served *rollout_choose(struct serve *s, struct served *stable);
/* A request is about to be answered: counts it, and may send a copy into the canary's shadow. */
void rollout_end(struct infer *i);

#endif
