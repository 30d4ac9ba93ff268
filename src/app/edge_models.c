/* The first thread's book of models: what the master says of them, and what their workers say of themselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/edge_model_news.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "serve/ensemble.h"
#include "serve/proto.h"

static struct str key_of(const uint32_t *id)
{
    return (struct str){(const char *)id, sizeof *id};
}

struct edge_model *edge_model_by_id(struct edge *e, uint32_t id)
{
    uintptr_t place = (uintptr_t)map_get(&e->model_of, key_of(&id));
    return place ? &e->models[place - 1] : NULL;
}

static void set_place(struct edge *e, size_t i)
{
    CHECK(map_put(&e->model_of, key_of(&e->models[i].shared->id), (void *)(uintptr_t)(i + 1)));
}

void edge_settle(struct edge *e)
{
    bool settled = e->models_len >= e->models_expected;
    if (settled && !e->listening) {
        e->listening = true;
        edge_broadcast(e, &(struct edge_news){.kind = EDGE_NEWS_LISTEN});
    }
    for (size_t i = 0; i < e->models_len && settled; i++)
        settled = e->models[i].state != SERVED_LOADING || e->models[i].is_on_demand;
    if (!settled || e->all_settled)
        return; /* ready once stays ready: what a reload brings loads beside what serves */
    e->all_settled = true;
    edge_broadcast(e, &(struct edge_news){.kind = EDGE_NEWS_SETTLED, .flag = true});
}

static struct edge_model *add_model(struct edge *e, struct model_news *n)
{
    if (e->models_len == EDGE_MODELS_MAX) {
        LOG_ERROR("too many models", LOG_U("limit", EDGE_MODELS_MAX));
        return NULL;
    }
    struct model_shared *sh = model_shared_new(e->threads_len);
    sh->id = n->segment;
    sh->is_inline = n->is_inline;
    sh->cache = n->cache_bytes > 0 ? cache_new(n->cache_bytes) : NULL;
    sh->kept = n->keep_requests > 0 ? compare_ring_new((size_t)n->keep_requests) : NULL;
    sh->ensemble = n->ensemble;
    e->ensembles += n->ensemble != NULL;
    n->ensemble = NULL;
    sh->limits = (struct model_limits){.batch = n->batch,
                                       .priority_default = (uint32_t)n->priority,
                                       .timeout_ns = n->timeout_ns,
                                       .queue_max = (uint32_t)n->queue_max};
    memcpy(sh->limits.queue, n->queue, sizeof sh->limits.queue);
    sh->threads_draining = e->threads_len;
    (void)str_copy(sh->name, sizeof sh->name, n->name);
    (void)str_copy(sh->version, sizeof sh->version, n->version);
    (void)str_copy(sh->path, sizeof sh->path, n->path);
    (void)str_copy(sh->class_name, sizeof sh->class_name, n->class_name);
    (void)str_copy(sh->labels_file, sizeof sh->labels_file, n->labels_file);
    edge_stats_adopt(e, sh);
    edge_metrics_model(e, sh);
    history_watch(e->history, sh);
    struct edge_model *m = &e->models[e->models_len++];
    *m = (struct edge_model){
        .shared = sh, .state = SERVED_LOADING, .instances = (int)n->instances, .is_on_demand = n->is_on_demand};
    set_place(e, e->models_len - 1);
    (void)str_copy(m->backend, sizeof m->backend, n->backend);
    m->explain = n->explain.n ? strndup(n->explain.p, n->explain.n) : NULL;
    return m;
}

/* The worker's words about its model, copied and checked. */
static enum err_code take_description(struct model_shared *sh, struct err *err)
{
    if (sh->desc)
        return ERR_OK;
    if (atomic_load(&sh->map.shm->described) != 2)
        return err_set(err, ERR_INTERNAL, "the worker said ready but did not describe its model");
    struct model_desc *told = model_desc_copy(&sh->map.shm->desc);
    if (model_desc_check(told, err)) {
        model_desc_free(told);
        return err_wrap(err, "the worker's description of its model");
    }
    sh->desc = told;
    return ERR_OK;
}

/* `quern serve` shows what it serves: inputs, outputs and a line to copy. */
static void announce(struct edge *e, struct edge_model *m)
{
    if (!e->is_serve || m->announced || m->state == SERVED_LOADING || m->state == SERVED_UNLOADED)
        return;
    m->announced = true;
    const struct model_shared *sh = m->shared;
    struct buf out;
    buf_init(&out, 1 << 16);
    if (m->state == SERVED_FAILED) {
        buf_printf(&out, "\n%s cannot be served: %s\n", sh->name, m->reason);
    } else {
        struct served_info info = {.name = sh->name,
                                   .version = sh->version,
                                   .state = m->state,
                                   .desc = sh->desc,
                                   .reason = "",
                                   .path = sh->path};
        buf_printf(&out, "\n%s is ready (%s, loaded in %llu ms)\n", sh->name, sh->desc->backend,
                   (unsigned long long)(sh->desc->load_ns / NS_PER_MS));
        for (uint32_t side = 0; side < 2; side++)
            for (uint32_t k = 0; k < (side ? sh->desc->outputs_len : sh->desc->inputs_len); k++) {
                const struct tensor_spec *t = side ? &sh->desc->outputs[k] : &sh->desc->inputs[k];
                char dims[128];
                tensor_dims_format(t->dims, t->ndim, dims, sizeof dims);
                buf_printf(&out, "  %s %s %s %s\n", side ? "out" : "in ", t->name, dtype_name((enum dtype)t->dtype),
                           dims);
            }
        buf_c(&out, "  try: ");
        proto_curl(&info, e->address, &out);
        buf_char(&out, '\n');
    }
    (void)!fwrite(out.p, 1, out.len, stdout);
    (void)fflush(stdout);
    buf_done(&out);
}

void edge_model_publish(struct edge *e, struct edge_model *m)
{
    struct edge_news news = {.kind = EDGE_NEWS_MODEL,
                             .shared = m->shared,
                             .state = m->state,
                             .instances = m->instances,
                             .instances_ready = m->instances_ready};
    (void)str_copy(news.reason, sizeof news.reason, str_c(m->reason));
    (void)str_copy(news.labels, sizeof news.labels, str_c(m->labels));
    news.rollout = m->rollout.policy;
    news.is_on_demand = m->is_on_demand;
    edge_broadcast(e, &news);
    announce(e, m);
    edge_settle(e);
}

void edge_model_set_failed(struct edge_model *m, const char *reason, const char *remedy)
{
    m->state = SERVED_FAILED;
    (void)snprintf(m->reason, sizeof m->reason, "%s%s%s", reason, remedy[0] ? "; " : "", remedy);
}

/* ---- news ---- */

static void take_scale(struct edge_model *m, struct str json)
{
    free(m->scale);
    m->scale = json.n > 0 ? strndup(json.p, json.n) : NULL;
}

static void take_process_state(struct edge *e, struct edge_model *m, const struct model_news *n)
{
    struct err err = {0};
    bool was_described = m->shared->desc != NULL, was_loading = m->state == SERVED_LOADING;
    m->instances = (int)n->instances;
    take_scale(m, n->scale);
    m->instances_ready = (int)n->instances_ready;
    m->state = n->state;
    m->is_on_demand = n->is_on_demand;
    edge_memory_take(e, m, &n->memory);
    (void)str_copy(m->reason, sizeof m->reason, n->reason);
    if (n->state == SERVED_READY && take_description(m->shared, &err))
        edge_model_set_failed(m, err.text, err.remedy);
    if (m->state == SERVED_READY && m->ready_at_ms == 0)
        m->ready_at_ms = clock_wall_ms();
    if (m->state == SERVED_READY) {
        m->loads += was_loading;
        atomic_store(&m->shared->expect_ns, 0);
    }
    if (!was_described && m->shared->desc)
        edge_describe_keep(e, m);
    if (m->state == SERVED_UNLOADED && !m->shared->desc && !atomic_load(&m->shared->recalled))
        edge_describe_recall(e, m);
}

static void take_rollout(struct edge_model *m, const struct model_news *n)
{
    struct edge_rollout r = n->rollout;
    r.is_comparing = n->compare.n > 0;
    bool goes_on = m->rollout.policy.is_canary && r.policy.is_canary && m->rollout.is_comparing == r.is_comparing;
    if (!goes_on)
        m->rollout = r;
}

static bool take_segment(struct edge_model *m, const struct channel_msg *msg)
{
    struct err err = {0};
    if (msg->fds_len == 1 && segment_open(msg->fds[0], SEGMENT_EDGE, &m->shared->map, &err) == ERR_OK)
        return true;
    edge_model_set_failed(m, err.code ? err.text : "no shared memory came with the model", "");
    return false;
}

/* NULL: there is no room for it. */
static struct edge_model *take_news(struct edge *e, struct model_news *n, const struct channel_msg *msg,
                                    bool *out_loads_here)
{
    struct edge_model *m = edge_model_by_id(e, n->segment);
    bool is_new = m == NULL;
    bool is_hopeless = is_new && n->state == SERVED_FAILED && msg->fds_len == 0; /* never had processes */
    bool is_inline = n->is_inline && !is_hopeless;
    if (is_new)
        m = add_model(e, n);
    if (!m)
        return NULL;
    (void)str_copy(m->labels, sizeof m->labels, n->labels);
    take_rollout(m, n);
    m->announced = m->announced || !n->announce;
    if (!is_inline && (!is_new || is_hopeless || take_segment(m, msg)))
        take_process_state(e, m, n);
    *out_loads_here = is_new && is_inline && !m->shared->ensemble;
    return m;
}

void edge_on_model(struct edge *e, struct channel_msg *msg)
{
    struct model_news n = {.state = SERVED_LOADING};
    struct arena a;
    bool loads_here = false;
    arena_init(&a, 4096, 1 << 20);
    if (model_news_read(msg->payload, &a, &n)) {
        pthread_mutex_lock(&e->models_lock);
        struct edge_model *m = take_news(e, &n, msg, &loads_here);
        pthread_mutex_unlock(&e->models_lock);
        if (m) {
            edge_model_publish(e, m);
            edge_compare_update(e, m, n.compare, n.warm_up);
        }
        if (loads_here)
            edge_inline_start(e, m, msg->payload);
        edge_ensembles_update(e);
    }
    (void)ensemble_free(n.ensemble);
    arena_done(&a);
}

static bool read_ids(struct str payload, uint32_t *segment, uint32_t *pid, bool *is_crash)
{
    struct json_reader r;
    struct str key;
    uint64_t v = 0;
    json_init(&r, payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "segment") && json_u64(&r, &v))
            *segment = (uint32_t)v;
        else if (str_eq_c(key, "pid") && json_u64(&r, &v))
            *pid = (uint32_t)v;
        else if (str_eq_c(key, "crash"))
            json_bool(&r, is_crash);
        else
            json_skip(&r, NULL);
    }
    return json_end(&r) == ERR_OK;
}

void edge_on_model_gone(struct edge *e, struct str payload)
{
    uint32_t segment = 0, pid = 0;
    bool is_crash = false;
    if (!read_ids(payload, &segment, &pid, &is_crash))
        return;
    pthread_mutex_lock(&e->models_lock);
    struct edge_model *m = edge_model_by_id(e, segment);
    struct model_shared *sh = m ? m->shared : NULL;
    if (m) {
        e->ensembles -= sh->ensemble != NULL;
        edge_compare_end(m);
        edge_stats_keep(e, sh);
        edge_stats_leave(e, sh);
        history_forget(e->history, sh);
        free(m->scale);
        free(m->explain);
        (void)map_take(&e->model_of, key_of(&segment));
        *m = e->models[--e->models_len];
        if (m != &e->models[e->models_len])
            set_place(e, (size_t)(m - e->models));
    }
    pthread_mutex_unlock(&e->models_lock);
    if (sh) {
        edge_broadcast(e, &(struct edge_news){.kind = EDGE_NEWS_RETIRE, .segment = segment, .shared = sh});
        (void)model_shared_unref(sh);
        edge_settle(e);
        edge_ensembles_update(e);
    }
}

void edge_on_died(struct edge *e, struct str payload)
{
    struct edge_news news = {.kind = EDGE_NEWS_DIED};
    if (read_ids(payload, &news.segment, &news.pid, &news.flag))
        edge_broadcast(e, &news);
}
