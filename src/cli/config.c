#include "cli/config_int.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/backend.h"

/* A file of 1 MiB and 1000 models with paths of 4 KiB fit several times. */
#define CONFIG_ARENA_MAX ((size_t)256 << 20)

void config_begin(struct config *c)
{
    *c = (struct config){0};
    arena_init(&c->arena, 16384, CONFIG_ARENA_MAX);
    settings_defaults(config_table, c, sizeof *c, &c->arena);
}

void config_done(struct config *c)
{
    arena_done(&c->arena);
    *c = (struct config){0};
}

const char *config_join(struct arena *a, const char *base, const char *path)
{
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    if (path[0] == '/')
        return arena_cstr(a, str_c(path));
    return arena_printf(a, "%s%s%s", base, strcmp(base, "/") == 0 ? "" : "/", path).p;
}

const char *config_cwd(struct arena *a, struct err *err)
{
    char cwd[PATH_MAX];
    if (getcwd(cwd, sizeof cwd))
        return arena_cstr(a, str_c(cwd));
    (void)err_sys(err, ERR_IO, errno, "cannot tell the current folder");
    return NULL;
}

const char *config_data_default(struct arena *a)
{
    const char *data = getenv("QUERN_DATA"), *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    char cwd[PATH_MAX];
    if (data && data[0])
        return config_join(a, getcwd(cwd, sizeof cwd) ? cwd : "/", data);
    if (xdg && xdg[0] == '/') /* the XDG specification: relative ones are to be ignored */
        return config_join(a, xdg, "quern");
    if (home && home[0] == '/')
        return config_join(a, home, ".local/share/quern");
    return "/var/lib/quern";
}

static enum err_code take_builtin(struct config *c, struct model_config *m, const char *name, struct err *err)
{
    if (m->backend && strcmp(m->backend, name) != 0) {
        const char *path = arena_printf(&c->arena, "models.%s.backend", m->name).p;
        return config_fail(c, err, path, "\"%s\" contradicts the path builtin:%s", m->backend, name);
    }
    m->backend = name;
    m->path = NULL;
    return ERR_OK;
}

static enum err_code finish_model(struct config *c, struct model_config *m, const char *base, struct model_config *out,
                                  size_t *len, struct err *err)
{
    static const char builtin[] = "builtin:";
    const struct setting_pair *classes = c->classes.items;
    if (m->path && strncmp(m->path, builtin, sizeof builtin - 1) == 0) {
        if (take_builtin(c, m, m->path + sizeof builtin - 1, err))
            return err->code;
    } else if (m->path) {
        m->path = m->origin = config_join(&c->arena, base, m->path);
    }
    if (m->ensemble.steps.len)
        m->isolation = ISOLATION_INLINE; /* no process of its own */
    if (!m->class_name && c->classes.len)
        m->class_name = classes[0].name;
    return config_expand(c, m, out, len, err);
}

/* What the expansion left open. */
static void finish_version(struct model_config *m)
{
    if (!m->backend && !m->path && m->ensemble.steps.len)
        m->backend = "ensemble";
    if (!m->backend && m->path) {
        const struct backend *b = backend_by_path(str_c(m->path));
        m->backend = b ? b->name : NULL;
    }
    if (!m->version)
        m->version = "1";
}

static bool is_given(const struct config *c, const struct model_config *m, const char *key)
{
    char path[400];
    (void)snprintf(path, sizeof path, "models.%.200s.%s", m->name, key);
    const struct setting_place *at = settings_place(&c->places, path);
    return at && str_eq_c(at->path, path);
}

/* What `repository` says of all its models. */
static void take_load(const struct config *c, struct model_config *m)
{
    bool is_process = m->isolation == ISOLATION_PROCESS && m->ensemble.steps.len == 0 && !m->problem;
    if (!c->repository.is_on_demand || !m->in_repository || !is_process || is_given(c, m, "load"))
        return;
    m->load = LOAD_ON_DEMAND;
    m->is_load_by_repository = true;
    if (!is_given(c, m, "unload_after"))
        m->unload_after_ns = c->repository.unload_after_ns;
}

/* warmup/ in the model's folder; beside the file of a model that has no folder. */
static void find_warm_up(struct config *c, struct model_config *m)
{
    if (m->warm_up.len == 0 || !m->path || !m->origin)
        return;
    struct str folder = str_c(m->origin);
    if (strcmp(m->path, m->origin) == 0)
        folder = str_sub(folder, 0, (size_t)str_rchr(folder, '/'));
    m->warm_up_folder = arena_printf(&c->arena, "%.*s/warmup", STR_F(folder)).p;
}

enum err_code config_finish(struct config *c, const char *base, struct err *err)
{
    if (config_add_repositories(c, base, err))
        return err->code;
    config_take_overrides(c);
    struct model_config *given = c->models.items;
    struct model_config *served = arena_array(&c->arena, struct model_config, CONFIG_MODELS_MAX);
    size_t len = 0;
    for (size_t i = 0; i < c->models.len; i++)
        if (finish_model(c, &given[i], base, served, &len, err))
            return err->code;
    for (size_t i = 0; i < len; i++) {
        finish_version(&served[i]);
        take_load(c, &served[i]);
        find_warm_up(c, &served[i]);
    }
    c->models_given = c->models;
    c->models = (struct setting_list){served, len};
    if (config_check_found_ensembles(c, err))
        return err->code;
    c->data = c->data ? config_join(&c->arena, base, c->data) : config_data_default(&c->arena);
    return config_check(c, err);
}

static enum err_code load(struct config *c, const char *file, struct err *err)
{
    char real[PATH_MAX];
    if (!realpath(file, real)) {
        int why = errno;
        (void)err_sys(err, why == ENOENT ? ERR_NOT_FOUND : ERR_IO, why, "cannot read %s", file);
        return err_remedy(err, "name an existing file with -c FILE; examples are in docs/reference.md");
    }
    if (backend_by_path(str_c(file))) {
        (void)err_set(err, ERR_INVALID, "%s is a model, not a configuration", file);
        return err_remedy(err, "serve it: quern serve %s", file);
    }
    c->file_given = arena_cstr(&c->arena, str_c(file));
    c->file = arena_cstr(&c->arena, str_c(real));
    if (settings_load_places(file, config_table, c, sizeof *c, &c->arena, &c->places, err))
        return err->code;
    *strrchr(real, '/') = '\0';
    return config_finish(c, real[0] ? real : "/", err);
}

enum err_code config_load(struct config *c, const char *file, struct err *err)
{
    struct config fresh;
    config_begin(&fresh);
    if (load(&fresh, file, err)) {
        config_done(&fresh);
        return err->code;
    }
    *c = fresh;
    return ERR_OK;
}

static enum err_code set_models(struct config *c, const char *key, const char *value, const char *where,
                                struct err *err)
{
    struct model_config *models = c->models.items;
    for (size_t i = 0; i < c->models.len; i++)
        if (settings_set(config_model_table, &models[i], key, str_c(value), where, &c->arena, err))
            return err->code;
    return ERR_OK;
}

/* So that it can be told that the command line said so: a place without a line. */
static void note_set(struct config *c, const char *key)
{
    settings_place_add(&c->places, key, &c->arena);
}

enum err_code config_set(struct config *c, const char *key, const char *value, const char *where, struct err *err)
{
    static const char models[] = "models.*.";
    note_set(c, key);
    if (strncmp(key, models, sizeof models - 1) == 0)
        return set_models(c, key + sizeof models - 1, value, where, err);
    if (settings_set(config_table, c, key, str_c(value), where, &c->arena, err))
        return err->code;
    if (strcmp(key, "data") == 0) {
        const char *cwd = config_cwd(&c->arena, err);
        if (!cwd)
            return err->code;
        c->data = config_join(&c->arena, cwd, c->data);
    }
    return ERR_OK;
}
