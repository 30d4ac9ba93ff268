#include "cli/tune_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/config_edit.h"
#include "sys/fd.h"

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

/* Its steps are requests to its members, and what can be set is theirs. */
static enum err_code refuse_ensemble(struct tune *x, const char *given)
{
    const struct ensemble_step_config *steps = x->known->ensemble.steps.items;
    const char *names = "";
    for (size_t i = 0; i < x->known->ensemble.steps.len; i++)
        names = arena_printf(&x->arena, "%s%s%s", names, i ? ", " : "", steps[i].model).p;
    (void)err_set(&x->err, ERR_UNSUPPORTED, "%s is an ensemble: it runs nothing itself", given);
    return err_remedy(&x->err, "tune its members: %s", names);
}

enum err_code tune_find_model(struct tune *x)
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
        return refuse_ensemble(x, given);
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

bool tune_change_config(struct tune *x, struct buf *out)
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
            buf_c(out, "# A quern that runs takes it over when it is told to: quern reload.\n");
    } else if (code == ERR_OK) {
        buf_printf(out, "\n# %s says so already\n", x->file);
    }
    buf_done(&after);
    return code == ERR_OK;
}
