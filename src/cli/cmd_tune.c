/* quern tune: tries settings of a model on a private server, and tells which of them serve the most within an objective. */
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "bench/point.h"
#include "bench/search.h"
#include "cli/commands.h"
#include "cli/status.h"
#include "net/fetch.h"
#include "sys/cpu.h"
#include "sys/fd.h"
#include "sys/spawn.h"

#define TRIALS_MAX     64
#define CONNECTIONS    64
#define OPEN_REQUESTS  256
#define READY_NS       (120 * NS_PER_S)
#define STOP_NS        (10 * NS_PER_S)
#define FILE_BYTES_MAX ((size_t)64 << 10)

struct tune_settings {
    uint64_t p99_ns, duration_ns;
    int64_t rows;
    int tensors;
};

static const char *const tensor_names[] = {"json", "binary", NULL};
static const struct setting tune_table[] = {
    SETTING_TIME("p99", struct tune_settings, p99_ns, .def = "20ms", .min = 1e3, .max = 3600e9),
    SETTING_TIME("duration", struct tune_settings, duration_ns, .def = "2s", .min = 50e6, .max = 3600e9),
    SETTING_INT("rows", struct tune_settings, rows, .def = "1", .min = 1, .max = 1000000),
    SETTING_ENUM("tensors", struct tune_settings, tensors, .def = "binary", .choices = tensor_names),
    {0}};

struct trial {
    int instances, threads, max_batch; /* max_batch 0: measured at load */
    uint64_t delay_us;
    double rate; /* that holds; 0: none */
    double p99_us, cpu_us;
};

struct tune {
    const struct args *args;
    struct tune_settings s;
    struct arena arena;
    char dir[64]; /* the private server's */
    const char *model;
    int pid;
    struct trial trials[TRIALS_MAX];
    size_t trials_len, best;
    struct err err;
};

static volatile sig_atomic_t is_stopped;

static void on_stop(int sig)
{
    (void)sig;
    is_stopped = 1;
}

/* ---- The private server ---- */

static void put_model(const struct trial *t, const char *path, struct buf *out)
{
    struct json_writer w; /* JSON's strings are YAML's */
    buf_c(out, "models:\n  tuned:\n    path: ");
    jw_init(&w, out);
    jw_c(&w, path);
    buf_printf(out, "\n    instances: %d\n    threads: %d\n    max_batch: %d\n    batching: {delay: %lluus}\n",
               t->instances, t->threads, t->max_batch, (unsigned long long)t->delay_us);
}

static enum err_code start_server(struct tune *x, const struct trial *t)
{
    struct buf yaml;
    buf_init(&yaml, FILE_BYTES_MAX);
    buf_c(&yaml, "listen: 127.0.0.1:0\nlog: {level: error}\ndrain_timeout: 1s\n");
    put_model(t, x->model, &yaml);
    const char *file = arena_printf(&x->arena, "%s/quern.yaml", x->dir).p;
    enum err_code code = file_replace(file, buf_view(&yaml), false, &x->err);
    buf_done(&yaml);
    if (code != ERR_OK)
        return code;
    const char *const argv[] = {"quern", "up", "-c", file, "--data", x->dir, NULL};
    AUTO_FD out = dup(STDOUT_FILENO); /* what the server prints is news for people, not part of our result */
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    code = spawn_child(&(struct spawn){.exe = "/proc/self/exe", .argv = argv}, &x->pid, &x->err);
    (void)dup2(out, STDOUT_FILENO);
    return code;
}

static void stop_server(struct tune *x)
{
    uint64_t end_ns = clock_now_ns() + STOP_NS;
    if (x->pid <= 0)
        return;
    (void)kill(x->pid, SIGTERM);
    while (waitpid(x->pid, NULL, WNOHANG) == 0) {
        if (clock_now_ns() > end_ns) {
            (void)kill(x->pid, SIGKILL);
            end_ns += STOP_NS;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    x->pid = 0;
}

static bool is_ready(const struct tune *x)
{
    struct fetch_response r;
    struct err err;
    char path[96];
    (void)snprintf(path, sizeof path, "%s/run/edge.sock", x->dir); /* fits */
    struct fetch_request q = {.unix_path = path, .path = "/v2/models/tuned/ready", .timeout_ns = NS_PER_S};
    if (fetch(&q, &r, &err) != ERR_OK)
        return false;
    bool ready = r.status == 200;
    fetch_done(&r);
    return ready;
}

static enum err_code wait_ready(struct tune *x)
{
    uint64_t end_ns = clock_now_ns() + READY_NS;
    while (!is_ready(x)) {
        if (waitpid(x->pid, NULL, WNOHANG) != 0) {
            x->pid = 0;
            return err_set(&x->err, ERR_BACKEND, "the private server ended before the model was ready, see above");
        }
        if (is_stopped || clock_now_ns() > end_ns)
            return err_set(&x->err, ERR_TIMEOUT,
                           is_stopped ? "stopped" : "the model is not ready within 120 s, see above");
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return ERR_OK;
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
    search_init(&s, code == ERR_OK ? p->rps.median : 0);
    o.kind = LOAD_POISSON;
    o.connections = OPEN_REQUESTS;
    while (code == ERR_OK && !is_stopped && search_next(&s, &o.rate)) {
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
    (void)fprintf(stderr, "trying %d instance%s, %d thread%s, max_batch %d, delay %llu us ...\n", t->instances,
                  t->instances == 1 ? "" : "s", t->threads, t->threads == 1 ? "" : "s", t->max_batch,
                  (unsigned long long)t->delay_us);
    enum err_code code = start_server(x, t);
    if (code == ERR_OK)
        code = wait_ready(x);
    const char *url = arena_printf(&x->arena, "unix:%s/run/edge.sock:/v2/models/tuned", x->dir).p;
    if (code == ERR_OK)
        code = subject_parse(url, &x->arena, &subject, &x->err);
    if (code == ERR_OK)
        code = subject_build(&subject, &o, &x->arena, &x->err);
    if (code == ERR_OK)
        code = search_rate(x, &subject, t);
    subject_done(&subject);
    stop_server(x);
    if (code == ERR_OK && is_stopped)
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
    if (x->trials[x->best].rate <= 0)
        return;
    buf_printf(out, "\n# %.0f requests a second hold p99 <= %g ms\n", x->trials[x->best].rate,
               (double)x->s.p99_ns / 1e6);
    put_model(&x->trials[x->best], x->model, out);
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
    const char *given = x->args->pos[0];
    char *full = strncmp(given, "builtin:", 8) == 0 ? strdup(given) : realpath(given, NULL);
    if (!full) {
        (void)err_sys(&x->err, ERR_NOT_FOUND, errno, "%s", given);
        return cli_fail(&x->err, EXIT_FAILED);
    }
    x->model = arena_cstr(&x->arena, str_c(full));
    free(full);
    if (try_all(x) != ERR_OK)
        return cli_fail(&x->err, EXIT_FAILED);
    struct buf out;
    buf_init(&out, CLI_OUTPUT_MAX);
    if (args_has(x->args, "json"))
        show_json(x, &out);
    else
        show_people(x, &out);
    int printed = cli_print(&out);
    return printed != EXIT_FINE || x->trials[x->best].rate > 0 ? printed : EXIT_FAILED;
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
        stop_server(x);
        (void)nftw(x->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS); /* what stays is in /tmp */
    } else {
        (void)err_sys(&x->err, ERR_IO, errno, "cannot make a folder in /tmp");
        code = cli_fail(&x->err, EXIT_FAILED);
    }
    arena_done(&x->arena);
    free(x);
    return code;
}
