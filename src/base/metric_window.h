/* Histograms over a stretch of time: take a look now, take one later, ask about what lies between. */
#ifndef BASE_METRIC_WINDOW_H
#define BASE_METRIC_WINDOW_H

#include "base/metric.h"

struct metric_look {
    uint64_t counts[METRIC_BOUNDS_MAX + 1]; /* per bucket, not cumulative; the last is +Inf */
    uint64_t total, sum;                    /* sum in raw units */
};

void metric_look(const struct metric *m, struct metric_look *out); /* of a histogram */
/* *now less `before`, element by element. */
void metric_look_less(struct metric_look *now, const struct metric_look *before);
/* Quantile in the family's unit, linear inside its bucket; 0 without samples. */
double metric_look_quantile(const struct metric *m, const struct metric_look *l, double q);

#endif
