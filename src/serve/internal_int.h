/* What the files of the serve room know of each other. */
#ifndef SERVE_INTERNAL_INT_H
#define SERVE_INTERNAL_INT_H

#include <stdio.h>

#include "base/map.h"
#include "serve/ensemble.h"
#include "serve/exec.h"
#include "serve/lane.h"
#include "serve/mix.h"
#include "serve/schedule.h"
#include "serve/serve.h"
#include "serve/split.h"

#define RETRY_MS_MAX    60000u
#define INFER_ROWS_MAX  65536 /* rows of one request; memory limits come on top */
#define CRASH_KILLS_MAX 3     /* a request that was in so many crashed runs is quarantined */
#define ALONE_AFTER_DEATHS                                                                                             \
    2 /* from this crash on, the requests of a batch run one by one, to find the one that kills */

enum infer_state { INFER_NEW, INFER_WAITING, INFER_PLACED, INFER_SPLIT, INFER_ENSEMBLE, INFER_ENDED };

struct served {
    struct serve *serve;
    struct model_shared *shared;
    struct served_info info;
    char reason[640];
    char labels[SERVE_LABELS_MAX];
    struct rollout_policy rollout;
    uint32_t shadow_turn; /* the next request is copied at 100 */
    bool has_lane, is_retired, drain_told;
    bool is_yielding; /* READY for what it has, and for ensembles in work; to be unloaded then */
    struct lane lane;
    struct segment_map private_map;             /* inline */
    struct exec *exec;                          /* inline */
    struct infer *waiting_first, *waiting_last; /* no block was free; ascending order */
    uint32_t waiting, placed, rows;             /* rows: of both */
    uint32_t splits;                            /* requests in parts */
    struct schedule schedule;
    struct mix mix;
    uint64_t last_order; /* is_ordered: of the last request */
    bool is_dirty;       /* rows were added since the last flush */
    bool is_awake;       /* in the list of those that have work */
    struct served *awake_prev, *awake_next;
    uint64_t next_deadline_ns; /* no earlier one among its requests */
    struct infer_tensor *out;  /* what done() sees: as many as it has outputs */
    struct v2_texts *v2_texts; /* proto_v2_texts.c; NULL: none yet */
};

struct serve {
    int thread;
    struct serve_hooks hooks;
    struct served **models; /* sorted by name, version; retired ones behind the others */
    size_t models_len, models_cap;
    struct map by_segment;                   /* id -> struct served */
    struct served *awake_first, *awake_last; /* that have work: of a thousand models a turn looks at these */
    const struct http_req *caller;
    struct served *awaited;    /* serve_awaited */
    const struct err *refusal; /* serve_set_refusal */
    int canaries;              /* models that are one */
    int shadows;               /* copies that run or wait */
    bool all_settled;
    bool is_flushing;
    uint32_t busy;                   /* requests in all models */
    const struct served *last_model; /* of the latest request, only compared */
    uint32_t last_priority;
    uint64_t mixed_ns; /* when they changed last */
};

/* Rows of a checked request: 1 without a batch dimension. */
enum err_code infer_rows(const struct infer *i, uint32_t *rows, struct err *err);
/* Rows of other threads that wait or run, as far as they can come before those of that priority. */
uint32_t infer_rows_elsewhere(const struct served *m, uint32_t priority);
/* Gives a request that waits, in a block or not, another place in the order. */
void infer_reorder(struct served *m, struct infer *i, uint64_t order);
/* How far in the order of runs the parts of a request are apart: requests of others come in between. */
uint64_t infer_part_order(const struct served *m);
/* Ends a request: takes it out of where it is, counts, calls done. Out tensors are set before when err.code is ERR_OK. */
void infer_end(struct infer *i);
void infer_end_err(struct infer *i, enum err_code code, const char *text, const char *remedy);
/* It has work: each turn looks at it until it has none, which serve_collect finds out. */
void serve_wake(struct served *m);
static inline void served_wake(struct served *m)
{
    if (!m->is_awake)
        serve_wake(m);
}
/* A block of it is to be published by the next flush. */
static inline void served_dirty(struct served *m)
{
    m->is_dirty = true;
    served_wake(m);
}
void serve_sleep(struct served *m); /* takes it out of the list */
/* Frees a model that nobody needs any more. */
void serve_remove(struct serve *s, struct served *m);
/* Sets lane.mix: whether requests run together across priorities at this moment, and how things stand then (mix.h). */
void mix_look(struct served *m, uint64_t now_ns);
/* Whether there is room for it beside what is more urgent. */
enum err_code mix_admit(struct served *m, struct infer *i);
/* Waiting requests into free blocks, as far as possible. */
void infer_pump(struct served *m);
/* Takes a DONE block's results and answers; releases the block or publishes its next request. */
void answer_block(struct served *m, struct lane_block *b);
/* The worker of a published block is gone. */
void recover_block(struct served *m, struct lane_block *b, bool is_crash);
/* After requests were taken out of a published block: frees it if it was not claimed, else asks the worker to give up. */
void abandon_block(struct served *m, struct lane_block *b);

/* Of an ensemble in work: a member that is about to be unloaded still counts. */
enum err_code serve_step_model(struct serve *s, struct str name, struct str version, struct served **out,
                               struct err *err);
/* Whether a model that yields is done. */
void demand_look(struct served *m);

#endif
