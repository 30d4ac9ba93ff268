/* Latencies in constant memory, as in Gil Tene's HdrHistogram: 128 linear steps for each power of two of nanoseconds, so that every value from
 * 1 ns to centuries is kept with an error of at most 0.8 %, always told too high and never too low. Recording is a few instructions. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_STEP_BITS 7
#define HISTOGRAM_SLOTS     ((64 - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS)

struct histogram {
    uint64_t counts[HISTOGRAM_SLOTS];
    uint64_t total, max_ns;
    double sum_ns;
};

void histogram_record(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value that a share q (0 to 1) of all records does not exceed; 0 without records. q 1 is the maximum, exact. */
uint64_t histogram_quantile(const struct histogram *h, double q);
double histogram_mean(const struct histogram *h);

#endif
