/* A series keeps one run of cells per thread, on cache lines of its own:
 *
 *   struct metric | thread 0: value ...... | thread 1: value ...... |     counter, gauge (one thread)
 *   struct metric | thread 0: sum, bucket 0 .. bucket n, ...        |     histogram; the last bucket is +Inf
 *
 * A cell has one writer, so adding is a load and a store, without a locked instruction. A scrape adds the cells up; it may see a
 * histogram between the bucket and the sum of one observation, which the next scrape repairs.
 *
 * [M1] Families are sorted by name, series in a family by their label text; there are no two of the same. */
#ifndef BASE_METRIC_INT_H
#define BASE_METRIC_INT_H

#include <pthread.h>

#include "base/metric.h"

#define CACHE_LINE 64u

typedef _Atomic uint64_t cell;

struct metric {
    const struct metric_family *family;
    char *labels; /* rendered: a="x",b="y" */
    int threads;
    int thresholds_len;
    size_t stride;                              /* cells from one thread's run to the next */
    double scale;                               /* of the family, 1 when it names none */
    double per_unit;                            /* 1 / scale: raw units in one unit of the family */
    uint64_t thresholds[METRIC_BOUNDS_MAX + 1]; /* the family's bounds in raw units, and UINT64_MAX behind them */
    unsigned char first_of_width[65];           /* index of the first threshold >= 2^(width-1); 0 for width 0 */
    _Alignas(CACHE_LINE) cell cells[];
};

struct group {
    const struct metric_family *family;
    struct metric **series;
    size_t len, cap;
};

struct metric_set {
    pthread_mutex_t lock;
    int threads;
    struct group *groups;
    size_t len, cap;
};

/* Sum over the threads of one cell of a run. */
uint64_t metric_sum_cells(const struct metric *m, size_t index);

#endif
