/* The part of `quern status` about models that are not simply serving, and what the last reload met. */
#ifndef CLI_STATUS_MODELS_H
#define CLI_STATUS_MODELS_H

#include "cli/status_memory.h"

/* json: "models" of the master's status, with BUF_PAD readable bytes behind it. Writes nothing where all models serve and none was compared. */
void status_models_show(struct str json, struct str last_error, struct arena *a, cell_fn *cell, struct buf *out);

#endif
