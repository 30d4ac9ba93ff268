/* quern tune: tries settings of a model on a private server, tells which of them serve the most within an objective, and with --write puts them into the
 * configuration. */
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "bench/point.h"
#include "bench/search.h"
#include "cli/commands.h"
#include "cli/config.h"
#include "cli/config_edit.h"
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
    const char *file;     /* the configuration; NULL: there is none */
    struct config config; /* of it */
    bool has_config, is_written;
    const struct model_config *known; /* the model in it; NULL: it is not there */
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

/* What the configuration says of the model beside what is tuned. */
static void put_known(const struct model_config *m, struct buf *out)
{
    struct json_writer w;
    const struct setting_text_pair *p = m->parameters.items;
    jw_init(&w, out);
    if (m->backend && m->path) {
        buf_c(out, "    backend: ");
        jw_c(&w, m->backend);
        buf_c(out, "\n");
    }
    if (m->parameters.len == 0)
        return;
    buf_c(out, "    parameters: ");
    jw_init(&w, out);
    jw_object(&w);
    for (size_t i = 0; i < m->parameters.len; i++)
        jw_kv_c(&w, p[i].name, p[i].value);
    jw_object_end(&w);
    buf_c(out, "\n");
}

static void put_model(const struct tune *x, const struct trial *t, struct buf *out)
{
    struct json_writer w; /* JSON's strings are YAML's */
    buf_c(out, "models:\n  tuned:\n    path: ");
    jw_init(&w, out);
    jw_c(&w, x->model);
    buf_c(out, "\n");
    if (x->known)
        put_known(x->known, out);
    buf_printf(out, "    instances: %d\n    threads: %d\n    max_batch: %d\n    batching: {delay: %lluus}\n",
               t->instances, t->threads, t->max_batch, (unsigned long long)t->delay_us);
}

static enum err_code start_server(struct tune *x, const struct trial *t)
{
    struct buf yaml;
    buf_init(&yaml, FILE_BYTES_MAX);
    buf_c(&yaml, "listen: 127.0.0.1:0\nlog: {level: error}\ndrain_timeout: 1s\n");
    put_model(x, t, &yaml);
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

/* ---- The configuration ---- */

static bool is_file_of(const struct model_config *m, const char *path)
{
    return (m->path && strcmp(m->path, path) == 0) || (m->origin && strcmp(m->origin, path) == 0);
}

/* By name, or by its file; two of one file are told apart by their names only. */
static enum err_code find_known(struct tune *x, const char *given, const char *path)
{
    const struct model_config *m = x->config.models.items;
    for (size_t i = 0; i < x->config.models.len; i++) {
        if (strcmp(m[i].name, given) == 0) {
            x->known = &m[i];
            return ERR_OK;
        }
        if (!path || !is_file_of(&m[i], path))
            continue;
        if (x->known && strcmp(x->known->name, m[i].name) != 0) {
            err_set(&x->err, ERR_INVALID, "%s: models %s and %s are of this file", x->file, x->known->name, m[i].name);
            return err_remedy(&x->err, "say the name of the one that you mean: quern tune %s", m[i].name);
        }
        x->known = &m[i];
    }
    return ERR_OK;
}

/* The configuration: -c, or quern.yaml where there is one. */
static enum err_code read_config(struct tune *x)
{
    const char *file = args_get(x->args, "config");
    if (!file && access("quern.yaml", R_OK) != 0)
        return ERR_OK;
    x->file = file ? file : "quern.yaml";
    x->has_config = config_load(&x->config, x->file, &x->err) == ERR_OK;
    return x->has_config ? ERR_OK : x->err.code;
}

static enum err_code find_model(struct tune *x)
{
    const char *given = x->args->pos[0];
    bool is_builtin = strncmp(given, "builtin:", 8) == 0;
    char *full = is_builtin ? strdup(given) : realpath(given, NULL);
    int why = errno;
    const char *path = full ? arena_cstr(&x->arena, str_c(full)) : NULL;
    free(full);
    if (read_config(x) || (x->has_config && find_known(x, given, is_builtin ? NULL : path)))
        return x->err.code;
    x->model = x->known && x->known->path ? x->known->path : path;
    if (x->known && !x->known->path && x->known->backend && x->known->ensemble.steps.len == 0)
        x->model = arena_printf(&x->arena, "builtin:%s", x->known->backend).p;
    if (!x->model && x->known)
        return err_set(&x->err, ERR_UNSUPPORTED, "%s has no file of its own", given);
    if (!x->model)
        return err_sys(&x->err, ERR_NOT_FOUND, why, "%s is no file, and no model of %s", given,
                       x->file ? x->file : "a configuration (there is no quern.yaml here, and no -c)");
    if (args_has(x->args, "write") && !x->known) {
        err_set(&x->err, ERR_NOT_FOUND, "%s: no model of %s", given, x->file ? x->file : "a configuration");
        return err_remedy(&x->err, "name the configuration with -c FILE, or leave out --write");
    }
    return ERR_OK;
}

#define CHANGES 4

/* Each is added before the one before it. */
static void best_changes(struct tune *x, struct config_change out[CHANGES])
{
    const struct trial *t = &x->trials[x->best];
    out[3] = (struct config_change){"instances", arena_printf(&x->arena, "%d", t->instances).p, false};
    out[2] = (struct config_change){"threads", arena_printf(&x->arena, "%d", t->threads).p, false};
    out[1] = (struct config_change){"max_batch", arena_printf(&x->arena, "%d", t->max_batch).p, t->max_batch == 0};
    out[0] = (struct config_change){
        "batching.delay", t->delay_us ? arena_printf(&x->arena, "%lluus", (unsigned long long)t->delay_us).p : "0",
        t->delay_us == 0};
}

/* The new text of the configuration. */
static enum err_code edit(struct tune *x, struct str *before, struct buf *after)
{
    struct config_change changes[CHANGES];
    if (file_read(x->config.file, SETTINGS_FILE_MAX, &x->arena, before, &x->err))
        return x->err.code;
    best_changes(x, changes);
    return config_edit(x->file, *before, x->known->name, changes, CHANGES, after, &x->err);
}

/* In place of the old one, with its mode. */
static enum err_code write_config(struct tune *x, struct str text)
{
    struct stat st;
    if (stat(x->config.file, &st) < 0)
        return err_sys(&x->err, ERR_IO, errno, "%s", x->file);
    if (file_replace(x->config.file, text, true, &x->err))
        return x->err.code;
    if (chmod(x->config.file, st.st_mode & 07777) < 0 ||
        (geteuid() == 0 && chown(x->config.file, st.st_uid, st.st_gid) < 0))
        return err_sys(&x->err, ERR_IO, errno, "%s: its owner and mode", x->file);
    return ERR_OK;
}

/* Whole lines that differ, between what both texts begin and end with. */
static void show_lines(struct str text, const char *sign, size_t from, size_t to, struct buf *out)
{
    struct str rest = str_sub(text, from, to - from);
    while (rest.n > 0) {
        struct str line = str_cut(rest, '\n', &rest);
        buf_printf(out, "%s%.*s\n", sign, STR_F(line));
    }
}

static void show_difference(struct str a, struct str b, struct buf *out)
{
    size_t head = 0, line = 0, tail = 0, tail_line = 0;
    for (; head < a.n && head < b.n && a.p[head] == b.p[head]; head++)
        line = a.p[head] == '\n' ? head + 1 : line;
    for (; tail < a.n - line && tail < b.n - line && a.p[a.n - 1 - tail] == b.p[b.n - 1 - tail]; tail++)
        tail_line = a.p[a.n - 1 - tail] == '\n' ? tail : tail_line;
    bool all_of_a = tail == a.n - line && (tail == b.n - line || b.p[b.n - 1 - tail] == '\n');
    bool all_of_b = tail == b.n - line && (tail == a.n - line || a.p[a.n - 1 - tail] == '\n');
    tail_line = all_of_a || all_of_b ? tail : tail_line;
    show_lines(a, "-", line, a.n - tail_line, out);
    show_lines(b, "+", line, b.n - tail_line, out);
}

/* What stands in the configuration now, or would with --write. False: it could not be written. */
static bool change_config(struct tune *x, struct buf *out)
{
    struct buf after;
    struct str before;
    buf_init(&after, 2 * SETTINGS_FILE_MAX);
    enum err_code code = edit(x, &before, &after);
    if (code == ERR_OK && args_has(x->args, "write")) {
        code = write_config(x, buf_view(&after));
        x->is_written = code == ERR_OK;
    }
    if (code == ERR_OK && !str_eq(before, buf_view(&after))) {
        buf_printf(out, x->is_written ? "\n# written to %s:\n" : "\n# --write would change %s:\n", x->file);
        show_difference(before, buf_view(&after), out);
        if (x->is_written)
            buf_c(out,
                  "# A quern that runs takes it over when it is told to reload: kill -HUP, or POST /api/reload.\n");
    } else if (code == ERR_OK) {
        buf_printf(out, "\n# %s says so already\n", x->file);
    }
    buf_done(&after);
    return code == ERR_OK;
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
    if (x->trials[x->best].rate <= 0)
        return;
    buf_printf(out, "\n# %.0f requests a second hold p99 <= %g ms\n", x->trials[x->best].rate,
               (double)x->s.p99_ns / 1e6);
    if (!x->known)
        put_model(x, &x->trials[x->best], out);
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
    if (find_model(x))
        return cli_fail(&x->err, EXIT_FAILED);
    if (try_all(x) != ERR_OK)
        return cli_fail(&x->err, EXIT_FAILED);
    struct buf out, changed;
    buf_init(&out, CLI_OUTPUT_MAX);
    buf_init(&changed, CLI_OUTPUT_MAX);
    bool holds = x->trials[x->best].rate > 0;
    bool is_fine = !holds || !x->known || change_config(x, &changed);
    if (args_has(x->args, "json")) {
        show_json(x, &out);
    } else {
        show_people(x, &out);
        buf_str(&out, buf_view(&changed));
        if (!is_fine)
            put_model(x, &x->trials[x->best], &out); /* to be copied by hand */
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
        stop_server(x);
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
