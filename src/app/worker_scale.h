/* A worker that does not serve but tries what instances and threads of its model are worth, for the master (master_scale.c). */
#ifndef APP_WORKER_SCALE_H
#define APP_WORKER_SCALE_H

#include "base/json.h"
#include "model/scale.h"

/* "scale" of the launch message: this process is one. */
void worker_scale_read(struct json_reader *r, struct scale_limits *l);
/* After load: tries, tells the master, ends. */
_Noreturn void worker_scale(const struct backend *b, const struct backend_load *opt, void *instance,
                            const struct model_desc *d, const struct scale_limits *l);

#define WORKER_READY_BYTES 64
/* The payload of CHANNEL_READY: what a row takes at its best. */
struct str worker_ready_text(const struct model_desc *d, char out[WORKER_READY_BYTES]);

#endif
