/* A staged roll-out: a new version (the canary) beside the one that serves. Some requests go to it, by percentage or by a header, the same caller
 * always to the same one; copies of others may run on it in its shadow, unanswered, and their outputs are compared. What happened is counted here;
 * the edge role judges (app/edge_rollout.c). */
#ifndef SERVE_ROLLOUT_H
#define SERVE_ROLLOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ROLLOUT_BUCKETS    128
#define ROLLOUT_HEADER_MAX 64

struct rollout_policy {
    bool is_canary;
    uint32_t percent;        /* of the requests that name no version */
    uint32_t shadow_percent; /* of those that the old version answered */
    double tolerance;        /* outputs differ when they are further apart than this, relative to 1 + their size */
    char header[ROLLOUT_HEADER_MAX];
};

/* All edge threads together, while a canary of the model's name is there. */
struct rollout_counts {
    _Atomic uint64_t answered, failed; /* failed: by the model's fault */
    _Atomic uint64_t compared, differed;
    _Atomic uint64_t greatest_difference;      /* of numbers, in millionths, relative */
    _Atomic uint32_t latency[ROLLOUT_BUCKETS]; /* of answered requests */
};

/* The upper bound in microseconds of the bucket that has the quantile; 0: nothing was counted. `since`: counts to subtract, or NULL. */
uint64_t rollout_quantile_us(const struct rollout_counts *c, const uint32_t *since, double q);

struct serve;
struct served;
/* By the number of its segment, whoever else has its name; NULL: it is gone. */
struct served *rollout_served(struct serve *s, uint32_t id);

#endif
