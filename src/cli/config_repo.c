/* Model folders: which versions are served, and what Triton's config.pbtxt says of them. quern.yaml goes before config.pbtxt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/config_int.h"
#include "cli/config_override.h"
#include "model/backend.h"
#include "model/declared.h"
#include "model/repo/repo.h"

#define SCRATCH_MAX        ((size_t)64 << 20)
#define PARAMETERS_MAX     64
#define NOTES_MAX          128
#define INSTANCES_MAX      64
#define PRIORITY_MAX       10
#define ENSEMBLE_STEPS_MAX 32
/* As in config_table.c. */
#define MAX_BATCH_MAX  65536
#define QUEUE_MAX      1000000
#define TIMEOUT_US_MAX (24LL * 3600 * 1000000)
#define DELAY_US_MAX   (60LL * 1000000)

/* One folder while it is read; what stays is copied into the configuration's arena. */
struct folder {
    struct config *c;
    struct model_config *m;
    struct arena scratch;
    struct triton_config triton;
    struct repo_version *versions;
    size_t versions_len;
    struct repo_policy policy;
    const char *more[NOTES_MAX]; /* what else has no effect */
    size_t more_len;
    struct err *err;
};

/* Did quern.yaml say this itself? */
static bool is_given(const struct folder *f, const char *key)
{
    char path[400];
    if (f->m->override_config)
        return false;
    (void)snprintf(path, sizeof path, "models.%.200s.%s", f->m->name, key);
    const struct setting_place *at = settings_place(&f->c->places, path);
    return at && str_eq_c(at->path, path);
}

static const char *keep(struct folder *f, const char *text)
{
    return text ? arena_cstr(&f->c->arena, str_c(text)) : NULL;
}

/* ---- config.pbtxt ---- */

static void note(struct folder *f, const char *field)
{
    if (f->more_len < NOTES_MAX)
        f->more[f->more_len++] = arena_cstr(&f->c->arena, str_c(field));
}

/* Is it for the file to say? */
static bool may_take(struct folder *f, const char *key, const char *field, bool is_same)
{
    bool given = is_given(f, key);
    if (given && !is_same)
        note(f, arena_printf(&f->scratch, "%s (quern.yaml says otherwise)", field).p);
    return !given;
}

/* What quern.yaml could not say either counts as the most that it can. */
static int64_t at_most(struct folder *f, const char *field, int64_t v, int64_t most)
{
    if (v <= most)
        return v;
    note(f, arena_printf(&f->scratch, "%s above %lld", field, (long long)most).p);
    return most;
}

static void take_numbers(struct folder *f)
{
    struct triton_config *t = &f->triton;
    struct model_config *m = f->m;
    t->max_batch_size = at_most(f, "max_batch_size", t->max_batch_size, MAX_BATCH_MAX);
    t->max_queue_size = at_most(f, "max_queue_size", t->max_queue_size, QUEUE_MAX);
    t->default_timeout_us = at_most(f, "default_timeout_microseconds", t->default_timeout_us, TIMEOUT_US_MAX);
    uint64_t timeout_ns = (uint64_t)t->default_timeout_us * 1000;
    /* Without dynamic_batching it only bounds a request: how many rows share a run is then left to the measurement, which finds those that lose. */
    bool is_chosen = t->has_dynamic_batching || t->max_batch_size == 1;
    if (t->max_batch_size > 0 && is_chosen &&
        may_take(f, "max_batch", "max_batch_size", m->max_batch == t->max_batch_size))
        m->max_batch = t->max_batch_size;
    if (t->instances > 0 && may_take(f, "instances", "instance_group", m->instances == t->instances))
        m->instances = t->instances < INSTANCES_MAX ? t->instances : INSTANCES_MAX;
    if (t->instances > INSTANCES_MAX)
        note(f, "instance_group: more than 64 instances");
    if (t->threads > 0 && may_take(f, "threads", "parameters: threads", m->threads == t->threads))
        m->threads = t->threads;
    if (t->max_queue_size > 0 && may_take(f, "queue_max", "max_queue_size", m->queue_max == t->max_queue_size))
        m->queue_max = t->max_queue_size;
    if (timeout_ns > 0 && may_take(f, "timeout", "default_timeout_microseconds", m->timeout_ns == timeout_ns))
        m->timeout_ns = timeout_ns;
}

/* What will run it; the file decides where nobody says so. */
static const struct backend *backend_of(const struct folder *f)
{
    const char *file = f->versions_len > 0 ? f->versions[0].file : f->m->path;
    if (f->m->backend)
        return backend_by_name(str_c(f->m->backend));
    return file ? backend_by_path(str_c(file)) : NULL;
}

static bool knows(const struct backend *b, const char *parameter)
{
    for (size_t i = 0; b && b->params && b->params[i]; i++)
        if (strcmp(b->params[i], parameter) == 0)
            return true;
    return b && !b->params;
}

/* Triton's backends ignore parameters that they do not know, and models come with some that are for others. */
static enum err_code take_parameters(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    const struct backend *b = backend_of(f);
    if (t->parameters_len == 0 || !may_take(f, "parameters", "parameters", false))
        return ERR_OK;
    struct setting_text_pair *p = arena_array(&f->c->arena, struct setting_text_pair, t->parameters_len);
    size_t n = 0;
    for (size_t i = 0; i < t->parameters_len; i++) {
        const struct triton_pair *one = &t->parameters[i];
        if (knows(b, one->key))
            p[n++] = (struct setting_text_pair){keep(f, one->key), keep(f, one->value)};
        else
            note(f, arena_printf(&f->scratch, "parameters: %.200s (line %u)", one->key, one->line).p);
    }
    if (n > PARAMETERS_MAX)
        return err_set(f->err, ERR_TOO_LARGE, "%s: more than %d parameters", f->m->pbtxt, PARAMETERS_MAX);
    f->m->parameters = (struct setting_list){p, n};
    return ERR_OK;
}

static int compare_sizes(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Triton takes them in any order. */
static void take_preferred(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    int64_t most = f->m->max_batch > 0 ? f->m->max_batch : MAX_BATCH_MAX, before = 0;
    const char **texts = arena_array(&f->c->arena, const char *, BATCHING_SIZES_MAX);
    size_t n = 0;
    qsort(t->preferred, t->preferred_len, sizeof *t->preferred, compare_sizes);
    for (size_t i = 0; i < t->preferred_len; before = t->preferred[i++]) {
        if (t->preferred[i] == before)
            continue;
        if (t->preferred[i] > most || n == BATCHING_SIZES_MAX) {
            note(f, arena_printf(&f->scratch, "preferred_batch_size: %lld, and what is greater",
                                 (long long)t->preferred[i])
                        .p);
            break;
        }
        texts[n++] = arena_printf(&f->c->arena, "%lld", (long long)t->preferred[i]).p;
    }
    f->m->batching.preferred = (struct setting_list){texts, n};
}

static void take_batching(struct folder *f)
{
    struct triton_config *t = &f->triton;
    struct batching_config *b = &f->m->batching;
    t->max_queue_delay_us = at_most(f, "max_queue_delay_microseconds", t->max_queue_delay_us, DELAY_US_MAX);
    uint64_t delay_ns = (uint64_t)t->max_queue_delay_us * 1000;
    int64_t level = t->default_priority_level < PRIORITY_MAX ? t->default_priority_level : PRIORITY_MAX;
    if (!t->has_dynamic_batching)
        return;
    if (may_take(f, "batching.delay", "max_queue_delay_microseconds", b->delay_ns == delay_ns))
        b->delay_ns = delay_ns;
    if (may_take(f, "batching.ordered", "preserve_ordering", b->is_ordered == t->preserve_ordering))
        b->is_ordered = t->preserve_ordering;
    if (level > 0 && may_take(f, "priority", "default_priority_level", f->m->priority == level))
        f->m->priority = level;
    if (t->preferred_len > 0 && may_take(f, "batching.preferred", "preferred_batch_size", false))
        take_preferred(f);
}

static void take_notes(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    const char **notes = arena_array(&f->c->arena, const char *, t->unused_len + f->more_len + 2);
    size_t n = 0;
    for (size_t i = 0; i < t->unused_len; i++)
        notes[n++] = keep(f, t->unused[i]);
    for (size_t i = 0; i < f->more_len; i++)
        notes[n++] = f->more[i];
    if (t->response_cache && !is_given(f, "cache"))
        notes[n++] = "response_cache (say how much memory in quern.yaml, cache: 64MiB)";
    if (t->unused_more)
        notes[n++] = arena_printf(&f->c->arena, "and %zu more fields: each of them", t->unused_more).p;
    f->m->notes = (struct setting_list){notes, n};
}

static void take_tensors(struct folder *f, const char *file)
{
    struct buf text;
    f->m->labels_file = f->triton.labels_file ? keep(f, f->triton.labels_file) : NULL;
    buf_init(&text, DECLARED_TEXT_MAX + 1);
    if (declared_write(file, &f->triton, &text))
        f->m->declared = arena_cstr(&f->c->arena, buf_view(&text));
    else if (text.len > 0)
        note(f, "input and output (too many to be compared with the model)");
    buf_done(&text);
}

/* ---- ensembles ---- */

static struct setting_list tensor_names(struct folder *f, const struct triton_tensor *t, size_t len)
{
    const char **names = arena_array(&f->c->arena, const char *, len);
    for (size_t i = 0; i < len; i++)
        names[i] = t[i].name ? keep(f, t[i].name) : "";
    return (struct setting_list){names, len};
}

static struct setting_list wires(struct folder *f, const struct triton_pair *p, size_t len)
{
    struct setting_text_pair *out = arena_array(&f->c->arena, struct setting_text_pair, len);
    for (size_t i = 0; i < len; i++)
        out[i] = (struct setting_text_pair){keep(f, p[i].key), keep(f, p[i].value)};
    return (struct setting_list){out, len};
}

/* Triton's steps have no names: that of the model, with a number from its second step on. */
static const char *step_name(struct folder *f, size_t n)
{
    const struct triton_step *s = f->triton.steps;
    size_t same = 1;
    for (size_t i = 0; i < n; i++)
        same += strcmp(s[i].model, s[n].model) == 0;
    return same == 1 ? keep(f, s[n].model) : arena_printf(&f->c->arena, "%.127s-%zu", s[n].model, same).p;
}

static enum err_code take_ensemble(struct folder *f, const char *file)
{
    const struct triton_config *t = &f->triton;
    struct model_config *m = f->m;
    struct ensemble_config *e = &m->ensemble;
    if (t->steps_len == 0 || t->steps_len > ENSEMBLE_STEPS_MAX)
        return err_set(f->err, ERR_INVALID, "%s:%u: ensemble_scheduling: an ensemble has 1 to %d steps", file,
                       t->ensemble_line ? t->ensemble_line : 1, ENSEMBLE_STEPS_MAX);
    if (m->backend || (t->backend && strcmp(t->backend, "ensemble") != 0))
        return err_set(f->err, ERR_INVALID, "%s:%u: ensemble_scheduling: a model of backend %s has no steps", file,
                       t->ensemble_line, m->backend ? m->backend : t->backend);
    struct ensemble_step_config *steps = arena_array(&f->c->arena, struct ensemble_step_config, t->steps_len);
    for (size_t i = 0; i < t->steps_len; i++) {
        const struct triton_step *s = &t->steps[i];
        steps[i] = (struct ensemble_step_config){
            .name = step_name(f, i),
            .model = keep(f, s->model),
            .version = s->version < 0 ? NULL : arena_printf(&f->c->arena, "%lld", (long long)s->version).p,
            .inputs = wires(f, s->inputs, s->inputs_len),
            .outputs = wires(f, s->outputs, s->outputs_len),
            .line = s->line};
    }
    e->inputs = tensor_names(f, t->inputs, t->inputs_len);
    e->outputs = tensor_names(f, t->outputs, t->outputs_len);
    e->steps = (struct setting_list){steps, t->steps_len};
    e->file = keep(f, file);
    e->line = t->ensemble_line;
    m->backend = "ensemble";
    m->isolation = ISOLATION_INLINE; /* no process of its own */
    if (t->instances > 0)
        note(f, "instance_group (an ensemble has no instances)");
    if (t->warmups_len > 0)
        note(f, "model_warmup (an ensemble has no runs of its own)");
    if (t->has_dynamic_batching)
        note(f, "dynamic_batching (the steps' models batch)");
    return ERR_OK;
}

static enum err_code read_triton(struct folder *f)
{
    const char *file = f->m->override_config;
    if (!file)
        file = arena_printf(&f->scratch, "%s/" REPO_CONFIG_FILE, f->m->origin).p;
    struct triton_config *t = &f->triton;
    if (!repo_is_file(file))
        return ERR_OK;
    f->m->pbtxt = keep(f, file);
    if (triton_read(file, &f->scratch, t, f->err))
        return f->err->code;
    if (t->name && strcmp(t->name, f->m->name) != 0 && t->name[0] && !f->c->file)
        return err_set(f->err, ERR_INVALID, "%s: name: \"%.100s\" is not the folder's name", file, t->name);
    if (t->name && t->name[0] && strcmp(t->name, f->m->name) != 0)
        note(f, "name (it is the configuration that names the model)");
    if (t->steps_len || t->ensemble_line || (t->backend && strcmp(t->backend, "ensemble") == 0))
        return take_ensemble(f, file);
    if (f->m->backend && t->backend && strcmp(f->m->backend, t->backend) != 0)
        note(f, "platform (quern.yaml says otherwise)");
    if (!f->m->backend)
        f->m->backend = t->backend;
    take_numbers(f);
    take_batching(f);
    take_tensors(f, file);
    if (t->warmups_len && may_take(f, "warm_up", "model_warmup", false) &&
        config_take_warm_up(t, f->m, &f->c->arena, f->err))
        return err_wrap(f->err, "%s", file);
    if (t->has_policy && f->m->versions.len)
        note(f, "version_policy (quern.yaml says otherwise)");
    return ERR_OK;
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
        one.path = is_ensemble(f) ? NULL : keep(f, f->versions[i].file);
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
    if (has_room(&f) || read_triton(&f) || (is_folder && read_versions(&f)) || take_parameters(&f)) {
        *err = why;
        code = folder_failed(c, m, out, len, err);
    } else {
        take_notes(&f);
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
