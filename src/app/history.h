/* What happened per model in each of the last HISTORY_STEPS seconds, for the dashboard's charts: counts and latency percentiles from the difference of
 * two looks at the metrics. Sampled by the edge's first thread, read by any (locked). Gone with the edge; Prometheus keeps history for long. */
#ifndef APP_HISTORY_H
#define APP_HISTORY_H

#include "base/json.h"
#include "serve/shared.h"

#define HISTORY_STEPS   900
#define HISTORY_STEP_MS 1000

struct history;

struct history *history_new(void);
/* Starts a series; m must live until history_forget. */
void history_watch(struct history *h, struct model_shared *m);
void history_forget(struct history *h, const struct model_shared *m);
/* rss_bytes: memory of all processes together, what they share counted once. */
void history_sample(struct history *h, uint64_t now_ms, uint64_t rss_bytes);
void history_write(struct history *h, struct json_writer *w);

#endif
