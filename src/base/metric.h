/* Metrics: counters, gauges and histograms with labels, cheap on the hot path (each edge thread writes its own cells with plain
 * relaxed stores; a scrape sums them), written as Prometheus text (format 0.0.4).
 *
 * A family is declared once (static table), a series is made per label set at configuration time (never per request: label
 * values that a stranger controls do not become series). */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stdatomic.h>

#include "base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_family {
    const char *name; /* with unit and _total as promtool wants it */
    const char *help;
    enum metric_kind kind;
    const double *bounds; /* histogram: ascending upper bounds in the family's unit, without +Inf */
    int bounds_len;       /* at most METRIC_BOUNDS_MAX */
    double scale; /* what one raw unit is worth in the family's unit, e.g. 1e-9 for ns shown as seconds; 0 = 1 */
};

#define METRIC_BOUNDS_MAX  24
#define METRIC_THREADS_MAX 64

struct metric_set; /* registry: families and series; one per edge process */
struct metric;     /* one series */

struct metric_set *metric_set_new(int threads);
struct metric_set *metric_set_free(struct metric_set *s);
/* labels: NULL-terminated list of key, value pairs, copied. The same family and labels give the same series. Thread-safe
 * (locked), not for the hot path. Series live until metric_drop. */
struct metric *metric_get(struct metric_set *s, const struct metric_family *f, const char *const *labels);
void metric_drop(struct metric_set *s, struct metric *m);

/* Hot path: thread is the caller's index below threads; only that thread writes that cell. */
void metric_add(struct metric *m, int thread, uint64_t n);
void metric_set_value(struct metric *m, double v);               /* gauges: any thread */
void metric_observe(struct metric *m, int thread, uint64_t raw); /* histograms: raw units */

uint64_t metric_value(const struct metric *m); /* counter: sum over threads; histogram: number of samples */
/* Quantile q in [0,1] estimated inside its bucket (linear), in the family's unit; 0 without samples. */
double metric_quantile(const struct metric *m, double q);
void metric_write(struct metric_set *s, struct buf *out); /* HELP, TYPE, series sorted by family then labels */

#endif
