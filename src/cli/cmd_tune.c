/* quern tune: tries settings of a model on a private server, tells which of them serve the most within an objective, and with --write puts them into the
 * configuration. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "bench/point.h"
#include "bench/search.h"
#include "cli/status.h"
#include "cli/tune_int.h"
#include "sys/cpu.h"

#define CONNECTIONS   64
#define OPEN_REQUESTS 256

static const char *const tensor_names[] = {"json", "binary", NULL};
static const struct setting tune_table[] = {
    SETTING_TIME("p99", struct tune_settings, p99_ns, .def = "20ms", .min = 1e3, .max = 3600e9),
    SETTING_TIME("duration", struct tune_settings, duration_ns, .def = "2s", .min = 50e6, .max = 3600e9),
    SETTING_INT("rows", struct tune_settings, rows, .def = "1", .min = 1, .max = 1000000),
    SETTING_ENUM("tensors", struct tune_settings, tensors, .def = "binary", .choices = tensor_names),
    {0}};

volatile sig_atomic_t tune_is_stopped;

static void on_stop(int sig)
{
    (void)sig;
    tune_is_stopped = 1;
}

/* ---- One trial ---- */

static enum err_code search_rate(struct tune *x, const struct subject *subject, struct trial *t)
{
    struct point *p = malloc(sizeof *p);
    struct search s;
    struct load_options o = {.subject = subject,
                             .connections = CONNECTIONS,
                             .warmup_ns = x->s.duration_ns / 4,
                             .window_ns = x->s.duration_ns,
                             .timeout_ns = 30 * NS_PER_S,
                             .pids = &x->pid,
                             .pids_len = 1};
    CHECK(p);
    enum err_code code = point_run(&o, 1, p, &x->err);
    t->busy_rate = code == ERR_OK ? p->rps.median : 0;
    t->busy_p99_us = code == ERR_OK ? p->p99_us.median : 0;
    search_init(&s, t->busy_rate);
    o.kind = LOAD_POISSON;
    o.connections = OPEN_REQUESTS;
    while (code == ERR_OK && !tune_is_stopped && search_next(&s, &o.rate)) {
        code = point_run(&o, 1, p, &x->err);
        bool held = code == ERR_OK && point_holds(p, x->s.p99_ns);
        search_tell(&s, o.rate, held);
        if (held) {
            t->p99_us = p->p99_us.median;
            t->cpu_us = p->cpu_us.median;
        }
    }
    t->rate = s.low;
    free(p);
    return code;
}

static enum err_code try_one(struct tune *x, struct trial *t)
{
    struct subject subject = {0};
    struct subject_options o = {.rows = x->s.rows, .is_binary = x->s.tensors == 1};
    const char *max_batch = t->max_batch ? arena_printf(&x->arena, "%d", t->max_batch).p : "as measured";
    (void)fprintf(stderr, "trying %d instance%s, %d thread%s, max_batch %s, delay %llu us ...\n", t->instances,
                  t->instances == 1 ? "" : "s", t->threads, t->threads == 1 ? "" : "s", max_batch,
                  (unsigned long long)t->delay_us);
    enum err_code code = tune_server_start(x, t);
    if (code == ERR_OK)
        code = tune_server_wait(x);
    const char *url = arena_printf(&x->arena, "unix:%s/run/edge.sock:/v2/models/tuned", x->dir).p;
    if (code == ERR_OK)
        code = subject_parse(url, &x->arena, &subject, &x->err);
    if (code == ERR_OK)
        code = subject_build(&subject, &o, &x->arena, &x->err);
    if (code == ERR_OK)
        code = search_rate(x, &subject, t);
    subject_done(&subject);
    tune_server_stop(x);
    if (code == ERR_OK && tune_is_stopped)
        code = err_set(&x->err, ERR_CANCELLED, "stopped");
    return code;
}

/* Adds and tries; the trial with the highest rate is the best, the earlier (simpler) one unless 5 % are gained. */
static enum err_code consider(struct tune *x, struct trial t)
{
    CHECK(x->trials_len < TRIALS_MAX);
    if (try_one(x, &t) != ERR_OK)
        return x->err.code;
    x->trials[x->trials_len++] = t;
    if (t.rate > x->trials[x->best].rate * 1.05)
        x->best = x->trials_len - 1;
    return ERR_OK;
}

/* One setting after another, each from the best so far: cores as instances or threads first, then batches, then their delay. All combinations
 * would take an hour and end at the same place nearly always. */
static enum err_code try_all(struct tune *x)
{
    static const uint64_t delays_us[] = {200, 1000, 5000};
    int cores = cpu_budget();
    for (int instances = 1; instances <= cores; instances *= 2)
        for (int threads = 1; threads * instances <= cores && x->trials_len < TRIALS_MAX / 2; threads *= 2)
            if (consider(x, (struct trial){.instances = instances, .threads = threads}) != ERR_OK)
                return x->err.code;
    struct trial t = x->trials[x->best];
    for (t.max_batch = 1; t.max_batch <= 64; t.max_batch *= 8)
        if (consider(x, t) != ERR_OK)
            return x->err.code;
    t = x->trials[x->best];
    for (size_t i = 0; i < ARRAY_LEN(delays_us) && t.max_batch != 1; i++) {
        t.delay_us = delays_us[i];
        if (t.delay_us * NS_PER_US < x->s.p99_ns && consider(x, t) != ERR_OK)
            return x->err.code;
    }
    return ERR_OK;
}

/* ---- Showing ---- */

static void show_json(const struct tune *x, struct buf *out)
{
    struct json_writer w;
    jw_init(&w, out);
    jw_object(&w);
    jw_kv_f64(&w, "objective_p99_us", (double)x->s.p99_ns / 1e3);
    jw_kv_u64(&w, "best", x->best);
    jw_kv_c(&w, "model", x->known ? x->known->name : "");
    jw_kv_c(&w, "config", x->known ? x->config.file : "");
    jw_kv_bool(&w, "written", x->is_written);
    jw_key(&w, "trials");
    jw_array(&w);
    for (size_t i = 0; i < x->trials_len; i++) {
        const struct trial *t = &x->trials[i];
        jw_object(&w);
        jw_kv_i64(&w, "instances", t->instances);
        jw_kv_i64(&w, "threads", t->threads);
        jw_kv_i64(&w, "max_batch", t->max_batch);
        jw_kv_u64(&w, "delay_us", t->delay_us);
        jw_kv_f64(&w, "rate", t->rate);
        jw_kv_f64(&w, "p99_us", t->p99_us);
        jw_kv_f64(&w, "cpu_us_per_request", t->cpu_us);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    buf_c(out, "\n");
}

static void show_people(const struct tune *x, struct buf *out)
{
    buf_printf(out, "%-11s%-9s%-11s%-10s%12s%12s%12s\n", "INSTANCES", "THREADS", "MAX_BATCH", "DELAY", "RATE", "P99",
               "CPU/REQ");
    for (size_t i = 0; i < x->trials_len; i++) {
        const struct trial *t = &x->trials[i];
        buf_printf(out, "%-11d%-9d", t->instances, t->threads);
        if (t->max_batch)
            buf_printf(out, "%-11d", t->max_batch);
        else
            buf_printf(out, "%-11s", "measured");
        buf_printf(out, "%5llu us  ", (unsigned long long)t->delay_us);
        if (t->rate > 0)
            buf_printf(out, "%10.0f/s%9.2f ms%9.1f us%s\n", t->rate, t->p99_us / 1e3, t->cpu_us,
                       i == x->best ? "  best" : "");
        else
            buf_printf(out, "%12s\n", "none holds");
    }
    const struct trial *best = &x->trials[x->best];
    if (best->rate <= 0) {
        buf_printf(out,
                   "\nNo rate holds p99 <= %g ms. Busy all the time it answers %.0f requests a second with p99 %.2f ms "
                   "(%d at a "
                   "time, first line).\nA larger --p99 or a longer --duration may help.\n",
                   (double)x->s.p99_ns / 1e6, x->trials[0].busy_rate, x->trials[0].busy_p99_us / 1e3, CONNECTIONS);
        return;
    }
    buf_printf(out, "\n# %.0f requests a second hold p99 <= %g ms\n", best->rate, (double)x->s.p99_ns / 1e6);
    if (!x->known)
        tune_put_model(x, best, out);
}

static int tune(struct tune *x)
{
    settings_defaults(tune_table, &x->s, sizeof x->s, &x->arena);
    for (size_t i = 0; i < x->args->hits_len; i++) {
        const struct arg_hit *h = &x->args->hits[i];
        for (const struct setting *s = tune_table; s->key; s++)
            if (strcmp(s->key, h->option->name) == 0 &&
                settings_set(tune_table, &x->s, s->key, str_c(h->value),
                             arena_printf(&x->arena, "quern tune --%s", s->key).p, &x->arena, &x->err) != ERR_OK)
                return cli_fail(&x->err, EXIT_USAGE);
    }
    if (tune_find_model(x))
        return cli_fail(&x->err, EXIT_FAILED);
    if (try_all(x) != ERR_OK)
        return cli_fail(&x->err, EXIT_FAILED);
    struct buf out, changed;
    buf_init(&out, CLI_OUTPUT_MAX);
    buf_init(&changed, CLI_OUTPUT_MAX);
    bool holds = x->trials[x->best].rate > 0;
    bool is_fine = !holds || !x->known || tune_change_config(x, &changed);
    if (args_has(x->args, "json")) {
        show_json(x, &out);
    } else {
        show_people(x, &out);
        buf_str(&out, buf_view(&changed));
        if (!is_fine)
            tune_put_model(x, &x->trials[x->best], &out); /* to be copied by hand */
    }
    buf_done(&changed);
    int printed = cli_print(&out);
    if (!is_fine)
        return cli_fail(&x->err, EXIT_FAILED);
    return printed != EXIT_FINE || holds ? printed : EXIT_FAILED;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

int cmd_tune(const struct args *args, master_run_fn *run)
{
    (void)run;
    struct tune *x = calloc(1, sizeof *x);
    CHECK(x);
    x->args = args;
    arena_init(&x->arena, 65536, (size_t)64 << 20);
    (void)str_copy(x->dir, sizeof x->dir, STR("/tmp/quern-tune-XXXXXX")); /* fits */
    (void)signal(SIGINT, on_stop);
    (void)signal(SIGTERM, on_stop);
    int code = EXIT_FAILED;
    if (mkdtemp(x->dir)) {
        code = tune(x);
        tune_server_stop(x);
        (void)nftw(x->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS); /* what stays is in /tmp */
    } else {
        (void)err_sys(&x->err, ERR_IO, errno, "cannot make a folder in /tmp");
        code = cli_fail(&x->err, EXIT_FAILED);
    }
    if (x->has_config)
        config_done(&x->config);
    arena_done(&x->arena);
    free(x);
    return code;
}
