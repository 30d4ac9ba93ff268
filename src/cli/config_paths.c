#include "cli/config_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/backend.h"

#define ENTRIES_MAX 10000              /* of one folder */
#define SCRATCH_MAX ((size_t)96 << 20) /* names and full paths of as many entries */

/* Models found on the command line, with what the user would call them in an error. */
struct found {
    struct config *c;
    struct err *err;
    const char *cwd;
    struct model_config *models;
    const char **origins;
    size_t len;
};

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names in a folder, sorted, without hidden ones. */
static enum err_code list_dir(struct arena *a, const char *path, const char ***out, size_t *out_len, struct err *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return err_sys(err, errno == ENOTDIR ? ERR_INVALID : ERR_IO, errno, "cannot read the folder %s", path);
    const char **names = arena_array(a, const char *, ENTRIES_MAX);
    size_t len = 0;
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        if (len == ENTRIES_MAX) {
            (void)closedir(dir);
            return err_set(err, ERR_TOO_LARGE, "%s has more than %d entries", path, ENTRIES_MAX);
        }
        names[len++] = arena_cstr(a, str_c(e->d_name));
    }
    (void)closedir(dir);
    qsort(names, len, sizeof *names, compare_names);
    *out = names;
    *out_len = len;
    return ERR_OK;
}

/* model.onnx in a version's folder: "model" with the extension of a backend. NULL: none. */
static const char *model_file(struct arena *a, const char *dir, const char *version)
{
    char names[256];
    (void)snprintf(names, sizeof names, "%s", backend_names());
    struct str rest = str_c(names);
    while (rest.n) {
        const struct backend *b = backend_by_name(str_trim(str_cut(rest, ',', &rest)));
        for (size_t i = 0; b && b->extensions[i]; i++) {
            const char *path = arena_printf(a, "%s/%s/model%s", dir, version, b->extensions[i]).p;
            if (is_file(path))
                return path;
        }
    }
    return NULL;
}

enum err_code config_version_file(struct arena *a, const char *dir, const char *wanted, const char **out_file,
                                  const char **out_version, struct err *err)
{
    struct arena names_arena;
    const char **names, *best = NULL;
    size_t len;
    uint64_t best_number = 0;
    arena_init(&names_arena, 65536, SCRATCH_MAX);
    if (!is_dir(dir))
        (void)err_set(err, ERR_INVALID, "%s is not a folder", dir);
    else if (!list_dir(&names_arena, dir, &names, &len, err)) {
        for (size_t i = 0; i < len; i++) {
            uint64_t number;
            bool is_version = str_to_u64(str_c(names[i]), &number) && (!wanted || strcmp(names[i], wanted) == 0);
            if (!is_version || (best && number <= best_number) || !model_file(&names_arena, dir, names[i]))
                continue;
            best = names[i];
            best_number = number;
        }
        if (best) {
            *out_file = model_file(a, dir, best);
            *out_version = arena_cstr(a, str_c(best));
            err->code = ERR_OK;
        } else if (wanted) {
            (void)err_set(err, ERR_NOT_FOUND, "the folder %s has no %s/model.onnx", dir, wanted);
        } else {
            (void)err_set(err, ERR_NOT_FOUND, "the folder %s has no model file: expected <version>/model.onnx", dir);
        }
    }
    arena_done(&names_arena);
    return err->code;
}

static enum err_code add_model(struct found *f, struct str name, const char *path, const char *backend,
                               const char *version, const char *origin)
{
    for (size_t i = 0; i < f->len; i++) {
        if (!str_eq_c(name, f->models[i].name))
            continue;
        (void)err_set(f->err, ERR_CONFLICT, "two models have the name \"%s\": %s and %s", f->models[i].name,
                      f->origins[i], origin);
        return err_remedy(f->err, "rename one, or name both in a quern.yaml: models: {one: FILE, two: FILE}");
    }
    if (f->len == CONFIG_MODELS_MAX)
        return err_set(f->err, ERR_TOO_LARGE, "more than %d models", CONFIG_MODELS_MAX);
    struct arena *a = &f->c->arena;
    struct model_config *m = &f->models[f->len];
    settings_defaults(config_model_table, m, sizeof *m, a);
    m->name = arena_cstr(a, name);
    m->path = path ? arena_cstr(a, str_c(path)) : NULL;
    m->backend = backend;
    m->version = version;
    f->origins[f->len++] = arena_cstr(a, str_c(origin));
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
        return err_remedy(f->err, "export the model to ONNX (.onnx)");
    }
    return add_model(f, base_name(path), path, b->name, NULL, origin);
}

static enum err_code add_version_folder(struct found *f, struct str name, const char *path)
{
    const char *file, *version;
    struct err none;
    enum err_code code = config_version_file(&f->c->arena, path, NULL, &file, &version, &none);
    if (code == ERR_OK)
        return add_model(f, name, file, NULL, version, path);
    if (code != ERR_NOT_FOUND && code != ERR_INVALID)
        *f->err = none;
    return code;
}

/* A folder: a model's own (<version>/model.onnx), or a repository of model files and such folders. Other things in it are left
 * alone: a repository may hold notes and data. */
static enum err_code add_folder(struct found *f, const char *path, const char *origin)
{
    struct arena names_arena;
    const char **names = NULL;
    size_t len = 0, before = f->len;
    enum err_code code = add_version_folder(f, folder_name(path), path);
    if (code != ERR_NOT_FOUND)
        return code;
    arena_init(&names_arena, 65536, SCRATCH_MAX);
    code = list_dir(&names_arena, path, &names, &len, f->err);
    for (size_t i = 0; !code && i < len; i++) {
        const char *entry = config_join(&names_arena, path, names[i]);
        if (is_dir(entry))
            code = add_version_folder(f, str_c(names[i]), entry);
        else if (is_file(entry) && backend_by_path(str_c(entry)))
            code = add_file(f, entry, entry);
        if (code == ERR_NOT_FOUND)
            code = ERR_OK;
    }
    arena_done(&names_arena);
    if (!code && f->len == before) {
        (void)err_set(f->err, ERR_NOT_FOUND, "there is no model in the folder %.200s", origin);
        return err_remedy(f->err, "expected NAME.onnx or NAME/<version>/model.onnx in it");
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
    if (S_ISDIR(st.st_mode))
        return add_folder(f, path, arg);
    if (S_ISREG(st.st_mode))
        return add_file(f, path, arg);
    return err_set(f->err, ERR_INVALID, "%.200s is neither a file nor a folder", arg);
}

static enum err_code from_paths(struct config *c, const char *const *paths, size_t paths_len, struct err *err)
{
    struct found f = {.c = c, .err = err};
    f.cwd = config_cwd(&c->arena, err);
    if (!f.cwd)
        return err->code;
    f.models = arena_array(&c->arena, struct model_config, CONFIG_MODELS_MAX);
    f.origins = arena_array(&c->arena, const char *, CONFIG_MODELS_MAX);
    for (size_t i = 0; i < paths_len; i++)
        if (add_path(&f, paths[i]))
            return err->code;
    c->models = (struct setting_list){f.models, f.len};
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
