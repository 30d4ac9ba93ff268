/* Shadow traffic: a copy of a request that was just answered runs on another version, and its outputs are compared with those of the answer. Nobody
 * waits for it; it has the least priority, and bounds of its own. Inputs with text are not copied. */
#ifndef SERVE_SHADOW_H
#define SERVE_SHADOW_H

#include "serve/internal_int.h"

#define SHADOWS_MAX      8                 /* of one thread at a time */
#define SHADOW_BYTES_MAX ((size_t)4 << 20) /* inputs and outputs of one */

/* In the end of i: its inputs still lie in its block, its outputs in i->out. */
void shadow_send(const struct infer *i, struct served *canary);
bool shadow_is_one(const struct infer *i);

#endif
