/* The part of `quern status` about models that are not simply serving, and what the last reload met. */
#ifndef CLI_STATUS_MODELS_H
#define CLI_STATUS_MODELS_H

#include "cli/status_memory.h"

/* json: "models" of the master's status, with BUF_PAD readable bytes behind it. Writes nothing where all models serve and none was compared. */
void status_models_show(struct str json, struct str last_error, struct arena *a, cell_fn *cell, struct buf *out);

/* How two models stand in a list: by name, then version, "9" before "10". Below, at or above 0. */
int status_models_order(struct str name_a, struct str version_a, struct str name_b, struct str version_b);

#endif
