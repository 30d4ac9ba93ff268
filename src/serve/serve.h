/* The models as one edge thread sees them, and the thread's duties towards them. infer.h is what protocols use; this is what the edge role uses.
 * Everything on the owning thread unless said otherwise. */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H

#include "serve/infer.h"
#include "serve/shared.h"

struct http_req;

/* What this room asks of the role it lives in. Called on the thread. */
struct serve_hooks {
    void (*kill_worker)(void *arg, uint32_t segment, uint32_t pid, const char *reason); /* it hangs */
    void (*cancel_run)(void *arg, uint32_t segment, uint32_t pid, uint32_t lane, uint32_t block,
                       uint32_t gen);             /* nobody waits */
    void (*drained)(void *arg, uint32_t segment); /* after serve_retire */
    /* Takes a request that must wait until m is loaded: it is handled anew then, or when that has come to nothing. False: it cannot wait. */
    bool (*park)(void *arg, struct http_req *req, struct model_shared *m, uint64_t deadline_ns, struct err *err);
    void (*yielded)(void *arg, struct model_shared *m); /* after serve_yield, LATER: it has no requests any more */
    void (*log_chosen)(void *arg);                      /* what this process logs has changed: tell the others */
    void *arg;
};

struct serve *serve_new(int thread, const struct serve_hooks *hooks);
struct serve *serve_free(struct serve *s);

#define SERVE_LABELS_MAX 200
#define SERVE_MODELS_MAX 16384 /* lives of them: while all are replaced there are two or three of each */

struct serve_state {
    enum served_state state;
    const char *reason;
    const struct rollout_policy *rollout; /* NULL: it is no canary */
    const char *labels;                   /* names for this version, with commas between; NULL: none */
    int instances, instances_ready;
    bool is_on_demand;
};
/* Adds a model or tells news of it (by m->id). A READY model replaces an older life of the same name and version for new requests. Takes a reference. */
enum err_code serve_update(struct serve *s, struct model_shared *m, const struct serve_state *state, struct err *err);
/* No new requests for this segment; hooks.drained when the last one is answered. */
void serve_retire(struct serve *s, uint32_t segment);
/* A worker process is gone: its rows run again. is_crash false: killed from outside, which says nothing against the requests. */
void serve_worker_died(struct serve *s, uint32_t segment, uint32_t pid, bool is_crash);
/* The model that serve_model did not give out because it is to be loaded first; NULL: that was not the reason. Until the next request. */
struct served *serve_awaited(const struct serve *s);
/* After an error of serve_model: true if the request now waits for the model, and is not to be answered. False: err may say better why not. */
bool serve_defer(struct serve *s, struct http_req *req, struct err *err);
/* Of requests that are handled anew because waiting has come to nothing: what serve_defer puts into err. NULL: none from now on. */
void serve_set_refusal(struct serve *s, const struct err *why);
enum serve_yield { SERVE_YIELD_DONE, SERVE_YIELD_BUSY, SERVE_YIELD_LATER };
/* The model is to be unloaded: no new requests, unless it is BUSY and not to be drained (then it serves on). LATER: hooks.yielded tells. */
enum serve_yield serve_yield(struct served *m, bool is_drain);
struct served *serve_by_segment(const struct serve *s, uint32_t segment); /* NULL: there is none */
void serve_log_chosen(const struct serve *s);
void serve_set_settled(struct serve *s, bool all_settled);

/* Whose request is being handled from now on, NULL: nobody's. It decides who gets a canary. */
void serve_set_caller(struct serve *s, const struct http_req *req);
/* All that was readable has been read: publish batches, wake workers once, run inline models. */
void serve_flush(struct serve *s);
/* Takes finished batches and answers their requests. True if there were any. Cheap when there is nothing. */
bool serve_collect(struct serve *s);
/* Deadlines, hung runs, orphans of an earlier edge. Call every 10 ms or so while serve_is_busy. */
void serve_tick(struct serve *s, uint64_t now_ns);
bool serve_is_busy(const struct serve *s);
struct model_shared *served_shared(const struct served *m);
struct v2_texts **served_v2_texts(struct served *m); /* kept for proto_v2_texts.h */

#endif
