/* quern check: reads a configuration as `up` does and explains it. */
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/engines.h"
#include "cli/table.h"
#include "model/engine.h"

static uint64_t file_bytes(const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Path of the engine that the model needs; "" when it needs none, NULL when it is missing. */
static const char *engine_of(struct arena *a, const struct model_config *m)
{
    const struct engine_need *n = engine_needed(m->backend);
    char path[PATH_MAX];
    struct err err = {0};
    if (!n)
        return "";
    return engine_find(n->engine, NULL, path, sizeof path, &err) ? NULL : arena_cstr(a, str_c(path));
}

static void models_people(const struct config *c, struct arena *a, struct buf *out)
{
    static const char *const heads[] = {"MODEL", "VERSION", "BACKEND", "ISOLATION", "INSTANCES", "SIZE", "FILE"};
    static const char *const isolations[] = {"process", "inline"};
    const struct model_config *models = c->models.items;
    struct table t;
    if (c->models.len == 0) {
        buf_c(out, "\nNo models: add some under models.\n");
        return;
    }
    table_init(&t, a, heads, ARRAY_LEN(heads), 1U << 4 | 1U << 5);
    for (size_t i = 0; i < c->models.len; i++) {
        const struct model_config *m = &models[i];
        const char *instances = m->isolation == ISOLATION_INLINE ? NULL
                                : m->instances == 0              ? "auto"
                                                                 : arena_printf(a, "%lld", (long long)m->instances).p;
        const char *size = m->path ? table_bytes(a, file_bytes(m->path)) : NULL;
        table_row(&t, (const char *const[]){m->name, m->version, m->backend, isolations[m->isolation], instances, size,
                                            m->path ? m->path : "built in"});
    }
    buf_c(out, "\n");
    table_write(&t, "", out);
}

static void engines_people(const struct config *c, struct arena *a, struct buf *out)
{
    const struct model_config *models = c->models.items;
    const struct engine_need *told[8] = {0};
    size_t told_len = 0;
    for (size_t i = 0; i < c->models.len && told_len < ARRAY_LEN(told); i++) {
        const struct engine_need *n = engine_needed(models[i].backend);
        bool is_told = !n;
        for (size_t k = 0; k < told_len; k++)
            is_told = is_told || told[k] == n;
        if (is_told)
            continue;
        told[told_len++] = n;
        const char *path = engine_of(a, &models[i]);
        char missing[160];
        engine_missing_text(n, missing, sizeof missing);
        if (path)
            buf_printf(out, "\nEngine for backend %s: %s, %s\n", models[i].backend, n->title, path);
        else
            buf_printf(out, "\nEngine for backend %s: %s\n", models[i].backend, missing);
    }
}

/* What stands in a config.pbtxt and has no effect, and the models of a repository that cannot be served. */
static void notes_people(const struct config *c, struct buf *out)
{
    const struct model_config *models = c->models.items;
    const char *const *left_out = c->left_out.items;
    for (size_t i = 0; i < c->left_out.len; i++)
        buf_printf(out, "\n%s\n", left_out[i]);
    for (size_t i = 0; i < c->models.len; i++) {
        const char *const *notes = models[i].notes.items;
        bool is_told = i > 0 && models[i].notes.items == models[i - 1].notes.items; /* another version of the same */
        for (size_t k = 0; k < models[i].notes.len && !is_told; k++)
            buf_printf(out, "%s%s: config.pbtxt: %s has no effect here\n", k ? "" : "\n", models[i].name, notes[k]);
        if (models[i].problem)
            buf_printf(out, "\n%s cannot be served: %s\n", models[i].name, models[i].problem);
    }
}

static void check_people(const struct config *c, const char *file, struct arena *a, struct buf *out)
{
    struct config given = *c;
    given.models = c->models_given; /* one entry for all versions, as a file would say it */
    buf_printf(out, "# %s is valid. Settings in force:\n", file);
    settings_dump(config_table, &given, &c->places, out);
    models_people(c, a, out);
    if (c->models.len == 0)
        buf_c(out, "\nIt names no model: every request for one would be answered 404. Write: models: {NAME: FILE}\n");
    engines_people(c, a, out);
    notes_people(c, out);
}

static void check_json(const struct config *c, struct arena *a, struct json_writer *w)
{
    const struct model_config *models = c->models.items;
    jw_kv_bool(w, "valid", true);
    jw_kv_c(w, "file", c->file);
    jw_kv_c(w, "data", c->data);
    jw_key(w, "models");
    jw_array(w);
    for (size_t i = 0; i < c->models.len; i++) {
        const char *engine = engine_of(a, &models[i]);
        jw_object(w);
        jw_kv_c(w, "name", models[i].name);
        jw_kv_c(w, "version", models[i].version);
        jw_kv_c(w, "backend", models[i].backend);
        jw_kv_c(w, "isolation", models[i].isolation == ISOLATION_INLINE ? "inline" : "process");
        if (models[i].instances > 0)
            jw_kv_i64(w, "instances", models[i].instances);
        else
            jw_kv_c(w, "instances", "auto");
        if (models[i].path) {
            jw_kv_c(w, "path", models[i].path);
            jw_kv_u64(w, "bytes", file_bytes(models[i].path));
        }
        jw_key(w, "unused_fields");
        jw_array(w);
        for (size_t k = 0; k < models[i].notes.len; k++)
            jw_c(w, ((const char *const *)models[i].notes.items)[k]);
        jw_array_end(w);
        if (models[i].problem)
            jw_kv_c(w, "problem", models[i].problem);
        jw_kv_bool(w, "engine_installed", engine != NULL);
        if (engine && engine[0])
            jw_kv_c(w, "engine", engine);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_key(w, "left_out");
    jw_array(w);
    for (size_t i = 0; i < c->left_out.len; i++)
        jw_c(w, ((const char *const *)c->left_out.items)[i]);
    jw_array_end(w);
}

static int explain(const struct args *args, const struct config *c, const char *file)
{
    struct arena a;
    struct buf out;
    arena_init(&a, 65536, (size_t)64 << 20);
    buf_init(&out, CLI_OUTPUT_MAX);
    if (args_has(args, "json")) {
        struct json_writer w;
        jw_init(&w, &out);
        jw_object(&w);
        check_json(c, &a, &w);
        jw_object_end(&w);
        buf_char(&out, '\n');
    } else {
        check_people(c, file, &a, &out);
    }
    arena_done(&a);
    return cli_print(&out);
}

static int refuse(const struct args *args, const struct err *err)
{
    struct buf out;
    struct json_writer w;
    if (!args_has(args, "json"))
        return cli_fail(err, EXIT_CONFIG);
    buf_init(&out, CLI_OUTPUT_MAX);
    jw_init(&w, &out);
    jw_object(&w);
    jw_kv_bool(&w, "valid", false);
    jw_kv_c(&w, "error", err->text);
    if (err->remedy[0])
        jw_kv_c(&w, "remedy", err->remedy);
    jw_object_end(&w);
    buf_char(&out, '\n');
    (void)cli_print(&out);
    return EXIT_CONFIG;
}

static bool has_problem(const struct config *c)
{
    const struct model_config *models = c->models.items;
    for (size_t i = 0; i < c->models.len; i++)
        if (models[i].problem)
            return true;
    return false;
}

int cmd_check(const struct args *args, master_run_fn *run)
{
    (void)run;
    struct config c;
    struct err err = {0};
    const char *file = cli_config_file(args, &err);
    if (!file)
        return cli_fail(&err, EXIT_USAGE);
    if (config_load(&c, file, &err))
        return refuse(args, &err);
    config_check_tensors(&c);
    int code = explain(args, &c, file);
    if (code == EXIT_FINE && has_problem(&c))
        code = EXIT_CONFIG;
    config_done(&c);
    return code;
}
