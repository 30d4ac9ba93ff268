/* The edge role's inside: one `struct edge` in the process, one `struct edge_thread` per event loop. Threads share nothing but what is atomic or
 * said to be locked; news comes to them through their inbox. */
#ifndef APP_EDGE_INT_H
#define APP_EDGE_INT_H

#include <pthread.h>
#include <uv.h>

#include "app/history.h"
#include "base/map.h"
#include "net/router.h"
#include "net/server.h"
#include "proc/channel.h"
#include "serve/serve.h"

struct edge;

struct edge_rollout { /* of a canary: how it is tried, and what its predecessor's counts were when it began */
    struct rollout_policy policy;
    uint64_t for_ns, min_requests;
    double max_failures, max_slower, max_different; /* percent, times, percent */
    uint64_t began_ns;
    uint32_t before_segment;
    uint64_t before_answered, before_failed;
    uint32_t before_latency[ROLLOUT_BUCKETS];
    bool is_judged;
    bool is_comparing; /* edge_compare.c judges, not the counts */
};

#define EDGE_SERIES_MAX (MODEL_NAME_MAX + 33)

enum edge_news_kind {
    EDGE_NEWS_MODEL,
    EDGE_NEWS_RETIRE,
    EDGE_NEWS_DIED,
    EDGE_NEWS_SETTLED,
    EDGE_NEWS_LISTEN,
    EDGE_NEWS_RELOADED,
    EDGE_NEWS_LOADED, /* reason, and the remedy in labels */
    EDGE_NEWS_DRAIN,
    EDGE_NEWS_YIELD,  /* flag: it is to be drained */
    EDGE_NEWS_EXPECT, /* reason and labels: it is refused, and the remedy; else when is in the model */
};

struct edge_news { /* for every thread; made by the first */
    struct edge_news *next;
    enum edge_news_kind kind;
    struct model_shared *shared;
    enum served_state state;
    int instances, instances_ready;
    char reason[640];
    char labels[SERVE_LABELS_MAX];
    struct rollout_policy rollout;
    uint32_t segment, pid;
    uint64_t id;        /* LOADED, RELOADED: of the question */
    enum err_code code; /* LOADED */
    bool is_on_demand;  /* MODEL */
    bool flag;          /* DIED: it crashed; SETTLED: all are; RELOADED: accepted */
};

struct edge_thread {
    struct edge *edge;
    int index;
    pthread_t pthread;
    uv_loop_t loop;
    uv_async_t inbox_async;
    uv_poll_t bell; /* workers ring when a batch is done and we sleep */
    uv_prepare_t prepare, rest;
    uv_check_t check;
    uv_timer_t tick;
    pthread_mutex_t inbox_lock;
    struct edge_news *inbox_first, *inbox_last;
    struct server *server;
    struct router *router;
    struct serve *serve;
    int bell_fd;
    _Atomic uint64_t alive_ns; /* when its loop last turned */
    struct edge_load *loads;   /* questions to the master that are not answered yet */
    size_t loads_len;
    uint64_t load_seq;
    struct edge_parking *parking; /* edge_demand.c */
    uv_timer_t parked_tick;
    struct edge_record *records; /* recordings that are asked for on this thread */
    struct http_req *reloading;  /* waits for the master's answer, which has this id */
    uint64_t reload_id;
    struct map series; /* edge_series_key -> struct model_shared *, for metrics; borrowed */
};

struct edge_memory { /* of a model's workers, as the master has measured it */
    bool is_measured, is_loaded;
    uint64_t need_bytes, private_bytes, shared_bytes, program_bytes, peak_bytes, load_ns;
    uint64_t budget_bytes; /* of all models */
    uint64_t file_bytes;
    char key[40]; /* what they, and its description, depend on */
};

struct edge_model { /* the first thread's book of models */
    struct model_shared *shared;
    enum served_state state;
    int instances, instances_ready;
    char reason[640];
    char labels[SERVE_LABELS_MAX];
    struct edge_rollout rollout;
    struct edge_compare *compare; /* in work; NULL: none */
    bool is_compared;
    bool announced;
    bool is_on_demand;
    struct edge_memory memory;
    char backend[32]; /* as configured */
    uint64_t loads, unloads;
    uint64_t ready_at_ms;
    char *explain; /* JSON: where its settings come from; NULL: not told */
    char *scale;   /* JSON: how instances and threads were chosen; NULL: not told */
};

#define EDGE_MODELS_MAX SERVE_MODELS_MAX

#define EDGE_STATS_GONE 256
struct edge_stats_gone { /* of a version that is gone: it may come back */
    char name[MODEL_NAME_MAX], version[32];
    struct stats *stats;
};

struct edge {
    /* from the launch message */
    int threads_len;
    struct server_limits limits;
    char data[512];
    char address[300]; /* first listening address, for texts */
    struct str listen_json;
    struct str base_path; /* in front of requests' paths; empty: none */
    bool is_serve, access_log;
    bool record_over_network;
    uint64_t started_at_ms;
    uint32_t models_expected;
    /* */
    struct arena arena;
    struct channel_msg msg;
    struct doorbell_shm *doorbell;
    int listen_fds[32];
    size_t listen_fds_len;
    struct edge_thread threads[LANE_THREADS_MAX];
    uv_poll_t channel;
    uv_timer_t second;
    struct metric_set *metrics;
    struct history *history;
    pthread_mutex_t models_lock; /* the book is read by all threads' status pages */
    struct edge_model models[EDGE_MODELS_MAX];
    size_t models_len, ensembles;
    struct map model_of; /* id -> its place in models, and one */
    struct map life_of;  /* edge_series_key -> the newest struct model_shared of the version */
    struct edge_stats_gone gone[EDGE_STATS_GONE];
    uint64_t gone_at;
    bool all_settled, listening;
    bool yields; /* its threads, in class SCHED_BATCH until all is settled */
    _Atomic bool draining;
    _Atomic int threads_drained;
    _Atomic uint64_t memory_budget; /* 0: none */
    uint64_t used_told_ns;          /* edge_demand_second */
    bool used_was_busy;
    uint64_t used_with_want_ns;   /* when uses were told last with a want; under demand_lock */
    pthread_mutex_t demand_lock;  /* the count of parked requests of a model and what the master is told of it */
    pthread_mutex_t channel_lock; /* any thread may tell the master something */
};

/* edge_launch.c: waits for the master's first message. */
enum err_code edge_wait_launch(struct edge *e, struct err *err);

/* edge_thread.c */
void edge_thread_init(struct edge *e, int index);
void edge_broadcast(struct edge *e, const struct edge_news *news); /* copied */

/* edge_models.c: news of models from the master. First thread. */
void edge_on_model(struct edge *e, struct channel_msg *m);
void edge_on_model_gone(struct edge *e, struct str payload);
void edge_on_died(struct edge *e, struct str payload);
void edge_settle(struct edge *e);
struct edge_model *edge_model_by_id(struct edge *e, uint32_t id);
void edge_model_publish(struct edge *e, struct edge_model *m); /* to all threads, what the book says of it now */
void edge_model_set_failed(struct edge_model *m, const char *reason, const char *remedy); /* under models_lock */

/* edge_inline.c: models without processes */
/* payload: the news of it, copied. What comes of it is published and told. */
void edge_inline_start(struct edge *e, struct edge_model *m, struct str payload);
/* Its state, for everybody and for the master. */
void edge_model_is(struct edge *e, struct edge_model *m, enum served_state state, const struct err *err);

/* edge_ensembles.c */
void edge_ensembles_update(struct edge *e);
/* ERR_INVALID: with the new version as its member the ensemble would not work, or look otherwise. First thread. */
struct ensemble_trial;
enum err_code edge_ensemble_try(const struct edge *e, const struct edge_model *ensemble, const struct edge_model *news,
                                const struct ensemble_trial *trial, struct err *err);

/* edge_demand.c: requests that wait until their model is loaded, and letting go of models that are unloaded */
void edge_demand_init(struct edge_thread *t);
bool edge_park(void *arg, struct http_req *req, struct model_shared *m, uint64_t deadline_ns, struct err *err);
void edge_demand_news(struct edge_thread *t, const struct edge_news *n); /* after it was told to serve */
void edge_demand_yield(struct edge_thread *t, const struct edge_news *n);
void edge_yielded(void *arg, struct model_shared *m); /* arg: the thread */
void edge_on_yield(struct edge *e, struct str payload);
void edge_on_expect(struct edge *e, struct str payload);
void edge_demand_second(struct edge *e);

/* edge_memory.c: what the master has measured, and descriptions that outlive the process */
void edge_memory_read(struct json_reader *r, struct arena *a, struct edge_memory *out);
void edge_memory_take(struct edge *e, struct edge_model *m, const struct edge_memory *news);
void edge_memory_write(const struct edge_model *m, struct json_writer *w);
void edge_describe_keep(const struct edge *e, const struct edge_model *m);
void edge_describe_recall(const struct edge *e, const struct edge_model *m);

/* edge_loads.c: loading and unloading by request */
enum edge_load_kind { EDGE_LOAD, EDGE_UNLOAD, EDGE_ROLLBACK, EDGE_PROMOTE };
/* A question to the master to load or unload a model by name, or to go back to the version before. Filled by who asks; lies still until done,
 * which is called once, on this thread, maybe at once, with err->code ERR_OK when the model serves or is gone. */
struct edge_load {
    const char *name;
    enum edge_load_kind kind;
    bool with_dependents; /* EDGE_UNLOAD: of an ensemble, also the members that came with it */
    char folder[64];      /* EDGE_LOAD: of DATA/uploads, with what the request brought; "": nothing */
    void (*done)(struct edge_load *l, const struct err *err);
    void *owner;
    /* private */
    struct edge_load *next;
    uint64_t id;
};
void edge_post_load(struct http_req *req, const struct route_match *match, void *arg);
void edge_post_unload(struct http_req *req, const struct route_match *match, void *arg);
void edge_post_promote(struct http_req *req, const struct route_match *match, void *arg);
void edge_post_rollback(struct http_req *req, const struct route_match *match, void *arg);
void edge_load_ask(struct edge_thread *t, struct edge_load *l);
void edge_on_loaded(struct edge *e, struct str payload);
void edge_answer_load(struct edge_thread *t, const struct edge_news *n);

/* edge_rollout.c: canaries */
void edge_rollout_read(struct json_reader *r, struct arena *a, struct edge_rollout *out);
void edge_rollout_tick(struct edge *e); /* once a second */
struct edge_model *edge_stable_of(struct edge *e, const struct edge_model *canary);
void edge_rollout_write(const struct edge_model *m, struct json_writer *w);

/* edge_explain.c: all about one model */
void edge_get_model(struct http_req *req, const struct route_match *match, void *arg);

/* edge_record.c: requests and answers for quern record */
void edge_get_record(struct http_req *req, const struct route_match *match, void *arg);
void edge_record_pump(struct edge_thread *t); /* before the loop sleeps */
void edge_record_end_all(struct edge_thread *t);

/* edge_compare.c: settings, the master's JSON; empty: it is not (or no more) to be compared. warm_up: JSON, its samples; empty: none */
void edge_compare_update(struct edge *e, struct edge_model *m, struct str settings, struct str warm_up);
void edge_compare_end(struct edge_model *m); /* before it is forgotten */

/* edge_stats.c */
void edge_stats_adopt(struct edge *e, struct model_shared *m); /* a new life counts on where one of its version was */
void edge_stats_keep(struct edge *e, const struct model_shared *m); /* before it is forgotten */
void edge_stats_leave(struct edge *e, const struct model_shared *m);

/* edge_metrics.c */
void edge_series_key(const struct model_shared *m, char out[EDGE_SERIES_MAX]);
void edge_metrics_model(struct edge *e, struct model_shared *m);
void edge_metrics_done(const struct http_req *req, int status, uint64_t bytes_out,
                       void *arg); /* server_done_fn; arg: the thread */
void edge_metrics_write(struct edge *e, struct buf *out);

/* edge_api.c: status, history, metrics, reload, dashboard */
const struct route *edge_api_routes(size_t *len);
void edge_handle(struct http_req *req, void *arg); /* arg: the thread */
void edge_write_model(struct json_writer *w, const struct edge *e, const struct edge_model *m);
uint64_t edge_measure_memory(struct edge *e); /* of all processes, see edge_usage.h; once a second */
void edge_on_reloaded(struct edge *e, struct str payload);
void edge_answer_reload(struct edge_thread *t, const struct edge_news *n);

/* To the master, from any thread. The process ends when the master is gone. */
void edge_tell(struct edge *e, enum channel_type type, struct str payload);

#endif
