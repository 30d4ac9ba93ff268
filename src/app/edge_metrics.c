/* Metrics of the edge: declared once, made per model when the model comes, counted when an answer has left. */
#include <stdio.h>
#include <string.h>

#include "app/edge_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "serve/proto.h"
#include "serve/trail.h"
#include "sys/cpu.h"

#define SECONDS_OF_NS 1e-9

static const double latency_bounds[] = {25e-6, 50e-6,  75e-6,  100e-6, 150e-6, 250e-6, 400e-6, 600e-6,
                                        1e-3,  1.5e-3, 2.5e-3, 4e-3,   6e-3,   10e-3,  15e-3,  25e-3,
                                        40e-3, 60e-3,  100e-3, 250e-3, 500e-3, 1,      2.5,    10};
static const double stage_bounds[] = {1e-6, 2e-6, 5e-6,  10e-6, 20e-6,  50e-6, 100e-6, 250e-6,
                                      1e-3, 4e-3, 16e-3, 64e-3, 250e-3, 1,     4};

static const struct metric_family family_requests = {
    .name = "quern_inference_requests_total", .help = "Inference requests by outcome.", .kind = METRIC_COUNTER};
static const struct metric_family family_rows = {.name = "quern_inference_rows_total",
                                                 .help = "Rows that ran, those of void or abandoned requests included.",
                                                 .kind = METRIC_COUNTER};
static const struct metric_family family_runs = {.name = "quern_inference_runs_total",
                                                 .help = "Runs of a model; rows divided by runs is the mean batch.",
                                                 .kind = METRIC_COUNTER};
static const struct metric_family family_stage = {
    .name = "quern_inference_stage_seconds",
    .help = "Time of a request in each stage: receive, decode, queue, compute, encode, send.",
    .kind = METRIC_HISTOGRAM,
    .bounds = stage_bounds,
    .bounds_len = ARRAY_LEN(stage_bounds),
    .scale = SECONDS_OF_NS};
static const struct metric_family family_duration = {
    .name = "quern_inference_duration_seconds",
    .help = "Time from a request's first byte to the last byte of its answer.",
    .kind = METRIC_HISTOGRAM,
    .bounds = latency_bounds,
    .bounds_len = ARRAY_LEN(latency_bounds),
    .scale = SECONDS_OF_NS};
static const struct metric_family family_queue = {
    .name = "quern_model_waiting_requests", .help = "Requests that wait for a free batch block.", .kind = METRIC_GAUGE};
static const struct metric_family family_in_flight = {.name = "quern_model_in_flight_requests",
                                                      .help = "Requests in batches that are filling or running.",
                                                      .kind = METRIC_GAUGE};
static const struct metric_family family_ready = {
    .name = "quern_model_ready", .help = "1 when the model serves.", .kind = METRIC_GAUGE};
static const struct metric_family family_instances = {
    .name = "quern_model_instances_ready", .help = "Instances of the model that are ready.", .kind = METRIC_GAUGE};
static const struct metric_family family_memory = {
    .name = "quern_model_memory_bytes", .help = "Private memory of one instance after loading.", .kind = METRIC_GAUGE};
static const struct metric_family family_need = {
    .name = "quern_model_need_bytes",
    .help = "Memory of all workers of the model when it is loaded, private and shared, as measured.",
    .kind = METRIC_GAUGE};
static const struct metric_family family_held = {
    .name = "quern_model_held_bytes",
    .help = "The same while it is loaded, else 0: together they are what counts against memory_budget.",
    .kind = METRIC_GAUGE};
static const struct metric_family family_load = {
    .name = "quern_model_load_seconds", .help = "How long it took to load the model.", .kind = METRIC_GAUGE};
static const struct metric_family family_loads = {
    .name = "quern_model_loads_total", .help = "How often the model was loaded on demand.", .kind = METRIC_COUNTER};
static const struct metric_family family_unloads = {
    .name = "quern_model_unloads_total", .help = "How often it was unloaded.", .kind = METRIC_COUNTER};
static const struct metric_family family_parked = {.name = "quern_model_load_waiting_requests",
                                                   .help = "Requests that wait until the model is loaded.",
                                                   .kind = METRIC_GAUGE};
static const struct metric_family family_budget = {
    .name = "quern_memory_budget_bytes", .help = "Setting memory_budget; 0: none.", .kind = METRIC_GAUGE};
static const struct metric_family family_http_requests = {
    .name = "quern_http_requests_total", .help = "HTTP requests answered.", .kind = METRIC_COUNTER};
static const struct metric_family family_http_bad = {.name = "quern_http_malformed_requests_total",
                                                     .help = "Requests refused by the HTTP parser or its limits.",
                                                     .kind = METRIC_COUNTER};
static const struct metric_family family_http_timeouts = {.name = "quern_http_timeouts_total",
                                                          .help = "Connections closed because the peer was too slow.",
                                                          .kind = METRIC_COUNTER};
static const struct metric_family family_http_open = {
    .name = "quern_http_connections", .help = "Open client connections.", .kind = METRIC_GAUGE};
static const struct metric_family family_bytes_in = {
    .name = "quern_http_received_bytes_total", .help = "Bytes read from clients.", .kind = METRIC_COUNTER};
static const struct metric_family family_bytes_out = {
    .name = "quern_http_sent_bytes_total", .help = "Bytes written to clients.", .kind = METRIC_COUNTER};
static const struct metric_family family_up = {
    .name = "quern_start_time_seconds", .help = "When the master started, seconds since 1970.", .kind = METRIC_GAUGE};
static const struct metric_family family_rss = {
    .name = "quern_edge_resident_bytes", .help = "Resident memory of the edge process.", .kind = METRIC_GAUGE};
static const struct metric_family family_build = {
    .name = "quern_build_info", .help = "Always 1; the version is in the label.", .kind = METRIC_GAUGE};

static const char *const outcome_names[OUTCOME_MAX_] = {"ok",      "client_error", "rejected",
                                                        "timeout", "cancelled",    "failed"};
static const char *const stage_names[6] = {"receive", "decode", "queue", "compute", "encode", "send"};

/* As struct http_req has it in log_series. */
void edge_series_key(const struct model_shared *m, char out[EDGE_SERIES_MAX])
{
    (void)snprintf(out, EDGE_SERIES_MAX, "%s/%s", m->name, m->version);
}

void edge_metrics_model(struct edge *e, struct model_shared *m)
{
    const char *const model[] = {"model", m->name, "version", m->version, NULL};
    for (int o = 0; o < OUTCOME_MAX_; o++) {
        const char *const labels[] = {"model", m->name, "version", m->version, "outcome", outcome_names[o], NULL};
        m->outcome[o] = metric_get(e->metrics, &family_requests, labels);
    }
    for (int s = 0; s < 6; s++) {
        const char *const labels[] = {"model", m->name, "version", m->version, "stage", stage_names[s], NULL};
        m->stage[s] = metric_get(e->metrics, &family_stage, labels);
    }
    m->rows = metric_get(e->metrics, &family_rows, model);
    m->runs = metric_get(e->metrics, &family_runs, model);
    m->duration = metric_get(e->metrics, &family_duration, model);
}

static void access_line(const struct http_req *req, int status, uint64_t bytes_out, uint64_t took_ns)
{
    static const char *const methods[] = {"?", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    LOG_INFO("request", LOG_S("id", req->id), LOG_S("trace", req->trace), LOG_S("method", methods[req->method]),
             LOG_STR("path", req->path), LOG_I("status", status), LOG_U("bytes_in", req->body.n),
             LOG_U("bytes_out", bytes_out), LOG_U("us", took_ns / NS_PER_US), LOG_STR("model", req->log_model));
}

void edge_metrics_done(const struct http_req *req, int status, uint64_t bytes_out, void *arg)
{
    struct edge_thread *t = arg;
    if (req->trace_record)
        proto_trace_sent(req);
    if (req->trail != 0)
        trail_sent(req->trail, req->stage_ns[STAGE_SEND]);
    bool is_logged = t->edge->access_log && log_enabled(LOG_LEVEL_INFO);
    if (req->log_model.n == 0 && !is_logged)
        return;
    uint64_t took_ns = clock_now_ns() - req->t_start_ns;
    const struct model_shared *m = req->log_series.n ? map_get(&t->series, req->log_series) : NULL;
    if (m && status == 200) {
        metric_observe(m->duration, t->index, took_ns);
        for (int s = 0; s < 6; s++)
            metric_observe(m->stage[s], t->index, req->stage_ns[s]);
    }
    if (is_logged)
        access_line(req, status, bytes_out, took_ns);
}

static void gauge(struct edge *e, const struct metric_family *f, const char *const *labels, double v)
{
    metric_set_value(metric_get(e->metrics, f, labels), v);
}

/* Counted elsewhere; a scrape brings the series up to it. */
static void count_to(struct edge *e, const struct metric_family *f, const char *const *labels, uint64_t value)
{
    struct metric *m = metric_get(e->metrics, f, labels);
    uint64_t have = metric_value(m);
    if (value > have)
        metric_add(m, 0, value - have);
}

static void model_gauges(struct edge *e, const struct edge_model *m)
{
    const struct model_shared *sh = m->shared;
    const char *const labels[] = {"model", sh->name, "version", sh->version, NULL};
    uint64_t queued = 0, in_flight = 0;
    for (int i = 0; i < e->threads_len; i++) {
        queued += atomic_load_explicit(&sh->load[i].queued, memory_order_relaxed);
        in_flight += atomic_load_explicit(&sh->load[i].in_flight, memory_order_relaxed);
    }
    gauge(e, &family_queue, labels, (double)queued);
    gauge(e, &family_in_flight, labels, (double)in_flight);
    gauge(e, &family_ready, labels, m->state == SERVED_READY);
    gauge(e, &family_instances, labels, m->instances_ready);
    gauge(e, &family_memory, labels, sh->desc ? (double)sh->desc->memory_bytes : 0);
    gauge(e, &family_need, labels, (double)m->memory.need_bytes);
    gauge(e, &family_held, labels, m->memory.is_loaded ? (double)m->memory.need_bytes : 0);
    gauge(e, &family_load, labels, (double)m->memory.load_ns / 1e9);
    if (!m->is_on_demand)
        return;
    gauge(e, &family_parked, labels, atomic_load_explicit(&sh->parked, memory_order_relaxed));
    count_to(e, &family_loads, labels, m->loads);
    count_to(e, &family_unloads, labels, m->unloads);
}

static void counter_to(struct edge *e, const struct metric_family *f, uint64_t value)
{
    static const char *const none[] = {NULL};
    count_to(e, f, none, value);
}

static void http_series(struct edge *e)
{
    static const char *const none[] = {NULL};
    uint64_t requests = 0, bad = 0, timeouts = 0, open = 0, in = 0, out = 0;
    for (int i = 0; i < e->threads_len; i++) {
        const struct server_stats *s = server_stats(e->threads[i].server);
        requests += atomic_load_explicit(&s->requests, memory_order_relaxed);
        bad += atomic_load_explicit(&s->bad_requests, memory_order_relaxed);
        timeouts += atomic_load_explicit(&s->timeouts, memory_order_relaxed);
        open += atomic_load_explicit(&s->connections_open, memory_order_relaxed);
        in += atomic_load_explicit(&s->bytes_in, memory_order_relaxed);
        out += atomic_load_explicit(&s->bytes_out, memory_order_relaxed);
    }
    counter_to(e, &family_http_requests, requests);
    counter_to(e, &family_http_bad, bad);
    counter_to(e, &family_http_timeouts, timeouts);
    counter_to(e, &family_bytes_in, in);
    counter_to(e, &family_bytes_out, out);
    gauge(e, &family_http_open, none, (double)open);
}

void edge_metrics_write(struct edge *e, struct buf *out)
{
    static const char *const none[] = {NULL};
    static const char *const build[] = {"version", QUERN_VERSION, NULL};
    struct proc_usage usage;
    pthread_mutex_lock(&e->models_lock); /* also keeps two scrapes from raising a counter twice */
    for (size_t i = 0; i < e->models_len; i++)
        model_gauges(e, &e->models[i]);
    http_series(e);
    gauge(e, &family_up, none, (double)e->started_at_ms / 1e3);
    gauge(e, &family_build, build, 1);
    gauge(e, &family_budget, none, (double)e->memory_budget);
    if (proc_usage_read(0, &usage))
        gauge(e, &family_rss, none, (double)usage.rss_bytes);
    metric_write(e->metrics, out);
    pthread_mutex_unlock(&e->models_lock);
}
