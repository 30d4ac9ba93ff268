/* Model folders: which versions are served, and whose error it is when one cannot be: the configuration's, or that model's alone. */
#include <stdio.h>
#include <string.h>

#include "cli/config_folder_int.h"
#include "cli/config_override.h"
#include "model/repo/repo.h"

#define SCRATCH_MAX ((size_t)64 << 20) /* of one folder, while it is read */

static enum err_code choose_policy(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    const struct model_config *m = f->m;
    if (m->version && m->versions.len)
        return err_set(f->err, ERR_INVALID, "version and versions contradict each other");
    if (m->version) {
        const char *const one[] = {m->version};
        return repo_policy_parse(one, 1, &f->scratch, &f->policy, f->err);
    }
    if (m->versions.len || !t->has_policy)
        return repo_policy_parse(m->versions.items, m->versions.len, &f->scratch, &f->policy, f->err);
    f->policy = (struct repo_policy){.kind = t->policy == TRITON_ALL        ? REPO_ALL
                                             : t->policy == TRITON_SPECIFIC ? REPO_SPECIFIC
                                                                            : REPO_LATEST,
                                     .latest = (uint64_t)t->latest};
    uint64_t *v = arena_array(&f->scratch, uint64_t, t->versions_len);
    for (size_t i = 0; i < t->versions_len; i++)
        v[i] = (uint64_t)t->versions[i];
    f->policy.versions = v;
    f->policy.versions_len = t->versions_len;
    return ERR_OK;
}

static bool is_ensemble(const struct folder *f)
{
    return f->m->ensemble.file != NULL;
}

/* Of an ensemble the folders alone count; it may do without. */
static enum err_code read_ensemble_versions(struct folder *f)
{
    static struct repo_version first = {.number = 1};
    if (choose_policy(f) || repo_versions(f->m->origin, "", &f->scratch, &f->versions, &f->versions_len, f->err))
        return f->err->code;
    if (f->versions_len > 0)
        return repo_choose(&f->policy, f->versions, f->versions_len, &f->versions_len, f->err);
    f->versions = &first;
    f->versions_len = 1;
    return ERR_OK;
}

static enum err_code read_versions(struct folder *f)
{
    const char *file = f->triton.default_model_filename;
    if (is_ensemble(f))
        return read_ensemble_versions(f);
    if (choose_policy(f) || repo_versions(f->m->origin, file, &f->scratch, &f->versions, &f->versions_len, f->err))
        return f->err->code;
    if (f->versions_len == 0)
        return err_set(f->err, ERR_NOT_FOUND, "the folder %s has no model file: expected <version>/%s", f->m->origin,
                       file ? file : "model.onnx");
    if (f->m->version && repo_choose(&f->policy, f->versions, f->versions_len, &f->versions_len, f->err))
        return err_set(f->err, ERR_NOT_FOUND, "the folder %s has no %s/model.onnx", f->m->origin, f->m->version);
    if (f->m->version || !repo_choose(&f->policy, f->versions, f->versions_len, &f->versions_len, f->err))
        return ERR_OK;
    return f->m->versions.len ? f->err->code : err_wrap(f->err, "%s: version_policy", f->m->pbtxt);
}

static enum err_code put(struct config *c, const struct model_config *m, struct model_config *out, size_t *len,
                         struct err *err)
{
    if (*len == CONFIG_MODELS_MAX)
        return config_fail(c, err, "models", "more than %d models and versions", CONFIG_MODELS_MAX);
    out[(*len)++] = *m;
    return ERR_OK;
}

static enum err_code put_versions(struct folder *f, struct model_config *out, size_t *len)
{
    for (size_t i = 0; i < f->versions_len; i++) {
        struct model_config one = *f->m;
        one.path = is_ensemble(f) ? NULL : folder_keep(f, f->versions[i].file);
        one.version = arena_printf(&f->c->arena, "%llu", (unsigned long long)f->versions[i].number).p;
        if (put(f->c, &one, out, len, f->err))
            return f->err->code;
    }
    return ERR_OK;
}

/* Where uploads lie is nothing to whoever sent them: places are told within the upload. */
static void hide_upload(const struct model_config *m, char *text)
{
    size_t n = strlen(m->override_config) - strlen(OVERRIDE_CONFIG); /* its folder, with the last slash */
    for (char *at; (at = memmem(text, strlen(text), m->override_config, n)) != NULL;)
        memmove(at, at + n, strlen(at + n) + 1);
}

static void set_problem(struct config *c, struct model_config *m, struct err *why)
{
    if (m->override_config) {
        hide_upload(m, why->text);
        hide_upload(m, why->remedy);
    }
    m->path = NULL;
    m->ensemble = (struct ensemble_config){0};
    m->problem = arena_printf(&c->arena, "%s%s%s", why->text, why->remedy[0] ? "; " : "", why->remedy).p;
}

static bool is_named(const struct config *c, const struct model_config *m)
{
    char path[400];
    (void)snprintf(path, sizeof path, "models.%.200s", m->name);
    const struct setting_place *at = settings_place(&c->places, path);
    return at && str_eq_c(at->path, path) && !m->override_config;
}

/* A folder that the configuration names is the configuration's error. One that was found in a repository is that model's alone: the others
 * are served. So is the config.pbtxt of any model in a repository: who copies files there does not write quern.yaml. */
static enum err_code folder_failed(struct config *c, struct model_config *m, struct model_config *out, size_t *len,
                                   struct err *err)
{
    char path[400];
    struct err why = *err;
    bool is_of_file = m->in_repository && m->pbtxt && strncmp(why.text, m->pbtxt, strlen(m->pbtxt)) == 0;
    if (is_named(c, m) && !is_of_file) {
        (void)snprintf(path, sizeof path, "models.%.200s.path", m->name);
        (void)config_fail(c, err, path, "%s", why.text);
        return why.remedy[0] ? err_remedy(err, "%s", why.remedy) : err->code;
    }
    struct model_config bad = *m;
    set_problem(c, &bad, &why);
    return put(c, &bad, out, len, err);
}

/* Does its file lie in a folder of models, where others come and go, too? */
static bool is_among_others(const struct config *c, const struct model_config *m)
{
    const char *const *paths = c->repository.paths.items;
    for (size_t i = 0; m->in_repository && m->origin && i < c->repository.paths.len; i++)
        if (strncmp(m->origin, paths[i], strlen(paths[i])) == 0)
            return true;
    return false;
}

enum err_code config_spare(struct config *c, struct model_config *m, struct err *err)
{
    bool is_of_file = m->in_repository && m->pbtxt && strncmp(err->text, m->pbtxt, strlen(m->pbtxt)) == 0;
    bool is_alone = m->override_config || m->pbtxt || is_among_others(c, m);
    bool is_away = err->code == ERR_NOT_FOUND && !m->path; /* its folder was removed: others go on coming and going */
    if (!is_away && (!is_alone || (is_named(c, m) && !is_of_file)))
        return err->code;
    set_problem(c, m, err);
    *err = (struct err){0};
    return ERR_OK;
}

/* One file adds a few MiB at most, but there may be a thousand of them. */
static enum err_code has_room(struct folder *f)
{
    const struct arena *a = &f->c->arena;
    if (a->used_bytes < a->max_bytes / 4 * 3)
        return ERR_OK;
    return err_set(f->err, ERR_TOO_LARGE, "the files config.pbtxt of all models together are too large");
}

enum err_code config_expand(struct config *c, struct model_config *m, struct model_config *out, size_t *len,
                            struct err *err)
{
    bool is_folder = m->origin && repo_is_dir(m->origin);
    if (!is_folder && !m->override_config)
        return put(c, m, out, len, err); /* the check says what is wrong with a file, if anything is */
    struct err why = {0};
    struct folder f = {.c = c, .m = m, .err = &why};
    enum err_code code;
    arena_init(&f.scratch, 65536, SCRATCH_MAX);
    if (has_room(&f) || folder_read_triton(&f) || (is_folder && read_versions(&f)) || folder_take_parameters(&f)) {
        *err = why;
        code = folder_failed(c, m, out, len, err);
    } else {
        folder_take_notes(&f);
        code = is_folder ? put_versions(&f, out, len) : put(c, m, out, len, &why);
        if (code)
            *err = why;
    }
    arena_done(&f.scratch);
    return code;
}

enum err_code config_check_found_ensembles(struct config *c, struct err *err)
{
    struct model_config *models = c->models.items;
    size_t len = 0;
    for (size_t i = 0; i < c->models.len; i++) {
        struct err why = {0};
        if (!models[i].ensemble.file || models[i].problem || config_check_ensemble(c, &models[i], &why) == ERR_OK)
            continue;
        struct model_config bad[1];
        *err = why;
        len = 0;
        if (folder_failed(c, &models[i], bad, &len, err))
            return err->code;
        models[i] = bad[0];
    }
    return ERR_OK;
}
