/* What the master tells the edge and the workers, as JSON: what they need to start, and the news of a model. */
#include <libgen.h>
#include <stdio.h>
#include <string.h>

#include "app/log_share.h"
#include "app/master_int.h"
#include "base/json.h"
#include "cli/config_explain.h"
#include "cli/config_queue.h"
#include "model/backend.h"
#include "sys/fd.h"

static const char *backend_of(const struct model_config *c)
{
    if (c->backend)
        return c->backend;
    const struct backend *b = c->path ? backend_by_path(str_c(c->path)) : NULL;
    return b ? b->name : ""; /* config_check has refused such */
}

/* Folder of the model's file: external data may lie in it. */
static void write_root(const struct model_config *c, struct json_writer *w)
{
    char path[4096];
    if (!c->path)
        return;
    (void)str_copy(path, sizeof path, str_c(c->path));
    jw_kv_c(w, "root", dirname(path));
}

static void write_parameters(const struct model_config *c, struct json_writer *w)
{
    const struct setting_text_pair *p = c->parameters.items;
    jw_key(w, "parameters");
    jw_object(w);
    for (size_t i = 0; i < c->parameters.len; i++)
        jw_kv_c(w, p[i].name, p[i].value);
    jw_object_end(w);
}

/* For who loads the model. */
static void write_declared(const struct model_config *c, struct json_writer *w)
{
    if (!c->declared)
        return;
    jw_key(w, "declared");
    jw_raw(w, str_c(c->declared));
}

static void write_model_common(const struct model_config *c, int64_t threads, struct json_writer *w)
{
    jw_kv_c(w, "version", c->version);
    if (c->path)
        jw_kv_c(w, "path", c->path);
    write_root(c, w);
    jw_kv_c(w, "backend", backend_of(c));
    jw_kv_i64(w, "threads", threads);
    jw_kv_i64(w, "max_batch", config_max_batch(c));
    write_parameters(c, w);
    master_write_warm_up(c, w);
}

/* The model's own folder for what makes its loading faster; without it loading is slower, that is all. */
static void write_scratch(const struct master *m, const struct model_config *c, struct json_writer *w)
{
    char path[4200];
    struct err err;
    (void)snprintf(path, sizeof path, "%s/cache/%s", m->snapshot->config.data, c->name);
    if (c->path && dir_make(path, 0700, &err) == ERR_OK)
        jw_kv_c(w, "scratch", path);
}

void master_worker_launch(const struct master *m, const struct child *c, struct buf *out)
{
    struct json_writer w;
    jw_init(&w, out);
    jw_object(&w);
    jw_kv_c(&w, "model", c->life->config->name);
    write_model_common(c->life->config, c->threads, &w);
    write_declared(c->life->config, &w);
    scale_write_trial(m, c, &w);
    write_scratch(m, c->life->config, &w);
    jw_kv_i64(&w, "index", c->index);
    jw_kv_i64(&w, "edge_threads", m->threads);
    jw_kv_bool(&w, "spin", m->cores > m->threads + 1);
    jw_key(&w, "log");
    log_share_write(&w);
    jw_object_end(&w);
}

/* Requests are better refused than kept until their time is over. */
const char *life_trouble(const struct life *l)
{
    const char *why = NULL;
    for (int i = 0; i < l->children_len; i++) {
        if (l->children[i].state == CHILD_READY)
            return NULL;
        if (l->children[i].is_in_trouble)
            why = l->children[i].reason;
    }
    return why;
}

static const char *state_name(const struct life *l)
{
    return l->state == LIFE_READY    ? life_trouble(l) ? "loading" : "ready"
           : l->state == LIFE_FAILED ? "failed"
           : l->state == LIFE_ASLEEP ? "unloaded"
                                     : "loading";
}

static int ready_count(const struct life *l)
{
    int n = 0;
    for (int i = 0; i < l->children_len; i++)
        n += l->children[i].state == CHILD_READY;
    return n;
}

static void write_sizes(const char *key, const struct setting_list *list, struct json_writer *w)
{
    uint32_t v[BATCHING_SIZES_MAX];
    size_t n = config_sizes(list, v);
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; i < n; i++)
        jw_u64(w, v[i]);
    jw_array_end(w);
}

static void write_batching(const struct batching_config *b, struct json_writer *w)
{
    jw_kv_u64(w, "delay_ns", b->delay_ns);
    write_sizes("preferred", &b->preferred, w);
    write_sizes("sizes", &b->sizes, w);
    jw_kv_bool(w, "ordered", b->is_ordered);
}

static void write_queue(uint32_t priority, int64_t max, uint64_t wait_ns, int late, struct json_writer *w)
{
    jw_object(w);
    jw_kv_u64(w, "priority", priority);
    jw_kv_i64(w, "max", max);
    jw_kv_u64(w, "wait_ns", wait_ns);
    jw_kv_bool(w, "delay", late == QUEUE_DELAY);
    jw_object_end(w);
}

/* How long, and how many of a priority may wait. First, as priority 0, of all that have no line of their own. */
static void write_queues(const struct model_config *c, struct json_writer *w)
{
    const struct priority_config *p = c->priorities.items;
    jw_key(w, "queues");
    jw_array(w);
    write_queue(0, 0, c->queue_timeout_ns, c->queue_late, w);
    for (size_t i = 0; i < c->priorities.len; i++)
        write_queue(config_priority(&p[i]), p[i].queue_max, p[i].queue_timeout_ns, p[i].queue_late, w);
    jw_array_end(w);
}

/* Labels of this version, with commas between. */
static void write_labels(const struct model_config *c, struct json_writer *w)
{
    const struct setting_pair *p = c->labels.items;
    char text[200], version[24];
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < c->labels.len && at < sizeof text; i++) {
        (void)snprintf(version, sizeof version, "%lld", (long long)p[i].value);
        if (strcmp(version, c->version) == 0)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", at ? "," : "", p[i].name);
    }
    jw_kv_c(w, "labels", text);
}

/* Where the settings come from; not at all when it would be too much for one message. */
static void write_explain(const struct life *l, struct json_writer *w)
{
    struct buf text;
    struct json_writer t;
    buf_init(&text, CHANNEL_PAYLOAD_MAX / 2);
    jw_init(&t, &text);
    config_explain(&l->snapshot->config, l->config, &t);
    if (!text.failed) {
        jw_key(w, "explain");
        jw_raw(w, buf_view(&text));
    }
    buf_done(&text);
}

/* How much the edge is told; what is left out it can do without. */
enum detail { DETAIL_ALL, DETAIL_SETTINGS, DETAIL_NAME, DETAILS };

static void write_model(const struct master *m, const struct life *l, enum detail detail, struct buf *out)
{
    struct json_writer w;
    jw_init(&w, out);
    jw_object(&w);
    jw_kv_u64(&w, "segment", l->segment);
    jw_kv_c(&w, "name", l->config->name);
    if (detail < DETAIL_NAME)
        write_model_common(l->config, l->scaling.threads > 0 ? l->scaling.threads : 1, &w);
    else
        jw_kv_c(&w, "version", l->config->version);
    scale_write(l, &w);
    jw_kv_c(&w, "class", l->config->class_name ? l->config->class_name : "");
    jw_kv_bool(&w, "inline", l->config->isolation == ISOLATION_INLINE);
    if (l->config->isolation == ISOLATION_INLINE)
        write_declared(l->config, &w);
    if (l->config->labels_file)
        jw_kv_c(&w, "labels_file", l->config->labels_file);
    jw_kv_c(&w, "state", state_name(l));
    const char *trouble = l->state == LIFE_READY ? life_trouble(l) : NULL;
    jw_kv_c(&w, "reason", trouble ? trouble : l->reason);
    jw_kv_i64(&w, "instances", l->children_len > 0 ? l->scaling.instances : 0);
    jw_kv_i64(&w, "instances_ready", ready_count(l));
    jw_kv_u64(&w, "timeout_ns", l->config->timeout_ns);
    jw_kv_i64(&w, "queue_max", l->config->queue_max);
    write_queues(l->config, &w);
    jw_kv_u64(&w, "cache_bytes", l->config->cache_bytes);
    jw_kv_i64(&w, "priority", l->config->priority);
    write_batching(&l->config->batching, &w);
    master_write_ensemble(&l->config->ensemble, &w);
    write_labels(l->config, &w);
    canary_payload(l, &w);
    compare_payload(m, l, &w);
    budget_write_life(l, &w);
    if (detail == DETAIL_ALL)
        write_explain(l, &w);
    jw_kv_bool(&w, "announce", m->options->is_serve && !l->announced);
    jw_object_end(&w);
}

void master_model_news(const struct master *m, const struct life *l, struct buf *out)
{
    for (enum detail d = DETAIL_ALL; d < DETAILS; d++) { /* into one message */
        buf_init(out, CHANNEL_PAYLOAD_MAX);
        write_model(m, l, d, out);
        if (!out->failed || d == DETAILS - 1)
            break;
        buf_done(out);
    }
}

static void write_limits(const struct http_config *h, struct json_writer *w)
{
    jw_key(w, "limits");
    jw_object(w);
    jw_kv_u64(w, "body_bytes_max", h->body_bytes_max);
    jw_kv_u64(w, "head_bytes_max", h->head_bytes_max);
    jw_kv_i64(w, "headers_max", h->headers_max);
    jw_kv_i64(w, "connections_max", h->connections_max);
    jw_kv_i64(w, "pipeline_max", h->pipeline_max);
    jw_kv_u64(w, "head_timeout_ns", h->head_timeout_ns);
    jw_kv_u64(w, "body_timeout_ns", h->body_timeout_ns);
    jw_kv_u64(w, "idle_timeout_ns", h->idle_timeout_ns);
    jw_kv_u64(w, "send_timeout_ns", h->send_timeout_ns);
    jw_object_end(w);
}

static size_t lives_wanted(const struct master *m)
{
    size_t n = 0;
    for (const struct life *l = m->lives; l; l = l->next)
        n += l->state < LIFE_KEPT && !l->replaces && !ensemble_waits(m, l);
    return n;
}

void master_edge_launch(const struct master *m, struct buf *out)
{
    const struct config *c = &m->snapshot->config;
    struct json_writer w;
    jw_init(&w, out);
    jw_object(&w);
    jw_kv_i64(&w, "threads", m->threads);
    jw_kv_c(&w, "data", c->data);
    jw_kv_c(&w, "address", m->addresses[0]);
    jw_key(&w, "listen");
    jw_array(&w);
    for (size_t i = 0; i < m->addresses_len; i++)
        jw_c(&w, m->addresses[i]);
    jw_array_end(&w);
    jw_kv_bool(&w, "is_serve", m->options->is_serve);
    jw_kv_u64(&w, "started_at_ms", m->started_at_ms);
    jw_kv_u64(&w, "models", lives_wanted(m));
    write_limits(&c->http, &w);
    jw_key(&w, "log");
    log_share_write(&w);
    jw_kv_bool(&w, "access_log", c->log.access);
    jw_kv_bool(&w, "record_over_network", c->record_over_network);
    jw_kv_c(&w, "base_path", c->base_path ? c->base_path : "");
    jw_kv_bool(&w, "allow_client_shm", c->allow_client_shm);
    jw_object_end(&w);
}

/* By what a worker is told. */
struct hash128 life_memory_key(const struct life *l)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    jw_object(&w);
    write_model_common(l->config, l->config->threads, &w);
    jw_kv_i64(&w, "instances", l->config->instances);
    jw_kv_u64(&w, "file_lo", l->file_id.lo);
    jw_kv_u64(&w, "file_hi", l->file_id.hi);
    jw_kv_c(&w, "quern", QUERN_VERSION);
    jw_object_end(&w);
    struct hash128 key = hash128(text.p, text.len, 1);
    buf_done(&text);
    return key;
}
