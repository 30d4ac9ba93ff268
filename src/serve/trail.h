/* The trail: what became of the latest requests, so that a request id can be explained afterwards. Bounded: each kind of outcome has a ring of its own,
 * so that a flood of one does not wash the others away, and an edge thread adds only so many of a kind a second. What went well and as fast as
 * usual is only sampled. One for the process, as the log is: only requests that leave a record take its lock. */
#ifndef SERVE_TRAIL_H
#define SERVE_TRAIL_H

#include "base/err.h"
#include "base/json.h"
#include "serve/facts.h"

#define TRAIL_STAGES    6 /* as enum http_stage */
#define TRAIL_MATES     4 /* told of one run; as many as a block's header names */
#define TRAIL_SHOWN_MAX 500

enum trail_kind {
    TRAIL_FAILED,  /* by the model, its worker, or its deadline */
    TRAIL_REFUSED, /* would not be in time, the queue was full, the model not ready */
    TRAIL_INVALID, /* the client's mistake */
    TRAIL_SLOW,    /* 4 times the model's mean on this thread, and over 1 ms */
    TRAIL_USUAL,
    TRAIL_KINDS
};

enum trail_cache { TRAIL_NO_CACHE, TRAIL_HIT, TRAIL_MISS, TRAIL_JOINED /* it waited for an equal request */ };

struct trail_record {
    char id[40], model[128], version[32], path[80];
    char error[200], remedy[160]; /* "" when it went well */
    enum trail_kind kind;
    enum err_code status;
    enum trail_cache cache;
    uint64_t at_ms;                               /* wall clock of its end */
    uint64_t total_ns, usual_ns;                  /* usual: the mean that it was compared with; 0: not known */
    uint64_t stage_ns[TRAIL_STAGES];              /* `send` comes later, by trail_sent */
    uint64_t deadline_ns;                         /* from its arrival; 0: it did not come so far */
    uint64_t expected_ns;                         /* at arrival: until its answer; 0: not known */
    uint64_t usual_run_ns, delay_ns;              /* learned cost of a run like its own; batching.delay */
    uint64_t running_ns;                          /* it ended while its run was under way for so long; 0: it was not */
    uint32_t ahead_rows, rows, priority;          /* ahead: waiting or running at arrival */
    uint32_t batch_rows, batch_requests, run_max; /* of its run; 0: it did not run. run_max: most rows of a run */
    uint32_t guests;                              /* rows in the run of other priorities than its first request's */
    uint64_t guests_ns;                           /* what they cost it */
    uint32_t attempts, worker_pid, instances;
    uint32_t queue_len, queue_max, retry_after_ms;
    uint32_t body_bytes;
    enum infer_refusal refusal;
    bool is_inline, is_ensemble, is_guest;
    char mates[TRAIL_MATES][40];
    uint32_t mates_len;
    struct facts_step steps[FACTS_STEPS_MAX];
    uint32_t steps_len;
    uint64_t seq; /* private */
};

/* What a good answer that took so long is: slow or usual. `model` is any number of the model's; *usual_ns receives its mean so far, 0: none. Counts it. */
enum trail_kind trail_judge(uint64_t model, uint64_t total_ns, uint64_t *usual_ns);
/* The kind of a request that failed so. */
enum trail_kind trail_kind_of(enum err_code code);
/* Has this thread room for one more record of the kind now? Costs a few nanoseconds. */
bool trail_wants(enum trail_kind kind, uint64_t now_ns);
/* Returns a number that names the record for trail_sent, never 0. */
uint64_t trail_add(const struct trail_record *r);
/* The answer of that record has left now. */
void trail_sent(uint64_t name, uint64_t send_ns);

/* The newest record of that id as a JSON object; false: none. */
bool trail_write(struct str id, struct json_writer *w);

struct trail_query {
    unsigned kinds;   /* one bit for each kind; 0: all */
    struct str model; /* n 0: any */
    size_t max;
};
/* The newest first, as a JSON array. */
void trail_write_latest(const struct trail_query *q, struct json_writer *w);
/* "failed", ...; TRAIL_KINDS when it is none. */
enum trail_kind trail_kind_parse(struct str name);

/* trail_text.c: one record as members of the open object, with sentences that say why. */
void trail_put(const struct trail_record *r, struct json_writer *w);
const char *trail_kind_name(enum trail_kind k);

#endif
