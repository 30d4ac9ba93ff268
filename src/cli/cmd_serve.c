/* quern serve and quern up: from the command line to a configuration, and on to the master. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/config_int.h"
#include "cli/engines.h"
#include "model/engine.h"

struct build {
    const struct args *args;
    bool is_serve;
    const char *file;             /* `up` */
    bool is_usage;                /* the last failure was in the command line, not in a file */
    const struct config *running; /* once started: what a reload is compared with */
};

/* --listen A --listen B: together they replace the list. */
static enum err_code set_listen(struct config *c, const struct args *a, struct err *err)
{
    struct buf all;
    buf_init(&all, 65536);
    for (size_t i = 0; i < a->hits_len; i++)
        if (strcmp(a->hits[i].option->name, "listen") == 0)
            buf_printf(&all, "%s%s", all.len ? "," : "", a->hits[i].value);
    buf_char(&all, '\0');
    enum err_code code = all.failed    ? err_set(err, ERR_TOO_LARGE, "--listen: too much text")
                         : all.len > 1 ? config_set(c, "listen", all.p, "--listen", err)
                                       : ERR_OK;
    buf_done(&all);
    return code;
}

static enum err_code set_options(struct config *c, const struct args *a, struct err *err)
{
    for (size_t i = 0; i < a->hits_len; i++) {
        const struct arg_option *o = a->hits[i].option;
        char where[64];
        (void)snprintf(where, sizeof where, "--%s", o->name);
        if (!o->key || strcmp(o->name, "listen") == 0)
            continue;
        if (config_set(c, o->key, a->hits[i].value, where, err))
            return err->code;
    }
    return set_listen(c, a, err);
}

static bool same_listen(const struct config *a, const struct config *b)
{
    const char *const *xs = a->listen.items, *const *ys = b->listen.items;
    bool is_same = a->listen.len == b->listen.len;
    for (size_t i = 0; is_same && i < a->listen.len; i++)
        is_same = strcmp(xs[i], ys[i]) == 0;
    return is_same;
}

/* What a running quern holds on to, and the new configuration says otherwise; NULL: nothing. */
static const char *held_key(const struct config *now, const struct config *next)
{
    if (!same_listen(now, next))
        return "listen";
    if (strcmp(now->data, next->data) != 0)
        return "data";
    if ((now->base_path != NULL) != (next->base_path != NULL) ||
        (now->base_path && strcmp(now->base_path, next->base_path) != 0))
        return "base_path";
    if (now->allow_client_shm != next->allow_client_shm)
        return "allow_client_shm";
    if (now->threads != next->threads)
        return "threads";
    if (now->drain_timeout_ns != next->drain_timeout_ns)
        return "drain_timeout";
    if (memcmp(&now->http, &next->http, sizeof now->http) != 0)
        return "http";
    if (now->log.level != next->log.level || now->log.format != next->log.format || now->log.access != next->log.access)
        return "log";
    return NULL;
}

/* Refused, so that the file never says one thing while the process does another. */
static enum err_code check_reload(const struct config *now, const struct config *next, struct err *err)
{
    const char *key = held_key(now, next);
    if (!key)
        return ERR_OK;
    (void)config_fail(next, err, key, "%s", "cannot change while quern runs");
    return err_remedy(err, "change it back and reload, or start quern anew; models and classes may change");
}

static bool says(const struct config *c, const char *key)
{
    const struct setting_place *at = settings_place(&c->places, key);
    return at && str_eq_c(at->path, key);
}

/* A file that a full disk has emptied, or that is half written, is valid YAML all too often. Whoever wants nothing served says so. */
static enum err_code check_whole(const struct config *next, struct err *err)
{
    if (!next->file || next->models.len > 0 || says(next, "models") || says(next, "repository"))
        return ERR_OK;
    (void)err_set(err, ERR_INVALID, "%s says nothing of models: is it empty, or half written?", next->file);
    return err_remedy(err, "write the file whole and reload; if nothing is to be served, write models: {}");
}

/* The same at the start and at each reload. */
static enum err_code build_config(struct config *out, void *arg, struct err *err)
{
    struct build *b = arg;
    struct config c;
    b->is_usage = false;
    enum err_code code =
        b->is_serve ? config_from_paths(&c, b->args->pos, b->args->pos_len, err) : config_load(&c, b->file, err);
    if (code)
        return code;
    code = set_options(&c, b->args, err);
    b->is_usage = code != ERR_OK;
    if (!code)
        code = config_check(&c, err);
    b->is_usage = b->is_usage || (code != ERR_OK && b->is_serve && !b->running);
    if (!code && b->running)
        code = check_reload(b->running, &c, err);
    if (!code && b->running)
        code = check_whole(&c, err);
    if (code) {
        config_done(&c);
        return code;
    }
    *out = c;
    return ERR_OK;
}

/* A person is there: ask. Only a clear yes, or just Enter, is one. */
static bool is_wanted(void)
{
    char answer[16] = "";
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    (void)fputs("Do it now? [Y/n] ", stderr);
    if (!fgets(answer, sizeof answer, stdin))
        return false;
    return answer[0] == '\n' || answer[0] == 'y' || answer[0] == 'Y';
}

static int require_engines(const struct config *c)
{
    for (;;) {
        const struct engine_need *n = engine_missing(c);
        char text[160];
        struct err err = {0};
        if (!n)
            return EXIT_FINE;
        engine_missing_text(n, text, sizeof text);
        (void)fprintf(stderr, "quern: %s\n", text);
        if (!is_wanted())
            return EXIT_ENGINE;
        if (engine_install(n->engine, &err))
            return cli_fail(&err, EXIT_ENGINE);
    }
}

/* `up`: a missing engine hurts the models that need it, the rest of the platform runs. */
static void warn_engines(const struct config *c)
{
    const struct engine_need *n = engine_missing(c);
    char text[160];
    if (!n)
        return;
    engine_missing_text(n, text, sizeof text);
    LOG_WARN("an engine is not installed", LOG_S("engine", n->engine), LOG_S("remedy", text));
}

static int start(struct build *b, master_run_fn *run)
{
    struct config c;
    struct err err = {0};
    if (build_config(&c, b, &err))
        return cli_fail(&err, b->is_usage ? EXIT_USAGE : EXIT_CONFIG);
    log_init("master", (enum log_level)c.log.level, (enum log_format)c.log.format, STDERR_FILENO);
    int code = b->is_serve ? require_engines(&c) : EXIT_FINE;
    if (!b->is_serve)
        warn_engines(&c);
    struct master_options o = {
        .config_file = c.file,
        .is_serve = b->is_serve,
        .exe = "/proc/self/exe", /* this very file, also when an upgrade has replaced it on disk meanwhile */
        .reload = build_config,
        .reload_arg = b,
    };
    b->running = &c;
    if (code == EXIT_FINE)
        code = run(&c, &o);
    b->running = NULL;
    config_done(&c);
    return code;
}

int cmd_serve(const struct args *a, master_run_fn *run)
{
    struct build b = {.args = a, .is_serve = true};
    return start(&b, run);
}

int cmd_up(const struct args *a, master_run_fn *run)
{
    struct err err = {0};
    struct build b = {.args = a, .file = cli_config_file(a, &err)};
    if (!b.file)
        return cli_fail(&err, EXIT_USAGE);
    return start(&b, run);
}
