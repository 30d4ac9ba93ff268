/* The first thread's book of models: news from the master, descriptions from workers, loading of inline models. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/edge_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "model/declared.h"
#include "model/repo/fingerprint.h"
#include "model/warmup.h"
#include "serve/ensemble.h"
#include "serve/proto.h"
#include "sys/cpu.h"
#include "sys/fd.h"

#define PROBE_NS   (20 * NS_PER_MS)
#define MEASURE_NS (20 * NS_PER_MS)
#define PARAMS_MAX 64

/* What the master says of a model. */
struct model_news {
    struct str scale; /* JSON */
    uint32_t segment;
    struct str name, version, path, root, class_name, backend, engine_dir, reason, labels, labels_file;
    bool is_inline, announce, is_on_demand;
    struct edge_memory memory;
    enum served_state state;
    int64_t instances, instances_ready, threads, max_batch;
    uint64_t timeout_ns, queue_max, cache_bytes;
    int64_t priority, keep_requests;
    struct str compare, warm_up; /* JSON, see edge_compare.c */
    struct batch_policy batch;
    struct backend_param params[PARAMS_MAX];
    size_t params_len;
    struct warmup warmup;
    struct declared declared;
    struct ensemble *ensemble; /* on the heap; add_model takes it */
    struct edge_rollout rollout;
    struct str explain; /* JSON, see cli/config_explain.h */
};

/* Loading an inline model takes long: a thread of its own does it. */
struct inline_load {
    struct edge *edge;
    struct model_shared *shared;
    struct model_news news;
    struct arena arena;
    struct model_desc *desc; /* until it is loaded */
    struct err err;
    uv_async_t done;
};

static void read_state(struct json_reader *r, struct arena *a, enum served_state *out)
{
    struct str s = STR("");
    json_string(r, a, &s);
    *out = str_eq_c(s, "ready")      ? SERVED_READY
           : str_eq_c(s, "failed")   ? SERVED_FAILED
           : str_eq_c(s, "unloaded") ? SERVED_UNLOADED
                                     : SERVED_LOADING;
}

static void read_params(struct json_reader *r, struct arena *a, struct model_news *n)
{
    struct str key, value;
    json_object(r);
    while (json_key(r, &key)) {
        value = STR("");
        json_string(r, a, &value);
        if (n->params_len < PARAMS_MAX)
            n->params[n->params_len++] = (struct backend_param){arena_cstr(a, key), arena_cstr(a, value)};
    }
}

/* Texts by name, so that the reader below stays a table. */
static struct str *text_field(struct model_news *n, struct str key)
{
    const struct {
        const char *key;
        struct str *at;
    } fields[] = {{"name", &n->name},        {"version", &n->version},
                  {"path", &n->path},        {"root", &n->root},
                  {"class", &n->class_name}, {"backend", &n->backend},
                  {"reason", &n->reason},    {"engine_dir", &n->engine_dir},
                  {"labels", &n->labels},    {"labels_file", &n->labels_file}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (str_eq_c(key, fields[i].key))
            return fields[i].at;
    return NULL;
}

static int64_t *number_field(struct model_news *n, struct str key)
{
    const struct {
        const char *key;
        int64_t *at;
    } fields[] = {{"instances", &n->instances}, {"instances_ready", &n->instances_ready}, {"threads", &n->threads},
                  {"max_batch", &n->max_batch}, {"keep_requests", &n->keep_requests},     {"priority", &n->priority}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (str_eq_c(key, fields[i].key))
            return fields[i].at;
    return NULL;
}

static void read_sizes(struct json_reader *r, uint32_t out[BATCH_SIZES_MAX])
{
    uint64_t v;
    json_array(r);
    for (int i = 0; json_item(r); i++)
        if (json_u64(r, &v) && i < BATCH_SIZES_MAX)
            out[i] = (uint32_t)v;
}

/* False: the key is not one of the policy's. */
static bool read_batching(struct json_reader *r, struct str key, struct batch_policy *p)
{
    if (str_eq_c(key, "delay_ns"))
        json_u64(r, &p->delay_ns);
    else if (str_eq_c(key, "preferred"))
        read_sizes(r, p->preferred);
    else if (str_eq_c(key, "sizes"))
        read_sizes(r, p->sizes);
    else if (str_eq_c(key, "ordered"))
        json_bool(r, &p->is_ordered);
    else
        return false;
    return true;
}

/* Read twice: by who loads the model, and by who compares it. */
static void read_warm_up(struct json_reader *r, struct arena *a, struct model_news *n)
{
    struct json_reader again = *r;
    json_skip(r, &n->warm_up);
    warmup_read(&again, a, &n->warmup);
    if (again.failed)
        json_fail(r, again.err.code, "%s", again.err.text);
}

static bool read_news(struct str text, struct arena *a, struct model_news *n)
{
    struct json_reader r;
    struct str key;
    uint64_t v;
    json_init(&r, text, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        struct str *s = text_field(n, key);
        int64_t *i = number_field(n, key);
        if (s && json_string(&r, a, s))
            *s = arena_str_dup(a, *s);
        else if (i)
            json_i64(&r, i);
        else if (str_eq_c(key, "segment") && json_u64(&r, &v))
            n->segment = (uint32_t)v;
        else if (str_eq_c(key, "inline"))
            json_bool(&r, &n->is_inline);
        else if (str_eq_c(key, "on_demand"))
            json_bool(&r, &n->is_on_demand);
        else if (str_eq_c(key, "memory"))
            edge_memory_read(&r, a, &n->memory);
        else if (str_eq_c(key, "announce"))
            json_bool(&r, &n->announce);
        else if (str_eq_c(key, "state"))
            read_state(&r, a, &n->state);
        else if (str_eq_c(key, "timeout_ns"))
            json_u64(&r, &n->timeout_ns);
        else if (str_eq_c(key, "queue_max"))
            json_u64(&r, &n->queue_max);
        else if (str_eq_c(key, "cache_bytes"))
            json_u64(&r, &n->cache_bytes);
        else if (str_eq_c(key, "explain"))
            json_skip(&r, &n->explain);
        else if (str_eq_c(key, "canary"))
            edge_rollout_read(&r, a, &n->rollout);
        else if (str_eq_c(key, "compare"))
            json_skip(&r, &n->compare);
        else if (str_eq_c(key, "scale"))
            json_skip(&r, &n->scale);
        else if (str_eq_c(key, "parameters"))
            read_params(&r, a, n);
        else if (str_eq_c(key, "warm_up"))
            read_warm_up(&r, a, n);
        else if (str_eq_c(key, "declared"))
            declared_read(&r, a, &n->declared);
        else if (str_eq_c(key, "ensemble") && !n->ensemble)
            n->ensemble = ensemble_read(&r);
        else if (!read_batching(&r, key, &n->batch))
            json_skip(&r, NULL);
    }
    if (json_end(&r))
        LOG_ERROR("malformed news of a model", LOG_S("error", r.err.text));
    return !r.failed && n->name.n > 0;
}

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

static void publish(struct edge *e, struct edge_model *m)
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

static void set_failed(struct edge_model *m, const char *reason, const char *remedy)
{
    m->state = SERVED_FAILED;
    (void)snprintf(m->reason, sizeof m->reason, "%s%s%s", reason, remedy[0] ? "; " : "", remedy);
}

/* ---- inline models ---- */

static void tell_inline(struct edge *e, uint32_t segment, const struct err *err)
{
    struct buf text;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    channel_write_err(&text, segment, err);
    edge_tell(e, err->code ? CHANNEL_FAILED : CHANNEL_READY, buf_view(&text));
    buf_done(&text);
}

static enum err_code load_instances(struct inline_load *l, struct err *err)
{
    struct model_shared *sh = l->shared;
    struct model_desc *d = l->desc;
    const struct model_news *n = &l->news;
    struct backend_load opt = {
        .name = sh->name,
        .path = n->path.n ? n->path.p : NULL,
        .root = n->root.n ? n->root.p : NULL,
        .engine_dir = n->engine_dir.n ? n->engine_dir.p : NULL,
        .params = n->params,
        .params_len = n->params_len,
        .threads = (int)n->threads,
        .max_batch = n->max_batch,
    };
    uint64_t start_ns = clock_now_ns();
    sh->backend = backend_by_name(n->backend);
    if (!sh->backend)
        return err_set(err, ERR_INVALID, "unknown backend '%.*s'", STR_F(n->backend));
    if (sh->backend->engine_open && sh->backend->engine_open(&opt, err))
        return err->code;
    if (opt.path && repo_verify(opt.path, err))
        return err->code;
    for (int i = 0; i < l->edge->threads_len; i++)
        if (sh->backend->load(&opt, &sh->instances[i], err))
            return err->code;
    if (sh->backend->describe(sh->instances[0], d, err) || declared_check(&n->declared, d, err))
        return err->code;
    backend_probe_batching(sh->backend, sh->instances[0], d, PROBE_NS);
    backend_measure_batching(sh->backend, sh->instances[0], d, n->max_batch > 0, MEASURE_NS);
    for (int i = 0; i < l->edge->threads_len; i++)
        if (warmup_run(&n->warmup, sh->backend, sh->instances[i], d, err))
            return err->code;
    d->load_ns = clock_now_ns() - start_ns;
    return model_desc_check(d, err);
}

void edge_model_is(struct edge *e, struct edge_model *m, enum served_state state, const struct err *err)
{
    pthread_mutex_lock(&e->models_lock);
    m->state = state;
    m->reason[0] = '\0';
    m->instances = m->instances_ready = 0;
    if (state == SERVED_FAILED)
        set_failed(m, err->text, err->remedy);
    if (state == SERVED_READY && m->ready_at_ms == 0)
        m->ready_at_ms = clock_wall_ms();
    pthread_mutex_unlock(&e->models_lock);
    publish(e, m);
    if (state != SERVED_LOADING)
        tell_inline(e, m->shared->id, err);
}

static void on_inline_closed(uv_handle_t *h)
{
    struct inline_load *l = h->data;
    (void)model_shared_unref(l->shared);
    model_desc_free(l->desc);
    arena_done(&l->arena);
    free(l);
}

static void on_inline_loaded(uv_async_t *h)
{
    struct inline_load *l = h->data;
    struct edge_model *m = edge_model_by_id(l->edge, l->shared->id);
    pthread_mutex_lock(&l->edge->models_lock);
    if (m && l->err.code) {
        set_failed(m, l->err.text, l->err.remedy);
    } else if (m) {
        l->shared->desc = model_desc_copy(l->desc);
        m->state = SERVED_READY;
        m->instances = m->instances_ready = l->edge->threads_len;
        m->ready_at_ms = clock_wall_ms();
    }
    pthread_mutex_unlock(&l->edge->models_lock);
    if (m) {
        publish(l->edge, m);
        tell_inline(l->edge, l->shared->id, &l->err);
        edge_ensembles_update(l->edge);
    }
    uv_close((uv_handle_t *)h, on_inline_closed);
}

static void *inline_thread(void *arg)
{
    struct inline_load *l = arg;
    (void)load_instances(l, &l->err); /* the code is in err */
    (void)uv_async_send(&l->done);
    return NULL;
}

static void start_inline(struct edge *e, struct edge_model *m, struct str payload)
{
    struct inline_load *l = calloc(1, sizeof *l);
    pthread_t thread;
    CHECK(l);
    l->edge = e;
    l->shared = model_shared_ref(m->shared);
    l->desc = model_desc_new();
    arena_init(&l->arena, 4096, 1 << 20);
    struct buf copy; /* the message is gone before the thread reads it */
    buf_init(&copy, CHANNEL_PAYLOAD_MAX);
    buf_str(&copy, payload);
    buf_pad(&copy);
    (void)read_news(buf_view(&copy), &l->arena, &l->news); /* was read once already */
    buf_done(&copy);
    l->done.data = l;
    CHECK(uv_async_init(&e->threads[0].loop, &l->done, on_inline_loaded) == 0);
    CHECK(pthread_create(&thread, NULL, inline_thread, l) == 0);
    (void)pthread_detach(thread);
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
        set_failed(m, err.text, err.remedy);
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

void edge_on_model(struct edge *e, struct channel_msg *msg)
{
    struct model_news n = {.state = SERVED_LOADING};
    struct arena a;
    struct err err = {0};
    arena_init(&a, 4096, 1 << 20);
    if (!read_news(msg->payload, &a, &n)) {
        arena_done(&a);
        return;
    }
    pthread_mutex_lock(&e->models_lock);
    struct edge_model *m = edge_model_by_id(e, n.segment);
    bool is_new = m == NULL;
    if (is_new)
        m = add_model(e, &n);
    bool is_hopeless = is_new && n.state == SERVED_FAILED && msg->fds_len == 0; /* never had processes */
    if (m)
        (void)str_copy(m->labels, sizeof m->labels, n.labels);
    n.rollout.is_comparing = n.compare.n > 0;
    if (m && !(m->rollout.policy.is_canary && n.rollout.policy.is_canary && /* it goes on being tried */
               m->rollout.is_comparing == n.rollout.is_comparing))
        m->rollout = n.rollout;
    if (m && is_new && !n.is_inline && !is_hopeless &&
        (msg->fds_len != 1 || segment_open(msg->fds[0], SEGMENT_EDGE, &m->shared->map, &err)))
        set_failed(m, err.code ? err.text : "no shared memory came with the model", "");
    else if (m && (!n.is_inline || is_hopeless))
        take_process_state(e, m, &n);
    if (m)
        m->announced = m->announced || !n.announce;
    pthread_mutex_unlock(&e->models_lock);
    if (m) {
        publish(e, m);
        edge_compare_update(e, m, n.compare, n.warm_up);
        if (is_new && n.is_inline && !is_hopeless && !m->shared->ensemble)
            start_inline(e, m, msg->payload);
    }
    (void)ensemble_free(n.ensemble);
    edge_ensembles_update(e);
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
