/* Statistics in Triton's shape, and the same numbers under its metric names. */
#include <string.h>

#include "serve/proto_int.h"
#include "serve/serve.h"
#include "serve/stats.h"

#define METRICS_BYTES_MAX ((size_t)16 << 20)

static void put_pair(struct json_writer *w, const char *key, uint64_t count, uint64_t ns)
{
    jw_key(w, key);
    jw_object(w);
    jw_kv_u64(w, "count", count);
    jw_kv_u64(w, "ns", ns);
    jw_object_end(w);
}

static void put_stages(struct json_writer *w, const struct stats_sum *s)
{
    static const char *const names[STATS_STAGES] = {"success",       "fail",           "queue",     "compute_input",
                                                    "compute_infer", "compute_output", "cache_hit", "cache_miss"};
    jw_key(w, "inference_stats");
    jw_object(w);
    for (int i = 0; i < STATS_STAGES; i++)
        put_pair(w, names[i], s->count[i], s->ns[i]);
    jw_object_end(w);
}

/* What a run takes beside the model's own time is not measured by size: inputs are decoded and outputs encoded row by row. */
static void put_sizes(struct json_writer *w, const struct stats_sum *s)
{
    jw_key(w, "batch_stats");
    jw_array(w);
    for (int i = 0; i < STATS_SIZES && s->size[i].rows != 0; i++) {
        jw_object(w);
        jw_kv_u64(w, "batch_size", s->size[i].rows);
        put_pair(w, "compute_input", s->size[i].runs, 0);
        put_pair(w, "compute_infer", s->size[i].runs, s->size[i].ns);
        put_pair(w, "compute_output", s->size[i].runs, 0);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void put_memory(struct json_writer *w, struct served *m)
{
    const struct served_info *info = served_info(m);
    uint64_t bytes = atomic_load_explicit(&served_shared(m)->memory_bytes, memory_order_relaxed);
    if (bytes == 0 && info->desc && info->state == SERVED_READY)
        bytes = info->desc->memory_bytes; /* inline: nobody measures the process for it alone */
    jw_key(w, "memory_usage");
    jw_array(w);
    if (bytes > 0) {
        jw_object(w);
        jw_kv_c(w, "type", "CPU");
        jw_kv_u64(w, "id", 0);
        jw_kv_u64(w, "byte_size", bytes);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void put_model(struct json_writer *w, struct served *m)
{
    const struct served_info *info = served_info(m);
    struct stats_sum s;
    stats_sum(served_shared(m), &s);
    jw_object(w);
    jw_kv_c(w, "name", info->name);
    jw_kv_c(w, "version", info->version);
    jw_kv_u64(w, "last_inference", s.last_ms);
    jw_kv_u64(w, "inference_count", s.rows);
    jw_kv_u64(w, "execution_count", s.runs);
    put_stages(w, &s);
    jw_key(w, "response_stats");
    jw_object(w);
    jw_object_end(w);
    put_sizes(w, &s);
    put_memory(w, m);
    jw_object_end(w);
}

/* All models; those of one name; or one version. */
void proto_v2_stats(struct http_req *req, const struct route_match *match, void *arg)
{
    struct serve *s = arg;
    struct served *only = NULL;
    struct err err;
    if (match->captures_len > 0 && proto_find(s, match, &only, &err)) {
        only = serve_awaited(s);
        if (!only) {
            http_respond_err(req, &err);
            return;
        }
    }
    struct json_writer w;
    jw_init(&w, proto_scratch(0));
    jw_object(&w);
    jw_key(&w, "model_stats");
    jw_array(&w);
    for (size_t i = 0; i < serve_models_len(s); i++) {
        struct served *m = serve_model_at(s, i);
        bool is_wanted = match->captures_len == 0   ? served_info(m)->desc != NULL
                         : match->captures_len == 1 ? strcmp(served_info(m)->name, served_info(only)->name) == 0
                                                    : m == only;
        if (is_wanted)
            put_model(&w, m);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    http_respond_json(req, 200, buf_view(w.out));
}

/* ---- metrics ---- */

enum source { FROM_COUNT, FROM_US, FROM_ROWS, FROM_RUNS, FROM_FAILURES, FROM_PENDING, FROM_LOAD };

struct nv_family {
    const char *name, *help;
    enum source from;
    enum stats_stage stage;
};

static const struct nv_family families[] = {
    {"nv_inference_request_success", "Number of successful inference requests, all batch sizes", FROM_COUNT,
     STATS_SUCCESS},
    {"nv_inference_request_failure", "Number of failed inference requests, all batch sizes", FROM_FAILURES, STATS_FAIL},
    {"nv_inference_count", "Number of inferences performed", FROM_ROWS, STATS_SUCCESS},
    {"nv_inference_exec_count", "Number of model executions performed", FROM_RUNS, STATS_SUCCESS},
    {"nv_inference_request_duration_us", "Cumulative inference request duration in microseconds", FROM_US,
     STATS_SUCCESS},
    {"nv_inference_queue_duration_us", "Cumulative inference queuing duration in microseconds", FROM_US, STATS_QUEUE},
    {"nv_inference_compute_input_duration_us", "Cumulative compute input duration in microseconds", FROM_US,
     STATS_INPUT},
    {"nv_inference_compute_infer_duration_us", "Cumulative compute inference duration in microseconds", FROM_US,
     STATS_INFER},
    {"nv_inference_compute_output_duration_us", "Cumulative inference compute output duration in microseconds", FROM_US,
     STATS_OUTPUT},
    {"nv_cache_num_hits_per_model", "Number of cache hits per model", FROM_COUNT, STATS_HIT},
    {"nv_cache_num_misses_per_model", "Number of cache misses per model", FROM_COUNT, STATS_MISS},
    {"nv_cache_hit_duration_per_model", "Total cache hit duration per model, in microseconds", FROM_US, STATS_HIT},
    {"nv_cache_miss_duration_per_model", "Total cache miss duration per model, in microseconds", FROM_US, STATS_MISS},
    {"nv_inference_pending_request_count", "Instantaneous number of pending requests awaiting execution per-model.",
     FROM_PENDING, STATS_QUEUE},
    {"nv_model_load_duration_secs", "Model load time in seconds", FROM_LOAD, STATS_SUCCESS},
};

/* A label's value: backslash, quote and newline are escaped. */
static void put_label(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\\' || *p == '"')
            buf_char(out, '\\');
        if (*p == '\n')
            buf_c(out, "\\n");
        else
            buf_char(out, *p);
    }
}

static void put_series(struct buf *out, const char *name, const struct served_info *info, const char *reason)
{
    buf_printf(out, "%s{model=\"", name);
    put_label(out, info->name);
    buf_c(out, "\",version=\"");
    put_label(out, info->version);
    buf_char(out, '"');
    if (reason)
        buf_printf(out, ",reason=\"%s\"", reason);
    buf_c(out, "} ");
}

static uint64_t pending_requests(const struct model_shared *sh)
{
    uint64_t n = 0;
    for (int i = 0; i < sh->threads; i++)
        n += atomic_load_explicit(&sh->load[i].queued, memory_order_relaxed);
    return n;
}

static void put_value(struct buf *out, const struct nv_family *f, struct served *m)
{
    static const char *const reasons[STATS_FAILURES] = {"REJECTED", "CANCELED", "BACKEND", "OTHER"};
    const struct served_info *info = served_info(m);
    struct stats_sum s;
    stats_sum(served_shared(m), &s);
    if (f->from == FROM_FAILURES) {
        for (int i = 0; i < STATS_FAILURES; i++) {
            put_series(out, f->name, info, reasons[i]);
            buf_u64(out, s.failure[i]);
            buf_char(out, '\n');
        }
        return;
    }
    put_series(out, f->name, info, NULL);
    if (f->from == FROM_LOAD)
        buf_printf(out, "%.6f\n", info->desc ? (double)info->desc->load_ns / 1e9 : 0);
    else
        buf_printf(out, "%llu\n",
                   (unsigned long long)(f->from == FROM_COUNT  ? s.count[f->stage]
                                        : f->from == FROM_US   ? s.ns[f->stage] / 1000
                                        : f->from == FROM_ROWS ? s.rows
                                        : f->from == FROM_RUNS ? s.runs
                                                               : pending_requests(served_shared(m))));
}

void proto_nv_metrics(struct http_req *req, const struct route_match *match, void *arg)
{
    struct serve *s = arg;
    struct buf out;
    (void)match;
    buf_init(&out, METRICS_BYTES_MAX);
    for (size_t f = 0; f < ARRAY_LEN(families); f++) {
        bool is_gauge = families[f].from == FROM_PENDING || families[f].from == FROM_LOAD;
        buf_printf(&out, "# HELP %s %s\n# TYPE %s %s\n", families[f].name, families[f].help, families[f].name,
                   is_gauge ? "gauge" : "counter");
        for (size_t i = 0; i < serve_models_len(s); i++)
            put_value(&out, &families[f], serve_model_at(s, i));
    }
    struct str body = buf_view(&out);
    http_respond(req, 200, STR("text/plain; version=0.0.4; charset=utf-8"), NULL, 0, &body, 1);
    buf_done(&out);
}
