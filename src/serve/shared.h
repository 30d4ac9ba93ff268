/* A model as all edge threads share it: identity, description, limits, the mapped segment, and counters. Made by the edge's first thread, immutable but for the
 * atomics, freed when the last thread lets go. */
#ifndef SERVE_SHARED_H
#define SERVE_SHARED_H

#include "base/metric.h"
#include "model/backend.h"
#include "serve/batch.h"
#include "serve/cache.h"
#include "serve/compare.h"
#include "serve/quarantine.h"
#include "serve/queue.h"
#include "serve/rollout.h"
#include "serve/schedule.h"
#include "serve/segment.h"
#include "serve/stats.h"

enum infer_outcome {
    OUTCOME_OK,
    OUTCOME_CLIENT_ERROR,
    OUTCOME_REJECTED,
    OUTCOME_TIMEOUT,
    OUTCOME_CANCELLED,
    OUTCOME_FAILED,
    OUTCOME_MAX_
};

struct model_limits {
    struct batch_policy batch;
    uint32_t priority_default; /* of requests that name none: 1 ... */
    uint64_t timeout_ns;       /* default deadline of a request; a run that takes longer counts as hung */
    uint32_t queue_max;        /* requests that may wait for a run, of all threads */
    struct queue_policy queue[SCHEDULE_PRIORITY_MAX]; /* by priority */
};

struct model_load { /* of one thread */
    alignas(64) _Atomic uint32_t queued, in_flight;
    _Atomic uint64_t used_ns;                      /* last request */
    _Atomic uint32_t rows[SCHEDULE_PRIORITY_MAX];  /* of both, by priority */
    _Atomic uint32_t waits[SCHEDULE_PRIORITY_MAX]; /* requests in no block, or in parts (queue.h) */
};

struct model_shared {
    _Atomic int refs;
    uint32_t id; /* of the segment, unique in the master's life */
    char name[MODEL_NAME_MAX], version[32], path[512], class_name[64];
    char labels_file[128]; /* a name in the model's folder; "": those of proto_classes.h alone */
    bool is_inline;
    struct model_limits limits;
    struct segment_map map;        /* process isolation */
    const struct backend *backend; /* inline */
    void *instances
        [LANE_THREADS_MAX]; /* inline: one loaded instance for each thread, which owns it from serve_update(READY) on */
    struct ensemble *ensemble; /* of models; NULL: one model */
    struct model_desc *desc;   /* of model_desc_copy; NULL until its worker has told it, then it stays */
    struct quarantine quarantine;
    _Atomic(struct schedule_tags *) tags; /* model_shared_tags */
    _Atomic int threads_draining;
    _Atomic uint64_t cost_a_ns, cost_b_ns; /* learned: a run of n rows takes about a + b n */
    _Atomic(const struct model_desc *)
        recalled;                  /* on demand: its description as an earlier start found it; NULL: none */
    _Atomic uint32_t parked;       /* requests that wait until it is loaded */
    _Atomic uint64_t expect_ns;    /* when that will be, about; 0: not known */
    _Atomic uint64_t load_ns;      /* how long loading takes; 0: not known */
    _Atomic uint64_t memory_bytes; /* of its workers, private and shared; 0: not loaded, or not measured */
    _Atomic uint64_t need_bytes;   /* the same when it is loaded */
    _Atomic int votes_left;        /* threads that have not said whether it can be unloaded */
    _Atomic bool is_busy;          /* one has said that it can not */
    int threads;                   /* of the edge */
    struct model_load *load;       /* of each of them */
    _Atomic int threads_seen;  /* no request has come to a thread from this one on: nobody need look at all of load */
    struct stats *stats;       /* shared with other lives of the same version */
    struct cache *cache;       /* NULL: none */
    struct compare_ring *kept; /* the latest requests, to be asked again of a new version; NULL: none */
    _Atomic(struct labels *) labels; /* proto_classes.h */
    struct rollout_counts rollout;
    /* counters, one series each; NULL set: no metrics (tests) */
    struct metric *outcome[OUTCOME_MAX_];
    struct metric *rows, *runs;
    struct metric *stage[6]; /* by enum http_stage */
    struct metric *duration;
};

/* Zeroed but for what needs making; the first reference is the caller's. Free with model_shared_unref. */
struct model_shared *model_shared_new(int threads);
struct model_shared *model_shared_ref(struct model_shared *m);
struct model_shared *model_shared_unref(struct model_shared *m); /* returns NULL */
/* One that was never loaded has none. */
struct schedule_tags *model_shared_tags(struct model_shared *m);

#endif
