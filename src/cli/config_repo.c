/* Model folders: which versions are served, and what Triton's config.pbtxt says of them. quern.yaml goes before config.pbtxt. */
#include <stdio.h>
#include <string.h>

#include "cli/config_int.h"
#include "model/repo/repo.h"
#include "model/repo/triton.h"

#define SCRATCH_MAX    ((size_t)64 << 20)
#define PARAMETERS_MAX 64

/* One folder while it is read; what stays is copied into the configuration's arena. */
struct folder {
    struct config *c;
    struct model_config *m;
    struct arena scratch;
    struct triton_config triton;
    struct repo_version *versions;
    size_t versions_len;
    struct repo_policy policy;
    struct err *err;
};

/* Did quern.yaml say this itself? */
static bool is_given(const struct folder *f, const char *key)
{
    char path[400];
    (void)snprintf(path, sizeof path, "models.%.200s.%s", f->m->name, key);
    const struct setting_place *at = settings_place(&f->c->places, path);
    return at && str_eq_c(at->path, path);
}

static const char *keep(struct folder *f, const char *text)
{
    return text ? arena_cstr(&f->c->arena, str_c(text)) : NULL;
}

/* ---- config.pbtxt ---- */

static enum err_code take_parameters(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    if (t->parameters_len == 0 || is_given(f, "parameters"))
        return ERR_OK;
    if (t->parameters_len > PARAMETERS_MAX)
        return err_set(f->err, ERR_TOO_LARGE, "more than %d parameters", PARAMETERS_MAX);
    struct setting_text_pair *p = arena_array(&f->c->arena, struct setting_text_pair, t->parameters_len);
    for (size_t i = 0; i < t->parameters_len; i++)
        p[i] = (struct setting_text_pair){keep(f, t->parameters[i].key), keep(f, t->parameters[i].value)};
    f->m->parameters = (struct setting_list){p, t->parameters_len};
    return ERR_OK;
}

static void take_numbers(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    struct model_config *m = f->m;
    if (t->max_batch_size > 0 && !is_given(f, "max_batch"))
        m->max_batch = t->max_batch_size;
    if (t->instances > 0 && !is_given(f, "instances"))
        m->instances = t->instances < 64 ? t->instances : 64;
    if (t->threads > 0 && !is_given(f, "threads"))
        m->threads = t->threads;
    if (t->max_queue_size > 0 && !is_given(f, "queue_max"))
        m->queue_max = t->max_queue_size;
    if (t->default_timeout_us > 0 && !is_given(f, "timeout"))
        m->timeout_ns = (uint64_t)t->default_timeout_us * 1000;
}

static void take_batching(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    struct batching_config *b = &f->m->batching;
    if (!t->has_dynamic_batching)
        return;
    if (!is_given(f, "batching.delay"))
        b->delay_ns = (uint64_t)t->max_queue_delay_us * 1000;
    if (!is_given(f, "batching.ordered"))
        b->is_ordered = t->preserve_ordering;
    if (t->default_priority_level > 0 && !is_given(f, "priority"))
        f->m->priority = t->default_priority_level;
    if (t->preferred_len == 0 || is_given(f, "batching.preferred"))
        return;
    size_t n = t->preferred_len < BATCHING_SIZES_MAX ? t->preferred_len : BATCHING_SIZES_MAX;
    const char **texts = arena_array(&f->c->arena, const char *, n);
    for (size_t i = 0; i < n; i++)
        texts[i] = arena_printf(&f->c->arena, "%lld", (long long)t->preferred[i]).p;
    b->preferred = (struct setting_list){texts, n};
}

static void take_notes(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    const char **notes = arena_array(&f->c->arena, const char *, t->unused_len + 2);
    size_t n = 0;
    for (size_t i = 0; i < t->unused_len; i++)
        notes[n++] = keep(f, t->unused[i]);
    if (t->response_cache)
        notes[n++] = "response_cache";
    f->m->notes = (struct setting_list){notes, n};
}

static enum err_code read_triton(struct folder *f)
{
    const char *file = arena_printf(&f->scratch, "%s/" REPO_CONFIG_FILE, f->m->origin).p;
    struct triton_config *t = &f->triton;
    if (!repo_is_file(file))
        return ERR_OK;
    if (triton_read(file, &f->scratch, t, f->err))
        return f->err->code;
    if (t->name && strcmp(t->name, f->m->name) != 0 && t->name[0] && !f->c->file)
        return err_set(f->err, ERR_INVALID, "%s: name: \"%.100s\" is not the folder's name", file, t->name);
    if (t->steps_len || (t->backend && strcmp(t->backend, "ensemble") == 0)) {
        (void)err_set(f->err, ERR_UNSUPPORTED, "%s: ensembles are not read from config.pbtxt", file);
        return err_remedy(f->err, "serve its members, each as a model");
    }
    if (!f->m->backend)
        f->m->backend = t->backend;
    take_numbers(f);
    take_batching(f);
    take_notes(f);
    return take_parameters(f);
}

/* ---- versions ---- */

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

static enum err_code read_versions(struct folder *f)
{
    const char *file = f->triton.default_model_filename;
    if (choose_policy(f) || repo_versions(f->m->origin, file, &f->scratch, &f->versions, &f->versions_len, f->err))
        return f->err->code;
    if (f->versions_len == 0)
        return err_set(f->err, ERR_NOT_FOUND, "the folder %s has no model file: expected <version>/%s", f->m->origin,
                       file ? file : "model.onnx");
    if (f->m->version && repo_choose(&f->policy, f->versions, f->versions_len, &f->versions_len, f->err))
        return err_set(f->err, ERR_NOT_FOUND, "the folder %s has no %s/model.onnx", f->m->origin, f->m->version);
    return f->m->version ? ERR_OK : repo_choose(&f->policy, f->versions, f->versions_len, &f->versions_len, f->err);
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
        one.path = keep(f, f->versions[i].file);
        one.version = arena_printf(&f->c->arena, "%llu", (unsigned long long)f->versions[i].number).p;
        if (put(f->c, &one, out, len, f->err))
            return f->err->code;
    }
    return ERR_OK;
}

/* A folder that the configuration names is the configuration's error. One that was found in a repository is that model's alone: the others
 * are served. */
static enum err_code folder_failed(struct config *c, struct model_config *m, struct model_config *out, size_t *len,
                                   struct err *err)
{
    char path[400];
    struct err why = *err;
    (void)snprintf(path, sizeof path, "models.%.200s", m->name);
    const struct setting_place *at = settings_place(&c->places, path);
    if (at && str_eq_c(at->path, path)) {
        (void)snprintf(path, sizeof path, "models.%.200s.path", m->name);
        (void)config_fail(c, err, path, "%s", why.text);
        return why.remedy[0] ? err_remedy(err, "%s", why.remedy) : err->code;
    }
    struct model_config bad = *m;
    bad.path = NULL;
    bad.problem = arena_printf(&c->arena, "%s%s%s", why.text, why.remedy[0] ? "; " : "", why.remedy).p;
    return put(c, &bad, out, len, err);
}

enum err_code config_expand(struct config *c, struct model_config *m, struct model_config *out, size_t *len,
                            struct err *err)
{
    if (!m->origin || !repo_is_dir(m->origin))
        return put(c, m, out, len, err); /* the check says what is wrong with a file, if anything is */
    struct err why = {0};
    struct folder f = {.c = c, .m = m, .err = &why};
    enum err_code code;
    arena_init(&f.scratch, 65536, SCRATCH_MAX);
    if (read_triton(&f) || read_versions(&f)) {
        *err = why;
        code = folder_failed(c, m, out, len, err);
    } else {
        code = put_versions(&f, out, len);
        if (code)
            *err = why;
    }
    arena_done(&f.scratch);
    return code;
}
