/* The inference path as protocols see it. Protocol code (predict, v2 ...) never knows whether the model runs in a worker process or inline.
 *
 *   1. serve_model() finds the model version.
 *   2. The protocol fills a struct infer (in the request's arena): model, shapes of all inputs, decode and done callbacks, and calls infer_submit.
 *   3. When rows are reserved in a batch block, decode(i) is called, at once or later: it writes the request's elements to i->in[k].data
 *      (in shared memory) and returns ERR_OK, or an error (then the rows are void and nobody else notices).
 *   4. done(i) is called exactly once, maybe before infer_submit returns: i->err.code tells whether i->out[] has the results. They are valid only during done(),
 *      which encodes the answer.
 * All on the edge thread that owns `serve`. */
#ifndef SERVE_INFER_H
#define SERVE_INFER_H

#include "model/desc.h"

struct serve;  /* the models as one edge thread sees them */
struct served; /* one model version */

/* UNLOADED: on demand; its first request loads it. */
enum served_state { SERVED_LOADING, SERVED_READY, SERVED_FAILED, SERVED_DRAINING, SERVED_UNLOADED };

struct served_info {
    const char *name, *version;
    enum served_state state;
    const char *reason;            /* why it failed or waits; "" otherwise */
    const struct model_desc *desc; /* NULL until it was ready once */
    const char *isolation;         /* "process", "inline" */
    const char *path;
    int instances, instances_ready;
    bool is_on_demand; /* may be UNLOADED, and LOADING for a request that waits */
};

/* version empty: the newest that is ready, or would be loaded for it. Errors: ERR_NOT_FOUND (with known names), ERR_UNAVAILABLE (loading, failed: with the reason). */
enum err_code serve_model(struct serve *s, struct str name, struct str version, struct served **out, struct err *err);
const struct served_info *served_info(const struct served *m);
size_t serve_models_len(const struct serve *s);
struct served *serve_model_at(struct serve *s, size_t i); /* by name, then version */
bool serve_all_settled(const struct serve *s);            /* every model asked for at start serves or has failed */

struct infer_tensor {
    int32_t ndim;
    int64_t dims[TENSOR_DIMS_MAX]; /* with the request's own rows first when the model has a batch dimension */
    enum dtype dtype;
    unsigned char *data; /* inputs: write here in decode; outputs: read here in done. BYTES: struct bytes_ref[] */
    size_t bytes;        /* exact size of data */
    size_t heap_bytes;   /* BYTES inputs: upper bound of all strings' bytes, set before submit */
    bool given;          /* inputs: false for an optional one that is left out */
};

enum infer_refusal { INFER_ADMITTED, INFER_BY_DEADLINE, INFER_BY_QUEUE, INFER_BY_STATE, INFER_BY_PRIORITY };

struct infer {
    /* set by the protocol */
    struct serve *serve;
    struct served *model;
    struct arena *arena;
    struct infer_tensor *in; /* desc->inputs_len of them: ndim, dims, heap_bytes, given */
    enum err_code (*decode)(struct infer *i, struct err *err);
    void (*done)(struct infer *i);
    void *owner;
    uint32_t priority;                  /* 1 is most urgent; 0 = the model's default (schedule.h) */
    uint64_t client;                    /* who asks, for fairness; 0 = unknown */
    uint64_t deadline_ns;               /* clock_now_ns time; 0 = the model's default */
    const char *request_id;             /* for crash reports and logs */
    struct trace *trace;                /* trace.h; NULL: not traced */
    const struct ensemble_trial *trial; /* ensemble.h; NULL: its members are those that serve */
    /* set by serve */
    struct infer_tensor *out; /* desc->outputs_len of them, in done() */
    struct err err;
    uint64_t t_submit_ns, t_decoded_ns, t_run_ns, t_ran_ns; /* stage times: decode, queue, compute */
    uint32_t batch_rows;                                    /* rows in the run that it was part of */
    uint32_t batch_requests;                                /* requests in it that were still waited for */
    uint32_t batch_guests; /* rows in it of other priorities than that of its first request (mix.h) */
    bool is_guest;         /* it was one of them */
    uint32_t attempts;
    uint32_t ahead_rows;  /* waiting or running when it came; for a refused one: those that would have run before it */
    uint64_t expected_ns; /* from its arrival to its answer, as it was predicted; 0: nothing was ahead, or not known */
    enum infer_refusal refusal;
    const unsigned char *kept; /* out lies in a cache: what its strings count from. NULL: in a block */
    /* private to serve */
    struct infer *next, *prev;
    struct lane_block *block;
    struct split *split;           /* of a request in parts */
    struct ensemble_run *ensemble; /* of a request to an ensemble */
    struct infer *part_of;         /* a part of a request with more rows than a run takes (split.c) */
    uint64_t order;                /* smaller runs sooner */
    uint64_t begin_by_ns;          /* so long it may wait for its run (queue.h); 0: it does not matter */
    uint32_t row0, rows;
    uint32_t heap_at, heap_end, state;
};

/* Checks shapes against the model (the texts of research: "unexpected shape for input 'x' ...") without submitting. Protocols need not call it. */
enum err_code infer_check(const struct infer *i, struct err *err);
void infer_submit(struct infer *i);
/* The client is gone: done(i) comes with ERR_CANCELLED, at once when still queued. */
void infer_cancel(struct infer *i);

/* BYTES helpers. put: element e of input k, inside decode; false when over the heap_bytes promised. get: inside done. */
ATTR_MUST_USE bool infer_put_bytes(struct infer *i, int k, uint64_t e, struct str s);
struct str infer_get_bytes(const struct infer *i, int k, uint64_t e);

#endif
