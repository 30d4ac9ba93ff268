/* quern bench: how fast a server answers, at which latency, and what it costs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "bench/point.h"
#include "bench/search.h"
#include "bench/usage.h"
#include "cli/commands.h"
#include "cli/running.h"
#include "cli/status.h"

#define SWEEP_MAX        64
#define POINTS_MAX       (SWEEP_MAX + 32)
#define PIDS_MAX         16
#define HEADERS_MAX      32
#define OPEN_CONNECTIONS 256 /* open loop, unless told: most requests in flight */
#define RATE_MAX         10000000

struct bench_settings {
    struct setting_list connections, rates; /* texts: a sweep */
    int arrivals;
    uint64_t p99_ns, duration_ns, warmup_ns, timeout_ns;
    int64_t repeat, rows;
    int tensors;
    const char *body, *content_type, *data;
};

static const char *const arrival_names[] = {"poisson", "fixed", NULL};
static const char *const tensor_names[] = {"json", "binary", NULL};

/* The options whose values are checked by kind and range; their help stands in the table of commands. */
static const struct setting bench_table[] = {
    SETTING_STRS("connections", struct bench_settings, connections, .max = SWEEP_MAX),
    SETTING_STRS("rate", struct bench_settings, rates, .max = SWEEP_MAX),
    SETTING_ENUM("arrivals", struct bench_settings, arrivals, .def = "poisson", .choices = arrival_names),
    SETTING_TIME("p99", struct bench_settings, p99_ns, .def = "0", .max = 3600e9),
    SETTING_TIME("duration", struct bench_settings, duration_ns, .def = "5s", .min = 10e6, .max = 86400e9),
    SETTING_TIME("warmup", struct bench_settings, warmup_ns, .def = "1s", .max = 3600e9),
    SETTING_TIME("timeout", struct bench_settings, timeout_ns, .def = "30s", .min = 1e6, .max = 3600e9),
    SETTING_INT("repeat", struct bench_settings, repeat, .def = "1", .min = 1, .max = POINT_REPEATS_MAX),
    SETTING_INT("rows", struct bench_settings, rows, .def = "1", .min = 1, .max = 1000000),
    SETTING_ENUM("tensors", struct bench_settings, tensors, .def = "json", .choices = tensor_names),
    SETTING_STR("body", struct bench_settings, body, .max = 4000),
    SETTING_STR("content-type", struct bench_settings, content_type, .max = 200),
    SETTING_STR("data", struct bench_settings, data, .max = 4000),
    {0}};

struct bench {
    const struct args *args;
    struct arena arena;
    struct bench_settings s;
    struct subject subject;
    int pids[PIDS_MAX];
    size_t pids_len;
    struct point *points;
    size_t points_len;
    double best_rate; /* with --p99: the highest that held; 0: none */
    size_t shown;     /* the point whose latencies are drawn */
    bool is_quiet;
    struct err err;
};

/* ---- What to measure ---- */

static enum err_code read_settings(struct bench *b)
{
    settings_defaults(bench_table, &b->s, sizeof b->s, &b->arena);
    for (size_t i = 0; i < b->args->hits_len; i++) {
        const struct arg_hit *h = &b->args->hits[i];
        for (const struct setting *s = bench_table; s->key; s++)
            if (strcmp(s->key, h->option->name) == 0 &&
                settings_set(bench_table, &b->s, s->key, str_c(h->value),
                             arena_printf(&b->arena, "quern bench --%s", s->key).p, &b->arena, &b->err) != ERR_OK)
                return b->err.code;
    }
    return ERR_OK;
}

static enum err_code read_pids(struct bench *b)
{
    for (size_t i = 0; i < b->args->hits_len; i++) {
        const struct arg_hit *h = &b->args->hits[i];
        uint64_t pid = 0;
        if (strcmp(h->option->name, "server-pid") != 0)
            continue;
        if (!str_to_u64(str_c(h->value), &pid) || pid == 0 || pid > INT32_MAX)
            return err_set(&b->err, ERR_INVALID, "quern bench --server-pid: \"%.40s\" is no process id", h->value);
        if (b->pids_len == PIDS_MAX)
            return err_set(&b->err, ERR_INVALID, "quern bench --server-pid: at most %d of them", PIDS_MAX);
        b->pids[b->pids_len++] = (int)pid;
    }
    return ERR_OK;
}

/* The quern of the data directory: its address for a model's name, its master's process for CPU time. */
static enum err_code use_status(struct bench *b, const char *given, const char **out_url)
{
    bool is_url = strstr(given, "://") || strncmp(given, "unix:", 5) == 0;
    struct status s = {0};
    struct err err = {0};
    *out_url = given;
    if (is_url && !b->s.data)
        return ERR_OK;
    struct running r = running_find(b->args, &b->arena);
    enum err_code code = status_read(r.data, &b->arena, &s, &err);
    if (code != ERR_OK || !s.is_running || s.listen_len == 0) {
        (void)err_set(&b->err, ERR_UNAVAILABLE, "no quern runs with the data directory %s", r.data);
        return running_remedy(
            &r, &b->err,
            "start one (quern serve FILE), or give an address: quern bench http://HOST:PORT/v2/models/NAME");
    }
    if (b->pids_len == 0)
        b->pids[b->pids_len++] = (int)s.master_pid;
    if (!is_url)
        *out_url = arena_printf(&b->arena, "http://%.*s/v2/models/%s", STR_F(s.listen[0]), given).p;
    return ERR_OK;
}

static enum err_code build_subject(struct bench *b)
{
    const char *url;
    const char *headers[HEADERS_MAX];
    struct subject_options o = {.rows = b->s.rows,
                                .is_binary = b->s.tensors == 1,
                                .body_file = b->s.body,
                                .content_type = b->s.content_type,
                                .headers = headers};
    for (size_t i = 0; i < b->args->hits_len; i++) {
        const struct arg_hit *h = &b->args->hits[i];
        if (strcmp(h->option->name, "header") != 0)
            continue;
        if (o.headers_len == HEADERS_MAX || strpbrk(h->value, "\r\n") || !strchr(h->value, ':'))
            return err_set(&b->err, ERR_INVALID,
                           "quern bench --header: \"%.60s\" is not \"Name: value\", or there are over %d", h->value,
                           HEADERS_MAX);
        headers[o.headers_len++] = h->value;
    }
    if (use_status(b, b->args->pos[0], &url) != ERR_OK)
        return b->err.code;
    if (subject_parse(url, &b->arena, &b->subject, &b->err) != ERR_OK)
        return b->err.code;
    return subject_build(&b->subject, &o, &b->arena, &b->err);
}

/* One number of a sweep. */
static enum err_code sweep_value(struct bench *b, const struct setting_list *list, size_t i, const char *name,
                                 uint64_t max, uint64_t *out)
{
    const char *text = ((const char *const *)list->items)[i];
    if (str_to_u64(str_c(text), out) && *out > 0 && *out <= max)
        return ERR_OK;
    return err_set(&b->err, ERR_INVALID, "quern bench --%s: \"%.40s\" is not a number from 1 to %llu", name, text,
                   (unsigned long long)max);
}

/* ---- Measuring ---- */

static struct load_options load_of(const struct bench *b)
{
    return (struct load_options){.subject = &b->subject,
                                 .warmup_ns = b->s.warmup_ns,
                                 .window_ns = b->s.duration_ns,
                                 .timeout_ns = b->s.timeout_ns,
                                 .pids = b->pids,
                                 .pids_len = b->pids_len};
}

/* NULL: it failed, b->err says why. */
static struct point *measure(struct bench *b, const struct load_options *o)
{
    CHECK(b->points_len < POINTS_MAX);
    struct point *p = &b->points[b->points_len];
    if (!b->is_quiet) {
        (void)fprintf(stderr, "measuring: %s %.0f ...\n", o->kind == LOAD_CLOSED ? "connections" : "requests a second",
                      o->kind == LOAD_CLOSED ? (double)o->connections : o->rate);
    }
    if (point_run(o, (int)b->s.repeat, p, &b->err) != ERR_OK)
        return NULL;
    b->shown = b->points_len++;
    return p;
}

static enum err_code first_connections(struct bench *b, uint64_t otherwise, uint64_t *out)
{
    *out = otherwise;
    return b->s.connections.len ? sweep_value(b, &b->s.connections, 0, "connections", LOAD_CONNECTIONS_MAX, out)
                                : ERR_OK;
}

static enum err_code sweep_connections(struct bench *b)
{
    struct load_options o = load_of(b);
    uint64_t n;
    size_t len = b->s.connections.len ? b->s.connections.len : 1;
    for (size_t i = 0; i < len; i++) {
        n = 64;
        if (b->s.connections.len &&
            sweep_value(b, &b->s.connections, i, "connections", LOAD_CONNECTIONS_MAX, &n) != ERR_OK)
            return b->err.code;
        o.connections = (int)n;
        if (!measure(b, &o))
            return b->err.code;
    }
    return ERR_OK;
}

static enum err_code sweep_rates(struct bench *b)
{
    struct load_options o = load_of(b);
    uint64_t n, rate;
    if (first_connections(b, OPEN_CONNECTIONS, &n) != ERR_OK)
        return b->err.code;
    o.kind = b->s.arrivals == 0 ? LOAD_POISSON : LOAD_FIXED;
    o.connections = (int)n;
    for (size_t i = 0; i < b->s.rates.len; i++) {
        if (sweep_value(b, &b->s.rates, i, "rate", RATE_MAX, &rate) != ERR_OK)
            return b->err.code;
        o.rate = (double)rate;
        if (!measure(b, &o))
            return b->err.code;
    }
    return ERR_OK;
}

/* A closed loop tells the capacity; the search goes on from there. */
static enum err_code find_rate(struct bench *b)
{
    struct load_options o = load_of(b);
    struct search s;
    uint64_t n;
    size_t best = 0;
    if (first_connections(b, 64, &n) != ERR_OK)
        return b->err.code;
    o.connections = (int)n;
    struct point *p = measure(b, &o);
    if (!p)
        return b->err.code;
    search_init(&s, p->rps.median);
    o.kind = b->s.arrivals == 0 ? LOAD_POISSON : LOAD_FIXED;
    o.connections = n > OPEN_CONNECTIONS ? (int)n : OPEN_CONNECTIONS;
    while (search_next(&s, &o.rate)) {
        p = measure(b, &o);
        if (!p)
            return b->err.code;
        bool held = point_holds(p, b->s.p99_ns);
        search_tell(&s, o.rate, held);
        if (held)
            best = b->points_len - 1;
    }
    b->shown = best;
    b->best_rate = s.low;
    return ERR_OK;
}

/* ---- Showing ---- */

static void show_json(struct bench *b, struct buf *out)
{
    struct json_writer w;
    char text[64];
    jw_init(&w, out);
    jw_object(&w);
    jw_kv_c(&w, "request", b->subject.what);
    if (b->s.p99_ns) {
        jw_kv_f64(&w, "objective_p99_us", (double)b->s.p99_ns / 1e3);
        jw_kv_f64(&w, "best_rate", b->best_rate);
    }
    jw_key(&w, "points");
    jw_array(&w);
    for (size_t i = 0; i < b->points_len; i++)
        point_json(&b->points[i], &w);
    jw_array_end(&w);
    jw_key(&w, "scheduling");
    jw_object(&w);
    usage_scheduling(0, text, sizeof text);
    jw_kv_c(&w, "load", text);
    for (size_t i = 0; i < b->pids_len; i++) {
        usage_scheduling(b->pids[i], text, sizeof text);
        jw_kv_c(&w, arena_printf(&b->arena, "server %d", b->pids[i]).p, text);
    }
    jw_object_end(&w);
    jw_object_end(&w);
    buf_c(out, "\n");
}

static void show_people(const struct bench *b, struct buf *out)
{
    buf_printf(out, "%s\n\n", b->subject.what);
    point_table(b->points, b->points_len, out);
    const struct point *shown = &b->points[b->shown];
    buf_c(out, "\nLatency of ");
    if (shown->kind == LOAD_CLOSED)
        buf_printf(out, "%d connections:\n", shown->connections);
    else
        buf_printf(out, "%.0f requests a second, from the intended start:\n", shown->rate);
    point_plot(shown, out);
    if (b->s.p99_ns && b->best_rate > 0)
        buf_printf(out, "\n%.0f requests a second hold p99 <= %g ms.\n", b->best_rate, (double)b->s.p99_ns / 1e6);
    else if (b->s.p99_ns)
        buf_printf(out, "\nNo rate that was tried holds p99 <= %g ms.\n", (double)b->s.p99_ns / 1e6);
}

static int run_bench(struct bench *b)
{
    if (read_settings(b) != ERR_OK || read_pids(b) != ERR_OK)
        return cli_fail(&b->err, EXIT_USAGE);
    if (b->s.p99_ns && b->s.rates.len) {
        (void)err_set(&b->err, ERR_INVALID, "quern bench: --p99 finds the rate itself; give it or --rate, not both");
        return cli_fail(&b->err, EXIT_USAGE);
    }
    enum err_code code = build_subject(b);
    if (code == ERR_OK)
        code = b->s.p99_ns ? find_rate(b) : b->s.rates.len ? sweep_rates(b) : sweep_connections(b);
    if (code != ERR_OK)
        return cli_fail(&b->err, code == ERR_INVALID ? EXIT_USAGE : EXIT_FAILED);
    struct buf out;
    buf_init(&out, CLI_OUTPUT_MAX);
    if (args_has(b->args, "json"))
        show_json(b, &out);
    else
        show_people(b, &out);
    bool is_clean = true;
    for (size_t i = 0; i < b->points_len && !b->s.p99_ns; i++)
        is_clean = is_clean && point_is_clean(&b->points[i]);
    is_clean = is_clean && (!b->s.p99_ns || b->best_rate > 0);
    int printed = cli_print(&out);
    return printed != EXIT_FINE || is_clean ? printed : EXIT_FAILED;
}

int cmd_bench(const struct args *args, master_run_fn *run)
{
    (void)run;
    struct bench b = {.args = args, .is_quiet = args_has(args, "json")};
    b.points = calloc(POINTS_MAX, sizeof *b.points);
    CHECK(b.points);
    arena_init(&b.arena, 65536, (size_t)64 << 20);
    int code = run_bench(&b);
    subject_done(&b.subject);
    arena_done(&b.arena);
    free(b.points);
    return code;
}
