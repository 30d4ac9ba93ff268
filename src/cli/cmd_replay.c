/* quern replay: recorded requests once more, at their times, with their answers and latencies compared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "bench/compare.h"
#include "bench/load.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/show_text.h"
#include "cli/status.h"
#include "cli/table.h"
#include "net/recording.h"
#include "sys/fd.h"

#define CONNECTIONS_DEFAULT 64
#define CONNECTIONS_MAX     4096
#define SPEED_MAX           1000
#define TIMEOUT_NS          (30 * NS_PER_S)
#define FAULTS_SHOWN        10

struct fault { /* what was not as recorded */
    const char *id, *what;
};

struct replay {
    const struct args *args;
    struct arena arena;
    struct err err;
    struct buf file;
    bool is_cut, compares;
    double speed; /* 0: as fast as it goes */
    double tolerance;
    uint64_t connections;
    struct str about;
    struct recorded *recorded;
    struct load_item *items;
    size_t len;
    struct buf requests; /* all their bytes */
    struct subject subject;
    /* outcome */
    size_t answered, other_status, compared, different;
    double greatest;
    struct fault faults[FAULTS_SHOWN];
    size_t faults_len;
    struct histogram before, now;
};

/* ---- options ---- */

static enum err_code read_options(struct replay *r)
{
    const char *speed = args_get(r->args, "speed"), *tolerance = args_get(r->args, "tolerance");
    const char *connections = args_get(r->args, "connections");
    struct str text = str_c(speed ? speed : "1x");
    char *end;
    r->compares = args_has(r->args, "compare") || tolerance;
    if (!str_eq_c(text, "max")) {
        const char *number = arena_cstr(&r->arena, str_sub(text, 0, text.n > 0 ? text.n - 1 : 0));
        r->speed = strtod(number, &end);
        if (!str_ends(text, STR("x")) || *end || !(r->speed >= 0.001 && r->speed <= SPEED_MAX))
            return err_set(&r->err, ERR_INVALID, "quern replay --speed: \"%.40s\" is not 1x, 2x, 0.5x ... or max",
                           text.p);
    }
    r->tolerance = tolerance ? strtod(tolerance, &end) : 0.001;
    if (tolerance && (*end || end == tolerance || !(r->tolerance >= 0 && r->tolerance <= 1e6)))
        return err_set(&r->err, ERR_INVALID, "quern replay --tolerance: \"%.40s\" is no number from 0 to 1e6",
                       tolerance);
    r->connections = CONNECTIONS_DEFAULT;
    if (connections &&
        (!str_to_u64(str_c(connections), &r->connections) || r->connections < 1 || r->connections > CONNECTIONS_MAX))
        return err_set(&r->err, ERR_INVALID, "quern replay --connections: \"%.40s\" is no number from 1 to %d",
                       connections, CONNECTIONS_MAX);
    return ERR_OK;
}

/* ---- the file ---- */

static enum err_code read_file(struct replay *r, const char *path)
{
    struct arena a;
    struct str bytes;
    arena_init(&a, 65536, RECORDING_FILE_MAX + RECORDING_FRAME_MAX + (1 << 20));
    enum err_code code = file_read(path, RECORDING_FILE_MAX + RECORDING_FRAME_MAX, &a, &bytes, &r->err);
    if (code == ERR_OK)
        buf_str(&r->file, bytes);
    arena_done(&a);
    buf_pad(&r->file); /* answers are read as JSON where they lie */
    return code;
}

static enum err_code take_exchanges(struct replay *r, const char *path)
{
    struct recording_reader reader;
    struct recording_frame f;
    size_t cap = 0;
    if (read_file(r, path) != ERR_OK)
        return r->err.code;
    if (recording_open(buf_view(&r->file), &reader, &r->err) != ERR_OK)
        return err_wrap(&r->err, "%s", path);
    while (recording_next(&reader, &f, &r->err)) {
        if (f.kind == RECORDING_ABOUT)
            r->about = f.json;
        if (f.kind != RECORDING_EXCHANGE)
            continue;
        if (r->len == cap) {
            cap = cap ? cap * 2 : 256;
            r->recorded = realloc(r->recorded, cap * sizeof *r->recorded);
            CHECK(r->recorded);
        }
        r->recorded[r->len++] = f.x;
    }
    r->is_cut = reader.is_cut;
    if (r->err.code != ERR_OK)
        return err_wrap(&r->err, "%s", path);
    return r->len > 0 ? ERR_OK : err_set(&r->err, ERR_INVALID, "%s: nothing was recorded", path);
}

/* They were written when they were answered; they are sent as they came. */
static int by_time(const void *a, const void *b)
{
    const struct recorded *x = a, *y = b;
    return x->at_ns < y->at_ns ? -1 : x->at_ns > y->at_ns;
}

static void put_request(struct replay *r, const struct recorded *x)
{
    struct buf *b = &r->requests;
    bool is_v6 = strchr(r->subject.host, ':') != NULL;
    buf_printf(b, "POST %.*s HTTP/1.1\r\nHost: %s%s%s:%d\r\nContent-Length: %zu\r\n", STR_F(x->path), is_v6 ? "[" : "",
               r->subject.host, is_v6 ? "]" : "", r->subject.port, x->body.n);
    if (x->type.n)
        buf_printf(b, "Content-Type: %.*s\r\n", STR_F(x->type));
    if (x->header_length.n)
        buf_printf(b, "Inference-Header-Content-Length: %.*s\r\n", STR_F(x->header_length));
    buf_c(b, "\r\n");
    buf_str(b, x->body);
}

static enum err_code make_items(struct replay *r)
{
    size_t *from = calloc(r->len + 1, sizeof *from);
    r->items = calloc(r->len, sizeof *r->items);
    CHECK(from && r->items);
    qsort(r->recorded, r->len, sizeof *r->recorded, by_time);
    for (size_t i = 0; i < r->len; i++) {
        put_request(r, &r->recorded[i]);
        from[i + 1] = r->requests.len;
    }
    for (size_t i = 0; i < r->len; i++) {
        r->items[i].at_ns = r->recorded[i].at_ns - r->recorded[0].at_ns;
        r->items[i].request = str_sub(buf_view(&r->requests), from[i], from[i + 1] - from[i]);
        histogram_record(&r->before, r->recorded[i].took_ns);
    }
    free(from);
    return r->requests.failed ? err_set(&r->err, ERR_TOO_LARGE, "the requests are more than fit in memory") : ERR_OK;
}

/* --url, else the quern of the data directory, where people reach it. */
static enum err_code find_server(struct replay *r)
{
    const char *url = args_get(r->args, "url");
    struct status s = {0};
    struct err ignored = {0};
    if (!url) {
        struct running at = running_find(r->args, &r->arena);
        if (status_read(at.data, &r->arena, &s, &ignored) != ERR_OK || !s.is_running || s.listen_len == 0) {
            (void)err_set(&r->err, ERR_UNAVAILABLE, "no quern runs with the data directory %s", at.data);
            return running_remedy(&at, &r->err,
                                  "start one, name its data directory with --data DIR, or an address with --url");
        }
        url = arena_printf(&r->arena, "http://%.*s", STR_F(s.listen[0])).p;
    }
    return subject_parse(url, &r->arena, &r->subject, &r->err);
}

/* ---- answers ---- */

static void fault(struct replay *r, size_t i, const char *what)
{
    if (r->faults_len < FAULTS_SHOWN)
        r->faults[r->faults_len++] = (struct fault){arena_cstr(&r->arena, r->recorded[i].id), what};
}

static void on_answer(void *arg, size_t i, const struct load_answer *a)
{
    struct replay *r = arg;
    const struct recorded *x = &r->recorded[i];
    r->answered++;
    histogram_record(&r->now, a->latency_ns);
    if (a->status != x->status) {
        r->other_status++;
        fault(r, i, arena_printf(&r->arena, "status %d instead of %d", a->status, x->status).p);
        return;
    }
    if (!r->compares || x->status != 200)
        return;
    struct compare_answer was = {.header_length = x->answer_header_length, .body = x->answer};
    struct compare_answer is = {.header_length = a->header_length, .body = a->body};
    struct compare_result c;
    compare_answers(&was, &is, r->tolerance, &c);
    r->compared++;
    r->greatest = c.greatest > r->greatest ? c.greatest : r->greatest;
    if (c.is_same)
        return;
    r->different++;
    fault(r, i, arena_cstr(&r->arena, str_c(c.where)));
}

/* ---- showing ---- */

static const double quantiles[] = {0.5, 0.9, 0.95, 0.99, 1};
static const char *const quantile_names[] = {"p50", "p90", "p95", "p99", "max"};

static void show_people(struct replay *r, const struct load_result *l, struct buf *out)
{
    static const char *const heads[] = {"LATENCY", "RECORDED", "REPLAYED"};
    struct table t;
    buf_printf(out, "%zu request%s in %.1f s", r->len, r->len == 1 ? "" : "s", l->window_s);
    if (r->speed > 0)
        buf_printf(out, ", at %g x the recorded speed", r->speed);
    buf_printf(out, "%s\n\n", r->is_cut ? "; the recording was broken off within the next one" : "");
    table_init(&t, &r->arena, heads, ARRAY_LEN(heads), 6);
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        table_row(
            &t, (const char *const[]){quantile_names[i],
                                      show_time(&r->arena, (double)histogram_quantile(&r->before, quantiles[i]) / 1e3),
                                      show_time(&r->arena, (double)histogram_quantile(&r->now, quantiles[i]) / 1e3)});
    table_write(&t, "  ", out);
    buf_printf(out, "\n%zu answered, %zu not; %zu with another status\n", r->answered, r->len - r->answered,
               r->other_status);
    if (r->compares)
        buf_printf(out, "%zu compared, %zu differ by more than %g; the greatest difference is %g\n", r->compared,
                   r->different, r->tolerance, r->greatest);
    for (size_t i = 0; i < r->faults_len; i++)
        buf_printf(out, "%s  %s  %s\n", i ? "" : "\n", r->faults[i].id, r->faults[i].what);
    if (r->other_status + r->different > r->faults_len)
        buf_printf(out, "  and %zu more\n", r->other_status + r->different - r->faults_len);
}

static void json_latencies(const struct histogram *h, const char *key, struct json_writer *w)
{
    jw_key(w, key);
    jw_object(w);
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        jw_kv_f64(w, quantile_names[i], (double)histogram_quantile(h, quantiles[i]) / 1e3);
    jw_object_end(w);
}

static void show_json(struct replay *r, const struct load_result *l, struct buf *out)
{
    struct json_writer w;
    jw_init(&w, out);
    jw_object(&w);
    jw_kv_u64(&w, "requests", r->len);
    jw_kv_bool(&w, "is_cut", r->is_cut);
    jw_kv_f64(&w, "seconds", l->window_s);
    jw_kv_f64(&w, "speed", r->speed);
    jw_kv_u64(&w, "answered", r->answered);
    jw_kv_u64(&w, "unanswered", r->len - r->answered);
    jw_kv_u64(&w, "other_status", r->other_status);
    jw_kv_bool(&w, "compares", r->compares);
    jw_kv_f64(&w, "tolerance", r->tolerance);
    jw_kv_u64(&w, "compared", r->compared);
    jw_kv_u64(&w, "different", r->different);
    jw_kv_f64(&w, "greatest_difference", r->greatest);
    json_latencies(&r->before, "recorded_us", &w);
    json_latencies(&r->now, "replayed_us", &w);
    jw_key(&w, "faults");
    jw_array(&w);
    for (size_t i = 0; i < r->faults_len; i++) {
        jw_object(&w);
        jw_kv_c(&w, "id", r->faults[i].id);
        jw_kv_c(&w, "what", r->faults[i].what);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    buf_c(out, "\n");
}

static int play(struct replay *r)
{
    struct load_result *result = calloc(1, sizeof *result);
    struct load_script script = {.items = r->items, .len = r->len, .speed = r->speed, .on_answer = on_answer, .arg = r};
    uint64_t most = r->len < r->connections ? r->len : r->connections;
    struct load_options o = {.subject = &r->subject,
                             .kind = LOAD_SCRIPT,
                             .connections = (int)most,
                             .timeout_ns = TIMEOUT_NS,
                             .script = &script};
    struct buf out;
    CHECK(result);
    if (load_run(&o, result, &r->err) != ERR_OK) {
        free(result);
        return cli_fail(&r->err, EXIT_NOT_RUNNING);
    }
    buf_init(&out, CLI_OUTPUT_MAX);
    if (args_has(r->args, "json"))
        show_json(r, result, &out);
    else
        show_people(r, result, &out);
    free(result);
    int printed = cli_print(&out);
    bool is_as_recorded = r->answered == r->len && r->other_status == 0 && r->different == 0;
    return printed != EXIT_FINE || is_as_recorded ? printed : EXIT_FAILED;
}

static int replay(struct replay *r)
{
    if (read_options(r) != ERR_OK)
        return cli_fail(&r->err, EXIT_USAGE);
    if (take_exchanges(r, r->args->pos[0]) != ERR_OK)
        return cli_fail(&r->err, EXIT_FAILED);
    if (find_server(r) != ERR_OK)
        return cli_fail(&r->err, r->err.code == ERR_INVALID ? EXIT_USAGE : EXIT_NOT_RUNNING);
    if (make_items(r) != ERR_OK)
        return cli_fail(&r->err, EXIT_FAILED);
    return play(r);
}

int cmd_replay(const struct args *args, master_run_fn *run)
{
    (void)run;
    struct replay *r = calloc(1, sizeof *r);
    CHECK(r);
    r->args = args;
    arena_init(&r->arena, 65536, (size_t)256 << 20);
    buf_init(&r->file, 2 * RECORDING_FILE_MAX);
    buf_init(&r->requests, 4 * RECORDING_FILE_MAX);
    int code = replay(r);
    subject_done(&r->subject);
    buf_done(&r->file);
    buf_done(&r->requests);
    free(r->recorded);
    free(r->items);
    arena_done(&r->arena);
    free(r);
    return code;
}
