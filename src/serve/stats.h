/* Counters of a model as Triton's statistics want them: by stage of a request and by size of a run. Each edge thread counts in cells of its
 * own; a reader adds them up. Lives of the same name and version share them, so that a reload or a way back does not begin at zero. */
#ifndef SERVE_STATS_H
#define SERVE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

enum stats_stage {
    STATS_SUCCESS, /* the whole request */
    STATS_FAIL,
    STATS_QUEUE,
    STATS_INPUT,
    STATS_INFER,
    STATS_OUTPUT,
    STATS_HIT, /* of the cache */
    STATS_MISS,
    STATS_STAGES
};

enum stats_failure { STATS_REJECTED, STATS_CANCELED, STATS_BACKEND, STATS_OTHER, STATS_FAILURES };

#define STATS_SIZES 48 /* sizes of runs that are told apart; runs of further sizes count in the sums only */

struct stats_cell {
    _Atomic uint64_t count, ns;
};

struct stats_run_cell {
    _Atomic uint64_t rows, runs, ns;
};

struct stats_thread {
    struct stats_cell stage[STATS_STAGES];
    _Atomic uint64_t failure[STATS_FAILURES];
    _Atomic uint64_t rows, runs, last_ms; /* last_ms: wall clock of the last request */
    struct stats_run_cell size[STATS_SIZES];
};

#define STATS_THREADS_MAX 64 /* LANE_THREADS_MAX */

struct stats {
    _Atomic int refs;
    _Atomic(struct stats_thread *) thread[STATS_THREADS_MAX];
};

/* The first reference is the caller's. */
struct stats *stats_new(void);
struct stats *stats_ref(struct stats *s);
struct stats *stats_unref(struct stats *s); /* returns NULL; s may be NULL */

struct model_shared;

/* A request that was answered: ns by stage, from STATS_SUCCESS to STATS_OUTPUT, FAIL left out. */
void stats_success(struct model_shared *m, int thread, uint32_t rows, const uint64_t ns[STATS_STAGES]);
void stats_failure(struct model_shared *m, int thread, enum stats_failure why, uint64_t ns);
/* A run of the model, of so many rows. */
void stats_run(struct model_shared *m, int thread, uint32_t rows, uint64_t ns);
/* A request that was answered from the cache: a success whose rows did not run. */
void stats_hit(struct model_shared *m, int thread, uint64_t ns);
void stats_cache(struct model_shared *m, int thread, enum stats_stage hit_or_miss, uint64_t ns);

/* All threads together; sizes ascending, the unused ones last with rows 0. */
struct stats_sum {
    uint64_t count[STATS_STAGES], ns[STATS_STAGES], failure[STATS_FAILURES];
    uint64_t rows, runs, last_ms;
    struct {
        uint64_t rows, runs, ns;
    } size[STATS_SIZES];
};
void stats_sum(const struct model_shared *m, struct stats_sum *out);

#endif
