/* The edge's own pages: dashboard files, status, history, metrics, reload. */
#include <stdio.h>
#include <string.h>

#include "app/assets.h"
#include "app/edge_int.h"
#include "app/edge_usage.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metric_window.h"
#include "serve/proto.h"
#include "sys/cpu.h"
#include "sys/fd.h"

#define STATUS_BYTES_MAX (8u << 20)

static const char *const state_names[] = {"loading", "ready", "failed", "draining", "unloaded"};
static const char *const stage_names[] = {"receive", "decode", "queue", "compute", "encode", "send"};

/* ---- status ---- */

static void write_tensors(struct json_writer *w, const char *key, const struct tensor_spec *t, uint32_t len)
{
    jw_key(w, key);
    jw_array(w);
    for (uint32_t k = 0; k < len; k++) {
        jw_object(w);
        jw_kv_c(w, "name", t[k].name);
        jw_kv_c(w, "datatype", dtype_name((enum dtype)t[k].dtype));
        jw_key(w, "shape");
        jw_array(w);
        for (int d = 0; d < t[k].ndim; d++)
            jw_i64(w, t[k].dims[d]);
        jw_array_end(w);
        if (tensor_is_scaled(&t[k])) {
            jw_key(w, "scale");
            jw_f32(w, t[k].scale);
            jw_kv_i64(w, "zero_point", t[k].zero);
        }
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void write_numbers(struct json_writer *w, const struct edge *e, const struct model_shared *sh)
{
    uint64_t failures = 0, queued = 0, in_flight = 0, ok = metric_value(sh->outcome[OUTCOME_OK]);
    for (int o = OUTCOME_OK + 1; o < OUTCOME_MAX_; o++)
        failures += o == OUTCOME_CANCELLED ? 0 : metric_value(sh->outcome[o]);
    for (int i = 0; i < e->threads_len; i++) {
        queued += atomic_load_explicit(&sh->load[i].queued, memory_order_relaxed);
        in_flight += atomic_load_explicit(&sh->load[i].in_flight, memory_order_relaxed);
    }
    jw_kv_u64(w, "requests", ok + failures);
    jw_kv_u64(w, "failures", failures);
    jw_kv_u64(w, "rows", metric_value(sh->rows));
    jw_kv_u64(w, "runs", metric_value(sh->runs));
    jw_kv_u64(w, "queue", queued);
    jw_kv_u64(w, "in_flight", in_flight);
    jw_key(w, "latency_ms");
    jw_object(w);
    jw_kv_f64(w, "p50", metric_quantile(sh->duration, 0.50) * 1e3);
    jw_kv_f64(w, "p95", metric_quantile(sh->duration, 0.95) * 1e3);
    jw_kv_f64(w, "p99", metric_quantile(sh->duration, 0.99) * 1e3);
    jw_object_end(w);
    jw_key(w, "stages_us");
    jw_object(w);
    for (size_t s = 0; s < ARRAY_LEN(stage_names); s++) {
        struct metric_look look;
        metric_look(sh->stage[s], &look);
        jw_kv_f64(w, stage_names[s], look.total ? (double)look.sum / (double)look.total / 1e3 : 0);
    }
    jw_object_end(w);
}

static void write_sizes(struct json_writer *w, const char *key, const uint32_t *sizes)
{
    jw_key(w, key);
    jw_array(w);
    for (int i = 0; i < BATCH_SIZES_MAX && sizes[i] != 0; i++)
        jw_u64(w, sizes[i]);
    jw_array_end(w);
}

/* What is configured, what was measured at load, and what runs have taught since. */
static void write_batching(struct json_writer *w, const struct model_shared *sh)
{
    const struct batch_policy *p = &sh->limits.batch;
    jw_key(w, "batching");
    jw_object(w);
    jw_kv_f64(w, "delay_ms", (double)p->delay_ns / 1e6);
    write_sizes(w, "preferred", p->preferred);
    write_sizes(w, "sizes", p->sizes);
    jw_kv_bool(w, "ordered", p->is_ordered);
    jw_kv_u64(w, "priority", sh->limits.priority_default);
    jw_key(w, "measured");
    jw_array(w);
    for (uint32_t i = 0; sh->desc && i < sh->desc->measures_len; i++) {
        jw_object(w);
        jw_kv_u64(w, "rows", sh->desc->measures[i].rows);
        jw_kv_f64(w, "ms", (double)sh->desc->measures[i].ns / 1e6);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_kv_f64(w, "run_us", (double)atomic_load_explicit(&sh->cost_a_ns, memory_order_relaxed) / 1e3);
    jw_kv_f64(w, "row_us", (double)atomic_load_explicit(&sh->cost_b_ns, memory_order_relaxed) / 1e3);
    jw_object_end(w);
}

void edge_write_model(struct json_writer *w, const struct edge *e, const struct edge_model *m)
{
    const struct model_shared *sh = m->shared;
    const struct model_desc *d = sh->desc;
    jw_object(w);
    jw_kv_c(w, "name", sh->name);
    jw_kv_c(w, "version", sh->version);
    jw_kv_c(w, "state", atomic_load(&e->draining) && m->state == SERVED_READY ? "draining" : state_names[m->state]);
    jw_kv_c(w, "reason", m->reason);
    jw_kv_c(w, "path", sh->path);
    jw_kv_c(w, "class", sh->class_name);
    jw_kv_c(w, "backend", d ? d->backend : m->backend);
    jw_kv_c(w, "platform", d ? d->platform : "");
    jw_kv_c(w, "isolation", sh->is_inline ? "inline" : "process");
    jw_kv_i64(w, "instances", m->instances);
    jw_kv_i64(w, "instances_ready", m->instances_ready);
    if (m->scale) {
        jw_key(w, "scale");
        jw_raw(w, str_c(m->scale));
    }
    write_tensors(w, "inputs", d ? d->inputs : NULL, d ? d->inputs_len : 0);
    write_tensors(w, "outputs", d ? d->outputs : NULL, d ? d->outputs_len : 0);
    jw_kv_u64(w, "max_batch", d ? d->max_batch : 0);
    jw_kv_bool(w, "may_share", d && d->may_share);
    jw_kv_c(w, "batch_reason", d ? d->batch_reason : "");
    write_batching(w, sh);
    jw_kv_u64(w, "memory_bytes", d ? d->memory_bytes : 0);
    jw_kv_u64(w, "file_bytes", d ? d->file_bytes : m->memory.file_bytes);
    jw_kv_f64(w, "load_ms", d ? (double)d->load_ns / 1e6 : 0);
    edge_memory_write(m, w);
    write_numbers(w, e, sh);
    edge_rollout_write(m, w);
    jw_object_end(w);
}

static void write_http(struct json_writer *w, const struct edge *e)
{
    uint64_t requests = 0, bad = 0, open = 0, in = 0, out = 0;
    for (int i = 0; i < e->threads_len; i++) {
        const struct server_stats *s = server_stats(e->threads[i].server);
        requests += atomic_load_explicit(&s->requests, memory_order_relaxed);
        bad += atomic_load_explicit(&s->bad_requests, memory_order_relaxed);
        open += atomic_load_explicit(&s->connections_open, memory_order_relaxed);
        in += atomic_load_explicit(&s->bytes_in, memory_order_relaxed);
        out += atomic_load_explicit(&s->bytes_out, memory_order_relaxed);
    }
    jw_key(w, "http");
    jw_object(w);
    jw_kv_u64(w, "connections_open", open);
    jw_kv_u64(w, "requests", requests);
    jw_kv_u64(w, "bad_requests", bad);
    jw_kv_u64(w, "bytes_in", in);
    jw_kv_u64(w, "bytes_out", out);
    jw_object_end(w);
}

/* One process of the master's list, with what it costs right now. w NULL: for edge_usage.h only. */
static void write_process(struct json_writer *w, struct json_reader *r)
{
    struct str key, raw;
    struct proc_usage usage = {0};
    int64_t pid = 0;
    if (w)
        jw_object(w);
    json_object(r);
    while (json_key(r, &key) && json_skip(r, &raw)) {
        if (w) {
            jw_key_str(w, key);
            jw_raw(w, raw);
        }
        if (str_eq_c(key, "pid") && !str_to_i64(raw, &pid))
            pid = 0;
    }
    if (pid > 0)
        (void)proc_usage_read((int)pid, &usage);
    if (w) {
        jw_kv_u64(w, "rss_bytes", usage.rss_bytes);
        jw_kv_u64(w, "cpu_ms", usage.cpu_ms);
        jw_object_end(w);
    } else if (usage.rss_bytes > 0) {
        edge_usage_add((int)pid, usage.rss_bytes);
    }
}

static void write_processes(struct json_writer *w, struct json_reader *r)
{
    if (w)
        jw_array(w);
    json_array(r);
    while (json_item(r))
        write_process(w, r);
    if (w)
        jw_array_end(w);
}

/* The master's status file, with the padding that the JSON reader needs; false when there is none. buf_done the copy. */
static bool read_master_status(const struct edge *e, struct arena *a, struct buf *copy)
{
    char path[600];
    struct err err;
    struct str text;
    (void)snprintf(path, sizeof path, "%s/run/status.json", e->data);
    buf_init(copy, STATUS_BYTES_MAX + BUF_PAD);
    if (file_read(path, STATUS_BYTES_MAX, a, &text, &err))
        return false;
    buf_str(copy, text);
    buf_pad(copy);
    return true;
}

uint64_t edge_measure_memory(struct edge *e)
{
    struct arena a;
    struct buf copy;
    struct json_reader r;
    struct str key;
    edge_usage_begin();
    arena_init(&a, 1 << 14, 2 * STATUS_BYTES_MAX);
    if (read_master_status(e, &a, &copy)) {
        json_init(&r, buf_view(&copy), 32);
        json_object(&r);
        while (json_key(&r, &key)) {
            if (str_eq_c(key, "processes"))
                write_processes(NULL, &r);
            else
                json_skip(&r, NULL);
        }
    }
    buf_done(&copy);
    arena_done(&a);
    edge_usage_end();
    return edge_usage_total();
}

/* What the master wrote to its status file: processes, crash reports, memory, each version's place, and why the last reload was refused. */
static void write_master_part(struct json_writer *w, const struct edge *e, struct arena *a)
{
    static const struct {
        const char *theirs, *ours, *empty;
    } parts[] = {{"crashes", "crashes", "[]"},
                 {"memory", "memory", "{}"},
                 {"models", "versions", "[]"}, /* `models` are those of the edge */
                 {"last_error", "last_error", "\"\""}};
    struct str key, raw, found[ARRAY_LEN(parts)];
    struct json_reader r;
    struct buf copy;
    bool has_processes = false;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        found[i] = str_c(parts[i].empty);
    if (read_master_status(e, a, &copy)) {
        json_init(&r, buf_view(&copy), 32);
        json_object(&r);
        while (json_key(&r, &key)) {
            if (str_eq_c(key, "processes") && !has_processes) {
                jw_key(w, "processes");
                write_processes(w, &r);
                has_processes = true;
                continue;
            }
            size_t i = 0;
            while (i < ARRAY_LEN(parts) && !str_eq_c(key, parts[i].theirs))
                i++;
            if (json_skip(&r, &raw) && i < ARRAY_LEN(parts))
                found[i] = arena_str_dup(a, raw);
        }
    }
    buf_done(&copy);
    if (!has_processes) {
        jw_key(w, "processes");
        jw_raw(w, STR("[]"));
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        jw_key(w, parts[i].ours);
        jw_raw(w, found[i]);
    }
}

static void get_status(struct http_req *req, const struct route_match *match, void *arg)
{
    struct edge_thread *t = arg;
    struct edge *e = t->edge;
    struct buf out;
    struct json_writer w;
    struct arena a;
    (void)match;
    buf_init(&out, STATUS_BYTES_MAX);
    arena_init(&a, 1 << 16, 2 * STATUS_BYTES_MAX);
    jw_init(&w, &out);
    jw_object(&w);
    jw_kv_c(&w, "version", QUERN_VERSION);
    jw_kv_u64(&w, "started_at_ms", e->started_at_ms);
    jw_kv_u64(&w, "now_ms", clock_wall_ms());
    jw_kv_bool(&w, "ready", serve_all_settled(t->serve) && !atomic_load(&e->draining));
    jw_kv_bool(&w, "draining", atomic_load(&e->draining));
    jw_key(&w, "listen");
    jw_raw(&w, e->listen_json);
    jw_kv_u64(&w, "memory_total_bytes", edge_usage_total());
    write_http(&w, e);
    write_master_part(&w, e, &a);
    jw_key(&w, "models");
    jw_array(&w);
    pthread_mutex_lock(&e->models_lock);
    for (size_t i = 0; i < e->models_len; i++)
        edge_write_model(&w, e, &e->models[i]);
    pthread_mutex_unlock(&e->models_lock);
    jw_array_end(&w);
    jw_object_end(&w);
    http_respond_json(req, 200, buf_view(&out));
    buf_done(&out);
    arena_done(&a);
}

static void get_history(struct http_req *req, const struct route_match *match, void *arg)
{
    struct edge_thread *t = arg;
    struct buf out;
    struct json_writer w;
    (void)match;
    buf_init(&out, 64u << 20);
    jw_init(&w, &out);
    history_write(t->edge->history, &w);
    http_respond_json(req, 200, buf_view(&out));
    buf_done(&out);
}

static void get_metrics(struct http_req *req, const struct route_match *match, void *arg)
{
    struct edge_thread *t = arg;
    struct buf out;
    (void)match;
    buf_init(&out, 64u << 20);
    edge_metrics_write(t->edge, &out);
    struct str body = buf_view(&out);
    http_respond(req, 200, STR("text/plain; version=0.0.4; charset=utf-8"), NULL, 0, &body, 1);
    buf_done(&out);
}

/* ---- reload ---- */

static void post_reload(struct http_req *req, const struct route_match *match, void *arg)
{
    struct edge_thread *t = arg;
    (void)match;
    if (proto_refuse_foreign(req))
        return;
    if (t->reloading) {
        struct err err;
        err_set(&err, ERR_BUSY, "a reload is in progress");
        err_remedy(&err, "try again when it has ended");
        http_respond_err(req, &err);
        return;
    }
    char text[40];
    t->reloading = req; /* answered whatever becomes of the client */
    t->reload_id = ++t->load_seq << 8 | (uint64_t)t->index;
    (void)snprintf(text, sizeof text, "{\"id\":%llu}", (unsigned long long)t->reload_id);
    edge_tell(t->edge, CHANNEL_RELOAD, str_c(text));
}

void edge_answer_reload(struct edge_thread *t, const struct edge_news *n)
{
    struct http_req *req = t->reloading;
    if (!req || n->id != t->reload_id)
        return; /* another's: what it began with may be older than what this one asks for */
    t->reloading = NULL;
    if (n->flag) {
        http_respond_json(req, 200, STR("{\"reloaded\":true}"));
        return;
    }
    struct err err;
    err_set(&err, ERR_INVALID, "reload refused, the old configuration goes on: %.300s", n->reason);
    err_remedy(&err, "correct the configuration (quern check FILE shows all of it) and reload again");
    http_respond_err(req, &err);
}

/* The master's answer, to the thread that asked. */
void edge_on_reloaded(struct edge *e, struct str payload)
{
    struct edge_news news = {.kind = EDGE_NEWS_RELOADED};
    struct json_reader r;
    struct str key, text = STR("");
    struct arena a;
    arena_init(&a, 1024, 1 << 16);
    json_init(&r, payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "id"))
            json_u64(&r, &news.id);
        else if (str_eq_c(key, "ok"))
            json_bool(&r, &news.flag);
        else if (str_eq_c(key, "text"))
            json_string(&r, &a, &text);
        else
            json_skip(&r, NULL);
    }
    (void)str_copy(news.reason, sizeof news.reason, text);
    arena_done(&a);
    edge_broadcast(e, &news);
}

/* ---- dashboard ---- */

static bool has_tag(struct str list, struct str etag)
{
    return str_eq_c(list, "*") || str_contains(list, etag);
}

static void send_asset(struct http_req *req, const struct asset *a)
{
    struct http_header extra[6] = {{STR("etag"), a->etag},
                                   {STR("cache-control"), STR("no-cache")},
                                   {STR("content-security-policy"), STR(ASSET_CSP)},
                                   {STR("x-content-type-options"), STR("nosniff")},
                                   {STR("vary"), STR("accept-encoding")},
                                   {STR("content-encoding"), STR("gzip")}};
    struct str seen = http_header_get(req, "if-none-match");
    bool is_fresh = seen.p && has_tag(seen, a->etag);
    bool is_packed = !is_fresh && a->gzip.n > 0 && http_accepts_gzip(req);
    http_respond(req, is_fresh ? 304 : 200, a->type, extra, is_packed ? 6 : 5, is_packed ? &a->gzip : &a->data,
                 is_fresh ? 0 : 1);
}

static void take_base_path(const struct edge *e, struct http_req *req)
{
    struct str base = e->base_path, path = req->path;
    if (base.n == 0 || !str_starts(path, base) || (path.n > base.n && path.p[base.n] != '/'))
        return;
    req->path = path.n > base.n ? str_sub(path, base.n, path.n) : STR("/");
}

void edge_handle(struct http_req *req, void *arg)
{
    struct edge_thread *t = arg;
    take_base_path(t->edge, req);
    if (req->method == HTTP_GET_ || req->method == HTTP_HEAD_) {
        const struct asset *a = req->path.n < 64 ? asset_find(req->path) : NULL;
        if (a) {
            send_asset(req, a);
            return;
        }
    }
    serve_set_caller(t->serve, req);
    router_dispatch(t->router, req);
    serve_set_caller(t->serve, NULL);
}

static const struct route api_routes[] = {
    {HTTP_GET_, "/api/status", get_status, "Models, processes and crash reports as JSON"},
    {HTTP_GET_, "/api/history", get_history, "Requests and latency of the last 15 minutes, a value a second"},
    {HTTP_GET_, "/api/models/{model}", edge_get_model,
     "A model's settings: their values, where they come from, and why"},
    {HTTP_GET_, "/api/record", edge_get_record, "Requests and answers of a model as they come, for quern record"},
    {HTTP_POST_, "/api/reload", post_reload, "Reads the configuration again, as SIGHUP does"},
    {HTTP_POST_, "/v2/repository/models/{model}/load", edge_post_load, "Loads a model, in repository mode explicit"},
    {HTTP_POST_, "/v2/repository/models/{model}/unload", edge_post_unload, "Unloads a model"},
    {HTTP_POST_, "/api/models/{model}/rollback", edge_post_rollback, "Back to the version before, which is kept warm"},
    {HTTP_POST_, "/api/models/{model}/promote", edge_post_promote, "Takes the canary at once"},
    {HTTP_GET_, "/metrics", get_metrics, "Prometheus metrics"},
};

const struct route *edge_api_routes(size_t *len)
{
    *len = ARRAY_LEN(api_routes);
    return api_routes;
}
