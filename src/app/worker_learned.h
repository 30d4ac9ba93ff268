/* What was found out of a model's batching is kept in the model's cache folder, so that the next start need not run it again. Lost or unreadable: it
 * is found out again, nothing else. */
#ifndef APP_WORKER_LEARNED_H
#define APP_WORKER_LEARNED_H

#include "model/backend.h"

/* Sets the fields of d that are about batching. False: nothing is kept of this file with this engine and these settings. */
bool learned_recall(const struct backend *b, const struct backend_load *opt, struct model_desc *d);
/* is_whole: nothing was left out for lack of time. What is not whole is believed only at the LEARNED_TRIES-th time, since the
 * machine may have been busy. */
void learned_keep(const struct backend *b, const struct backend_load *opt, const struct model_desc *d, bool is_whole);

#define LEARNED_TRIES 3

#endif
