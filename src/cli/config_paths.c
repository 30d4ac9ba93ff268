#include "cli/config_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/log.h"
#include "base/map.h"
#include "model/backend.h"
#include "model/repo/repo.h"

#define REPOSITORIES_MAX 16
#define LEFT_OUT_MAX     16
#define SCRATCH_MAX      ((size_t)96 << 20) /* names and full paths of REPO_ENTRIES_MAX entries */

/* Models found on the command line, with what the user would call them in an error. */
struct found {
    struct config *c;
    struct err *err;
    const char *cwd;
    struct model_config *models;
    const char **origins;
    size_t len, given;                     /* given: those that the configuration names come first */
    struct map place_of;                   /* name -> its place in models, and one */
    const char *folders[REPOSITORIES_MAX]; /* of models */
    size_t folders_len;
    bool may_be_empty; /* a folder that somebody will put models into */
    const char *left_out[LEFT_OUT_MAX];
    size_t left_out_len;
};

/* The places of models that are there already. */
static void found_init(struct found *f)
{
    f->models = arena_array(&f->c->arena, struct model_config, CONFIG_MODELS_MAX);
    f->origins = arena_array(&f->c->arena, const char *, CONFIG_MODELS_MAX);
    map_init(&f->place_of, CONFIG_MODELS_MAX);
    if (f->len)
        memcpy(f->models, f->c->models.items, f->len * sizeof *f->models);
    for (size_t i = 0; i < f->len; i++)
        CHECK(map_put(&f->place_of, str_c(f->models[i].name), (void *)(i + 1)));
}

/* A model of the name is there: the configuration says more about it, or means another. */
static enum err_code meet(struct found *f, size_t i, const char *path, const char *origin)
{
    struct model_config *m = &f->models[i];
    bool is_given = i < f->given, is_taken = !is_given || f->origins[i];
    if (!is_taken && !m->path && !m->backend && m->ensemble.steps.len == 0) {
        m->path = arena_cstr(&f->c->arena, str_c(path));
        f->origins[i] = arena_cstr(&f->c->arena, str_c(origin));
    }
    if (!is_taken) {
        m->in_repository = true;
        return ERR_OK;
    }
    (void)err_set(f->err, ERR_CONFLICT, "two models have the name \"%s\": %s and %s", m->name, f->origins[i], origin);
    if (is_given)
        return err_remedy(f->err, "rename one, or say which: models: {%s: {path: FILE OR FOLDER}}", m->name);
    return err_remedy(f->err, "rename one, or name both in a quern.yaml: models: {one: FILE, two: FILE}");
}

static enum err_code add_model(struct found *f, struct str name, const char *path, const char *backend,
                               const char *version, const char *origin)
{
    size_t place = (size_t)map_get(&f->place_of, name);
    if (place)
        return meet(f, place - 1, path, origin);
    if (f->len == CONFIG_MODELS_MAX)
        return err_set(f->err, ERR_TOO_LARGE, "more than %d models", CONFIG_MODELS_MAX);
    struct arena *a = &f->c->arena;
    struct model_config *m = &f->models[f->len];
    settings_defaults(config_model_table, m, sizeof *m, a);
    m->name = arena_cstr(a, name);
    m->path = path ? arena_cstr(a, str_c(path)) : NULL;
    m->backend = backend;
    m->version = version;
    m->in_repository = true;
    f->origins[f->len++] = arena_cstr(a, str_c(origin));
    CHECK(map_put(&f->place_of, name, (void *)f->len));
    return ERR_OK;
}

/* "dir/iris.v2.onnx" is called "iris.v2". */
static struct str base_name(const char *path)
{
    struct str s = str_c(path);
    s = str_sub(s, (size_t)(str_rchr(s, '/') + 1), s.n);
    ptrdiff_t dot = str_rchr(s, '.');
    return dot > 0 ? str_sub(s, 0, (size_t)dot) : s;
}

static struct str folder_name(const char *path)
{
    struct str s = str_c(path);
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    return str_sub(s, (size_t)(str_rchr(s, '/') + 1), s.n);
}

static enum err_code add_builtin(struct found *f, const char *arg, const char *name)
{
    const struct backend *b = backend_by_name(str_c(name));
    if (!b || b->extensions[0]) {
        (void)err_set(f->err, ERR_INVALID, "there is no built-in model \"%.60s\"", name);
        return err_remedy(f->err, "known: builtin:identity, builtin:delay, builtin:repeat, builtin:crash");
    }
    return add_model(f, str_c(name), NULL, b->name, NULL, arg);
}

static enum err_code add_file(struct found *f, const char *path, const char *origin)
{
    const struct backend *b = backend_by_path(str_c(path));
    if (!b) {
        (void)err_set(f->err, ERR_INVALID, "%.200s: no backend reads files of this kind", origin);
        return err_remedy(f->err, "export the model to ONNX (.onnx) or TensorFlow Lite (.tflite)");
    }
    return add_model(f, base_name(path), path, b->name, NULL, origin);
}

/* For a terminal or a log: what controls it is not what a file is called. */
static const char *shown(struct arena *a, const char *entry)
{
    char *text = arena_cstr(a, str_c(entry));
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return text;
}

/* One file with a strange name must not keep the other models of a repository from being served. */
static bool leave_out(struct found *f, struct str name, const char *entry)
{
    struct arena *a = &f->c->arena;
    if (config_is_name(arena_cstr(a, name)))
        return false;
    if (f->left_out_len < LEFT_OUT_MAX)
        f->left_out[f->left_out_len++] =
            arena_printf(
                a, "%.300s is left out: a model's name has 1 to %d letters, digits, \".\", \"_\" and \"-\"; rename it",
                shown(a, entry), MODEL_NAME_MAX - 1)
                .p;
    return true;
}

static void keep_left_out(struct found *f)
{
    const char **texts = arena_array(&f->c->arena, const char *, f->left_out_len + 1);
    memcpy(texts, f->left_out, f->left_out_len * sizeof *texts);
    f->c->left_out = (struct setting_list){texts, f->left_out_len};
}

void config_log_left_out(const struct config *c)
{
    const char *const *texts = c->left_out.items;
    for (size_t i = 0; i < c->left_out.len; i++)
        LOG_WARN("something in a repository is no model", LOG_S("what", texts[i]));
}

/* A folder: a model's own (<version>/model.onnx), or a repository of model files and such folders. Other things in it are left
 * alone: a repository may hold notes and data. */
static enum err_code add_folder(struct found *f, const char *path, const char *origin)
{
    struct arena names_arena;
    const char **names = NULL;
    size_t len = 0, before = f->len;
    enum err_code code;
    if (repo_is_model(path))
        return add_model(f, folder_name(path), path, NULL, NULL, path);
    arena_init(&names_arena, 65536, SCRATCH_MAX);
    code = repo_list(path, &names_arena, &names, &len, f->err);
    for (size_t i = 0; !code && i < len; i++) {
        const char *entry = config_join(&names_arena, path, names[i]);
        bool is_folder = repo_is_dir(entry) && repo_is_model(entry);
        bool is_file = !is_folder && repo_is_file(entry) && backend_by_path(str_c(entry));
        if ((is_folder || is_file) && leave_out(f, is_folder ? str_c(names[i]) : base_name(entry), entry))
            continue;
        if (is_folder)
            code = add_model(f, str_c(names[i]), entry, NULL, NULL, entry);
        else if (is_file)
            code = add_file(f, entry, entry);
    }
    arena_done(&names_arena);
    if (!code && f->len == before && !f->may_be_empty) {
        (void)err_set(f->err, ERR_NOT_FOUND, "there is no model in the folder %.200s", origin);
        return err_remedy(f->err, "expected NAME.onnx, NAME.tflite or NAME/<version>/model.onnx in it");
    }
    return code;
}

static enum err_code add_path(struct found *f, const char *arg)
{
    static const char builtin[] = "builtin:";
    if (strncmp(arg, builtin, sizeof builtin - 1) == 0)
        return add_builtin(f, arg, arg + sizeof builtin - 1);
    const char *path = config_join(&f->c->arena, f->cwd, arg);
    struct stat st;
    if (stat(path, &st) < 0)
        return err_sys(f->err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "cannot read %.200s", arg);
    if (S_ISDIR(st.st_mode)) {
        bool is_repository = !repo_is_model(path);
        if (is_repository && f->folders_len == REPOSITORIES_MAX)
            return err_set(f->err, ERR_TOO_LARGE, "more than %d folders of models", REPOSITORIES_MAX);
        if (is_repository)
            f->folders[f->folders_len++] = path;
        return add_folder(f, path, arg);
    }
    if (S_ISREG(st.st_mode))
        return add_file(f, path, arg);
    return err_set(f->err, ERR_INVALID, "%.200s is neither a file nor a folder", arg);
}

/* "models/" is "models": what is in it has one name, in the log and for the watch. */
static const char *without_slash(struct arena *a, const char *path)
{
    struct str s = str_c(path);
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    return arena_cstr(a, s);
}

static enum err_code add_repository(struct found *f, const char *path, struct err *err)
{
    struct err why = {0};
    if (!repo_is_dir(path)) {
        (void)config_fail(f->c, err, "repository.path", "%.200s is not a folder", path);
        return err_remedy(err, "make it (it may be empty), or name another");
    }
    f->err = &why;
    if (add_folder(f, path, path) == ERR_OK)
        return ERR_OK;
    (void)config_fail(f->c, err, "repository.path", "%s", why.text);
    err->code = why.code;
    return why.remedy[0] ? err_remedy(err, "%s", why.remedy) : err->code;
}

enum err_code config_add_repositories(struct config *c, const char *base, struct err *err)
{
    struct found f = {.c = c, .len = c->models.len, .given = c->models.len, .may_be_empty = true};
    const char **paths = c->repository.paths.items;
    enum err_code code = ERR_OK;
    if (c->repository.paths.len == 0)
        return ERR_OK;
    found_init(&f);
    for (size_t i = 0; i < c->repository.paths.len && !code; i++) {
        paths[i] = without_slash(&c->arena, config_join(&c->arena, base, paths[i]));
        code = add_repository(&f, paths[i], err);
    }
    map_done(&f.place_of);
    if (code)
        return code;
    c->models = (struct setting_list){f.models, f.len};
    keep_left_out(&f);
    return ERR_OK;
}

static enum err_code from_paths(struct config *c, const char *const *paths, size_t paths_len, struct err *err)
{
    struct found f = {.c = c, .err = err};
    f.cwd = config_cwd(&c->arena, err);
    if (!f.cwd)
        return err->code;
    found_init(&f);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < paths_len && !code; i++)
        code = add_path(&f, paths[i]);
    map_done(&f.place_of);
    if (code)
        return code;
    c->models = (struct setting_list){f.models, f.len};
    const char **folders = arena_array(&c->arena, const char *, f.folders_len + 1);
    memcpy(folders, f.folders, f.folders_len * sizeof *folders);
    c->repository.paths = (struct setting_list){folders, f.folders_len};
    keep_left_out(&f);
    return config_finish(c, f.cwd, err);
}

enum err_code config_from_paths(struct config *c, const char *const *paths, size_t paths_len, struct err *err)
{
    struct config fresh;
    config_begin(&fresh);
    if (from_paths(&fresh, paths, paths_len, err)) {
        config_done(&fresh);
        return err->code;
    }
    *c = fresh;
    return ERR_OK;
}
