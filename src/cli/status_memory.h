/* The memory part of `quern status`. */
#ifndef CLI_STATUS_MEMORY_H
#define CLI_STATUS_MEMORY_H

#include "base/arena.h"
#include "base/buf.h"

/* Text of another process, made fit for a terminal. */
typedef const char *cell_fn(struct arena *a, struct str s, size_t max);

/* json: "memory" of the master's status, with BUF_PAD readable bytes behind it. Writes nothing where there is neither a budget nor a model on demand. */
void status_memory_show(struct str json, struct arena *a, cell_fn *cell, struct buf *out);

#endif
