/* GET /api/models/NAME: all that is known of a model, and where it comes from: settings as the master read them, what was chosen instead of what is
 * left open, what was measured, and what runs have taught since. */
#include <stdio.h>
#include <string.h>

#include "app/edge_int.h"
#include "base/clock.h"
#include "serve/stats.h"

#define EXPLAIN_BYTES_MAX ((size_t)16 << 20)

/* ---- what was chosen ---- */

static void put_chosen(struct json_writer *w, const char *key, const char *value, const char *reason)
{
    jw_object(w);
    jw_kv_c(w, "key", key);
    jw_kv_c(w, "value", value);
    jw_kv_c(w, "reason", reason);
    jw_object_end(w);
}

static void put_number(struct json_writer *w, const char *key, uint64_t value, const char *reason)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    put_chosen(w, key, text, reason);
}

/* What the master told of instances and threads: {"instances", "threads", "state", "kept", "reason", ...}. */
static void put_scale(struct json_writer *w, const char *scale)
{
    struct json_reader r;
    struct arena a;
    struct buf text;
    struct str key, why = STR(""), state = STR("");
    uint64_t instances = 0, threads = 0;
    bool is_kept = false;
    char reason[400];
    buf_init(&text, 1 << 16);
    buf_c(&text, scale);
    buf_pad(&text);
    arena_init(&a, 4096, 1 << 16);
    json_init(&r, buf_view(&text), 6);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "instances"))
            json_u64(&r, &instances);
        else if (str_eq_c(key, "threads"))
            json_u64(&r, &threads);
        else if (str_eq_c(key, "kept"))
            json_bool(&r, &is_kept);
        else if (str_eq_c(key, "reason"))
            json_string(&r, &a, &why);
        else if (str_eq_c(key, "state"))
            json_string(&r, &a, &state);
        else
            json_skip(&r, NULL);
    }
    (void)snprintf(reason, sizeof reason, "%.*s; %.*s%s", STR_F(state), STR_F(why),
                   is_kept ? "; kept from an earlier trial" : "");
    if (json_end(&r) == ERR_OK && instances > 0) {
        put_number(w, "instances", instances, reason);
        put_number(w, "threads", threads, reason);
    }
    arena_done(&a);
    buf_done(&text);
}

static void put_all_chosen(struct json_writer *w, const struct edge *e, const struct edge_model *m)
{
    const struct model_shared *sh = m->shared;
    const struct model_desc *d = sh->desc;
    char reason[200];
    jw_key(w, "chosen");
    jw_array(w);
    if (d) {
        put_number(w, "max_batch", d->max_batch, d->batch_reason);
        (void)snprintf(reason, sizeof reason, "platform %s%s%s", d->platform, d->producer[0] ? "; written by " : "",
                       d->producer);
        put_chosen(w, "backend", d->backend, reason);
    }
    if (m->scale && !sh->is_inline)
        put_scale(w, m->scale);
    if (sh->is_inline && !sh->ensemble)
        put_number(w, "instances", (uint64_t)e->threads_len, "inline: one for each thread that serves connections");
    jw_array_end(w);
}

/* ---- what runs have taught ---- */

static void put_instances(struct json_writer *w, const struct edge_model *m)
{
    const struct segment_shm *shm = m->shared->map.shm;
    jw_key(w, "workers");
    jw_array(w);
    for (int i = 0; shm && i < m->instances && i < LANE_INSTANCES_MAX; i++) {
        const struct instance_shm *x = &shm->instances[i];
        jw_object(w);
        jw_kv_i64(w, "instance", i);
        jw_kv_u64(w, "runs", atomic_load_explicit(&x->runs, memory_order_relaxed));
        jw_kv_u64(w, "rows", atomic_load_explicit(&x->rows, memory_order_relaxed));
        jw_kv_f64(w, "busy_ms", (double)atomic_load_explicit(&x->busy_ns, memory_order_relaxed) / 1e6);
        jw_kv_u64(w, "failures", atomic_load_explicit(&x->failures, memory_order_relaxed));
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void put_sizes(struct json_writer *w, const struct stats_sum *s)
{
    jw_key(w, "run_sizes");
    jw_array(w);
    for (int i = 0; i < STATS_SIZES && s->size[i].rows != 0; i++) {
        jw_object(w);
        jw_kv_u64(w, "rows", s->size[i].rows);
        jw_kv_u64(w, "runs", s->size[i].runs);
        jw_kv_f64(w, "mean_us", s->size[i].runs ? (double)s->size[i].ns / 1e3 / (double)s->size[i].runs : 0);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void put_cache(struct json_writer *w, const struct model_shared *sh, const struct stats_sum *s)
{
    struct cache_look look;
    if (!sh->cache)
        return;
    cache_look(sh->cache, &look);
    jw_key(w, "cache");
    jw_object(w);
    jw_kv_u64(w, "bytes", look.bytes);
    jw_kv_u64(w, "budget_bytes", look.budget_bytes);
    jw_kv_u64(w, "entries", look.entries);
    jw_kv_u64(w, "evictions", look.evictions);
    jw_kv_u64(w, "checks", look.checks);
    jw_kv_u64(w, "differed", look.differed);
    jw_kv_u64(w, "hits", s->count[STATS_HIT]);
    jw_kv_u64(w, "misses", s->count[STATS_MISS]);
    jw_object_end(w);
}

static void put_failures(struct json_writer *w, const struct stats_sum *s)
{
    static const char *const names[STATS_FAILURES] = {"refused", "cancelled", "backend", "other"};
    jw_key(w, "failures_by_reason");
    jw_object(w);
    for (int i = 0; i < STATS_FAILURES; i++)
        jw_kv_u64(w, names[i], s->failure[i]);
    jw_object_end(w);
}

static void put_model(struct json_writer *w, const struct edge *e, const struct edge_model *m, struct stats_sum *sum)
{
    stats_sum(m->shared, sum);
    jw_object(w);
    jw_key(w, "status");
    edge_write_model(w, e, m);
    jw_key(w, "explain");
    if (m->explain)
        jw_raw(w, str_c(m->explain));
    else
        jw_null(w);
    put_all_chosen(w, e, m);
    jw_kv_c(w, "labels", m->labels);
    jw_kv_u64(w, "ready_at_ms", m->ready_at_ms);
    put_instances(w, m);
    put_sizes(w, sum);
    put_cache(w, m->shared, sum);
    put_failures(w, sum);
    jw_kv_u64(w, "quarantined", atomic_load_explicit(&m->shared->quarantine.len, memory_order_relaxed));
    jw_object_end(w);
}

void edge_get_model(struct http_req *req, const struct route_match *match, void *arg)
{
    struct edge_thread *t = arg;
    struct edge *e = t->edge;
    struct stats_sum *sum = arena_try_alloc(req->arena, sizeof *sum);
    struct buf out;
    struct json_writer w;
    size_t found = 0;
    buf_init(&out, EXPLAIN_BYTES_MAX);
    jw_init(&w, &out);
    jw_object(&w);
    jw_kv_u64(&w, "now_ms", clock_wall_ms());
    jw_key(&w, "models");
    jw_array(&w);
    pthread_mutex_lock(&e->models_lock);
    for (size_t i = 0; sum && i < e->models_len; i++)
        if (str_eq_c(match->captures[0], e->models[i].shared->name)) {
            put_model(&w, e, &e->models[i], sum);
            found++;
        }
    pthread_mutex_unlock(&e->models_lock);
    jw_array_end(&w);
    jw_object_end(&w);
    if (found > 0) {
        http_respond_json(req, 200, buf_view(&out));
    } else {
        struct err err;
        int n = match->captures[0].n < 64 ? (int)match->captures[0].n : 64;
        err_set(&err, ERR_NOT_FOUND, "no model '%.*s' is served", n, match->captures[0].p);
        err_remedy(&err, "GET /api/status names those that are");
        http_respond_err(req, &err);
    }
    buf_done(&out);
}
