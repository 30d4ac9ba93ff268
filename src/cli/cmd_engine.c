/* quern engine: what runs models of one kind. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "model/engine.h"

static int list_json(void)
{
    size_t len;
    const struct engine_info *engines = engine_list(&len);
    struct buf out;
    struct json_writer w;
    buf_init(&out, CLI_OUTPUT_MAX);
    jw_init(&w, &out);
    jw_array(&w);
    for (size_t i = 0; i < len; i++) {
        char path[PATH_MAX];
        struct err err = {0};
        bool is_found = engine_find(engines[i].name, NULL, path, sizeof path, &err) == ERR_OK;
        jw_object(&w);
        jw_kv_c(&w, "name", engines[i].name);
        jw_kv_c(&w, "version", engines[i].version);
        jw_kv_c(&w, "used_for", engines[i].used_for);
        jw_kv_bool(&w, "installed", is_found);
        if (is_found)
            jw_kv_c(&w, "path", path);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    buf_char(&out, '\n');
    return cli_print(&out);
}

static int list_people(void)
{
    static const char *const heads[] = {"ENGINE", "VERSION", "USED FOR", "INSTALLED"};
    size_t len;
    const struct engine_info *engines = engine_list(&len);
    struct arena a;
    struct table t;
    struct buf out;
    arena_init(&a, 4096, 1 << 20);
    buf_init(&out, CLI_OUTPUT_MAX);
    table_init(&t, &a, heads, ARRAY_LEN(heads), 0);
    for (size_t i = 0; i < len; i++) {
        char path[PATH_MAX];
        struct err err = {0};
        bool is_found = engine_find(engines[i].name, NULL, path, sizeof path, &err) == ERR_OK;
        const char *place = is_found ? arena_cstr(&a, str_c(path))
                                     : arena_printf(&a, "no; run: quern engine install %s", engines[i].name).p;
        table_row(&t, (const char *const[]){engines[i].name, engines[i].version, engines[i].used_for, place});
    }
    table_write(&t, "", &out);
    arena_done(&a);
    return cli_print(&out);
}

static bool is_engine(const char *name, struct err *err)
{
    const char *names[16] = {0};
    size_t len, n = 0;
    const struct engine_info *engines = engine_list(&len);
    for (size_t i = 0; i < len && n < ARRAY_LEN(names); i++) {
        if (strcmp(engines[i].name, name) == 0)
            return true;
        names[n++] = engines[i].name;
    }
    const char *near = settings_nearest(str_c(name), names, n);
    (void)err_set(err, ERR_INVALID, "there is no engine \"%.60s\"", name);
    (void)(near ? err_remedy(err, "did you mean %s?", near) : err_remedy(err, "known: see quern engine ls"));
    return false;
}

static int install(const char *name)
{
    struct err err = {0};
    if (engine_install(name, &err))
        return cli_fail(&err, EXIT_FAILED);
    return EXIT_FINE;
}

static int verify(const char *name)
{
    struct err err = {0};
    struct buf report;
    buf_init(&report, CLI_OUTPUT_MAX);
    enum err_code code = engine_verify(name, &report, &err);
    if (report.len && report.p[report.len - 1] != '\n')
        buf_char(&report, '\n');
    int printed = cli_print(&report);
    if (code)
        return cli_fail(&err, code == ERR_NOT_FOUND ? EXIT_ENGINE : EXIT_FAILED);
    return printed;
}

int cmd_engine(const struct args *a, master_run_fn *run)
{
    (void)run;
    struct err err = {0};
    const char *what = a->pos[0], *name = a->pos_len > 1 ? a->pos[1] : NULL;
    bool is_list = strcmp(what, "ls") == 0, is_install = strcmp(what, "install") == 0;
    if (is_list && !name)
        return args_has(a, "json") ? list_json() : list_people();
    if ((is_install || strcmp(what, "verify") == 0) && name) {
        if (!is_engine(name, &err))
            return cli_fail(&err, EXIT_USAGE);
        return is_install ? install(name) : verify(name);
    }
    (void)err_set(&err, ERR_INVALID, "quern engine: expected ls, install NAME or verify NAME");
    (void)err_remedy(&err, "see: quern engine --help");
    return cli_fail(&err, EXIT_USAGE);
}
