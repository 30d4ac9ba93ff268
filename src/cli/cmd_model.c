/* quern model: what is known of a model, and what an operator does to it. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/config_explain.h"
#include "cli/model_show.h"

#define SHOW_ARENA_MAX ((size_t)256 << 20)

struct model {
    const struct args *args;
    struct arena arena;
    const char *name, *version; /* version NULL: all */
    struct err err;
};

/* NAME or NAME@VERSION. */
static bool read_name(struct model *m, const char *text)
{
    struct str version, name = str_cut(str_c(text), '@', &version);
    m->name = arena_cstr(&m->arena, name);
    m->version = version.n ? arena_cstr(&m->arena, version) : NULL;
    if (ask_is_name(m->name))
        return true;
    (void)err_set(&m->err, ERR_INVALID, "\"%.60s\" is no name of a model", text);
    return false;
}

/* ---- show ---- */

static enum err_code show_answer(struct model *m, struct str body, struct buf *out)
{
    struct json_reader *r = arena_new(&m->arena, struct json_reader);
    struct str key, raw;
    size_t shown = 0;
    json_init(r, body, LEAVES_DEPTH_MAX);
    json_object(r);
    while (json_key(r, &key)) {
        if (!str_eq_c(key, "models")) {
            json_skip(r, NULL);
            continue;
        }
        json_array(r);
        while (json_item(r)) {
            struct leaves f = {0};
            if (!json_skip(r, &raw) || leaves_read(raw, &m->arena, &f, &m->err) != ERR_OK)
                break;
            if (m->version && strcmp(m->version, leaf_text(&f, "status.version")) != 0)
                continue;
            buf_c(out, shown++ ? "\n----\n\n" : "");
            model_show(&f, &m->arena, out);
        }
    }
    if (m->err.code == ERR_OK && json_end(r) != ERR_OK)
        m->err = r->err;
    if (m->err.code == ERR_OK && shown == 0)
        return err_set(&m->err, ERR_NOT_FOUND, "no version %s of model '%s' is served", m->version, m->name);
    return m->err.code;
}

static int show_running(struct model *m)
{
    struct ask to;
    struct fetch_response r;
    struct buf out;
    if (ask_init(&to, m->args, &m->arena, &m->err) != ERR_OK)
        return cli_fail(&m->err, EXIT_USAGE);
    int code = ask(&to, "GET", arena_printf(&m->arena, "/api/models/%s", m->name).p, &r, &m->err);
    if (code == EXIT_NOT_RUNNING && !args_has(m->args, "url"))
        (void)running_remedy(
            &to.running, &m->err,
            arena_printf(&m->arena,
                         "name its data directory with --data DIR; or see what a configuration says of the "
                         "model: quern model show %.60s -c quern.yaml",
                         m->name)
                .p);
    if (code != EXIT_FINE)
        return cli_fail(&m->err, code);
    buf_init(&out, CLI_OUTPUT_MAX);
    if (args_has(m->args, "json"))
        buf_printf(&out, "%.*s\n", STR_F(buf_view(&r.body)));
    else if (show_answer(m, buf_view(&r.body), &out) != ERR_OK)
        code = cli_fail(&m->err, EXIT_FAILED);
    fetch_done(&r);
    if (code == EXIT_FINE)
        return cli_print(&out);
    buf_done(&out);
    return code;
}

static enum err_code show_configured(struct model *m, const struct config *c, const struct model_config *one,
                                     struct buf *out)
{
    struct buf text;
    struct json_writer w;
    struct leaves f;
    enum err_code code = ERR_OK;
    buf_init(&text, CLI_OUTPUT_MAX);
    jw_init(&w, &text);
    config_explain(c, one, &w);
    buf_pad(&text);
    if (args_has(m->args, "json")) {
        buf_printf(out, "%.*s\n", STR_F(buf_view(&text)));
    } else if ((code = leaves_read(buf_view(&text), &m->arena, &f, &m->err)) == ERR_OK) {
        buf_printf(out, "%s %s, as %s configures it:\n\n", one->name, one->version, c->file);
        model_show_settings(&f, &m->arena, out);
        buf_c(out,
              "\nKnown only when it runs: max_batch and instances where they are left open, what batches gain, "
              "learned costs,\nmemory, load time, cache hits, a canary's counts, latency. Ask the quern that runs: "
              "without -c.\n");
    }
    buf_done(&text);
    return code;
}

static int show_file(struct model *m, const char *file)
{
    struct config c;
    struct buf out;
    size_t shown = 0;
    if (config_load(&c, file, &m->err) != ERR_OK)
        return cli_fail(&m->err, EXIT_CONFIG);
    const struct model_config *models = c.models.items;
    buf_init(&out, CLI_OUTPUT_MAX);
    for (size_t i = 0; i < c.models.len && m->err.code == ERR_OK; i++) {
        if (strcmp(models[i].name, m->name) != 0 || (m->version && strcmp(models[i].version, m->version) != 0))
            continue;
        if (!args_has(m->args, "json"))
            buf_c(&out, shown ? "\n----\n\n" : "");
        shown++;
        (void)show_configured(m, &c, &models[i], &out); /* the code is in m->err */
    }
    config_done(&c);
    if (m->err.code == ERR_OK && shown == 0)
        (void)err_set(&m->err, ERR_NOT_FOUND, "%s has no model '%s'%s%s", file, m->name,
                      m->version ? " of version " : "", m->version ? m->version : "");
    if (m->err.code == ERR_OK)
        return cli_print(&out);
    buf_done(&out);
    return cli_fail(&m->err, EXIT_FAILED);
}

static int show(struct model *m)
{
    const char *file = args_get(m->args, "config");
    return file ? show_file(m, file) : show_running(m);
}

/* ---- what an operator does ---- */

#define ACT_TIMEOUT_NS                                                                                                 \
    (UINT64_C(3600) * NS_PER_S) /* a load answers when the model serves; its own load_timeout is at most that */

/* {"warning": "..."}: done, with something to know. */
static void show_warning(struct model *m, struct buf *body)
{
    struct json_reader *r = arena_new(&m->arena, struct json_reader);
    struct str key, text;
    if (body->len == 0)
        return;
    buf_pad(body);
    json_init(r, buf_view(body), 4);
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "warning") && json_string(r, &m->arena, &text))
            (void)fprintf(stderr, "%s: %.*s\n", m->name, STR_F(text));
        else
            json_skip(r, NULL);
    }
}

static int act(struct model *m, const char *path_before, const char *path_behind, const char *done)
{
    struct ask to;
    struct fetch_response r;
    if (m->version) {
        (void)err_set(&m->err, ERR_INVALID, "quern model: %s@%s: this is done to a model, not to one of its versions",
                      m->name, m->version);
        return cli_fail(&m->err, EXIT_USAGE);
    }
    if (ask_init(&to, m->args, &m->arena, &m->err) != ERR_OK)
        return cli_fail(&m->err, EXIT_USAGE);
    to.timeout_ns = ACT_TIMEOUT_NS;
    int code = ask(&to, "POST", arena_printf(&m->arena, "%s%s%s", path_before, m->name, path_behind).p, &r, &m->err);
    if (code != EXIT_FINE)
        return cli_fail(&m->err, code);
    show_warning(m, &r.body);
    fetch_done(&r);
    (void)printf("%s: %s\n", m->name, done);
    return EXIT_FINE;
}

static int rollback(struct model *m)
{
    return act(m, "/api/models/", "/rollback", "rolled back");
}

static int promote(struct model *m)
{
    return act(m, "/api/models/", "/promote", "the new version takes over");
}

static int load(struct model *m)
{
    return act(m, "/v2/repository/models/", "/load", "loaded");
}

static int unload(struct model *m)
{
    return act(m, "/v2/repository/models/", "/unload", "unloaded");
}

int cmd_model(const struct args *a, master_run_fn *run)
{
    static const struct {
        const char *verb;
        int (*run)(struct model *m);
    } verbs[] = {{"show", show}, {"promote", promote}, {"rollback", rollback}, {"load", load}, {"unload", unload}};
    (void)run;
    struct model m = {.args = a};
    int code = -1;
    arena_init(&m.arena, 65536, SHOW_ARENA_MAX);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(a->pos[0], verbs[i].verb) == 0 && a->pos_len == 2)
            code = read_name(&m, a->pos[1]) ? verbs[i].run(&m) : cli_fail(&m.err, EXIT_USAGE);
    if (code < 0) {
        (void)err_set(&m.err, ERR_INVALID, "quern model: expected show, promote, rollback, load or unload, and NAME");
        (void)err_remedy(&m.err, "see: quern model --help");
        code = cli_fail(&m.err, EXIT_USAGE);
    }
    arena_done(&m.arena);
    return code;
}
