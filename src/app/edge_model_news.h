/* What the master says of a model (CHANNEL_MODEL), read into one struct. Written by app/master_messages.c: a key that is new there has its line here.
 *
 * Texts and arrays live in the reader's arena, or point into the message where they are marked as JSON: both must stay while the news is used. Unknown keys
 * are skipped. First thread of the edge. */
#ifndef APP_EDGE_MODEL_NEWS_H
#define APP_EDGE_MODEL_NEWS_H

#include "app/edge_int.h"
#include "model/declared.h"
#include "model/warmup.h"

#define MODEL_PARAMS_MAX 64 /* more are left out */

struct model_news {
    struct str scale; /* JSON */
    uint32_t segment;
    struct str name, version, path, root, class_name, backend, engine_dir, reason, labels, labels_file;
    bool is_inline, announce, is_on_demand;
    struct edge_memory memory;
    enum served_state state;
    int64_t instances, instances_ready, threads, max_batch;
    uint64_t timeout_ns, queue_max, cache_bytes;
    struct queue_policy queue[SCHEDULE_PRIORITY_MAX];
    int64_t priority, keep_requests;
    struct str compare, warm_up; /* JSON, see edge_compare.c */
    struct batch_policy batch;
    struct backend_param params[MODEL_PARAMS_MAX];
    size_t params_len;
    struct warmup warmup;
    struct declared declared;
    struct ensemble *ensemble; /* on the heap; add_model takes it */
    struct edge_rollout rollout;
    struct str explain; /* JSON, see cli/config_explain.h */
};

/* False: it cannot be used, which is in the log. n->ensemble is the caller's either way. */
bool model_news_read(struct str text, struct arena *a, struct model_news *n);

#endif
