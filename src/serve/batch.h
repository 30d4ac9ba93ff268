/* How rows of several requests become a run: sizes and waiting. Only where the model may share runs. */
#ifndef SERVE_BATCH_H
#define SERVE_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#define BATCH_SIZES_MAX 8

struct batch_policy {
    uint64_t delay_ns; /* a batch that is not full waits so long for more rows */
    uint32_t
        preferred[BATCH_SIZES_MAX];  /* ascending; a batch of the first one or more does not wait; 0 ends the list */
    uint32_t sizes[BATCH_SIZES_MAX]; /* ascending; runs are padded to the next of these; 0 ends the list: no padding */
    bool is_ordered;                 /* runs begin, and answers leave, in the order of arrival */
};

/* Rows of the run that carries `rows` rows: the next allowed size, or rows itself. */
uint32_t batch_padded(const struct batch_policy *p, uint32_t rows);
/* When a batch with `rows` of `rows_max` rows that was begun at opened_ns may run: 0 = at once. */
uint64_t batch_ready_ns(const struct batch_policy *p, uint32_t rows, uint32_t rows_max, uint64_t opened_ns);
/* Most rows of a shared block: the model's limit, cut to the largest allowed size. */
uint32_t batch_cap(const struct batch_policy *p, uint32_t model_max);

#endif
