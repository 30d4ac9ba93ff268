/* Repository mode `explicit`: operators load and unload models through the edge; each question is answered when the model serves, has failed, or is
 * gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/json.h"
#include "base/log.h"

#define NAMES_MAX   CONFIG_MODELS_MAX
#define WAITERS_MAX 64

struct loads {
    char *names[NAMES_MAX];   /* what operators loaded, and did not unload since */
    bool is_along[NAMES_MAX]; /* it came as member of an ensemble */
    size_t names_len;
    char bringing[MODEL_NAME_MAX]; /* being loaded: its members come along */
    const char *asked;             /* during the reload of a load by request: its model */
    bool is_begun;
    struct {
        uint64_t id;
        char name[MODEL_NAME_MAX];
    } waiters[WAITERS_MAX];
    size_t waiters_len;
};

static struct loads *loads_of(struct master *m)
{
    if (!m->loads) {
        m->loads = calloc(1, sizeof *m->loads);
        CHECK(m->loads);
    }
    return m->loads;
}

static ptrdiff_t position(const struct loads *l, const char *name)
{
    for (size_t i = 0; i < l->names_len; i++)
        if (strcmp(l->names[i], name) == 0)
            return (ptrdiff_t)i;
    return -1;
}

static bool add_name(struct loads *l, const char *name)
{
    if (position(l, name) >= 0)
        return true;
    if (l->names_len == NAMES_MAX)
        return false;
    l->names[l->names_len] = strdup(name);
    CHECK(l->names[l->names_len]);
    l->is_along[l->names_len] = false;
    l->names_len++;
    return true;
}

static const struct ensemble_config *ensemble_of(const struct config *c, const char *name)
{
    const struct model_config *models = c->models.items;
    for (size_t i = 0; i < c->models.len; i++)
        if (strcmp(models[i].name, name) == 0)
            return &models[i].ensemble;
    return NULL;
}

/* An ensemble brings its members. */
static void add_members(struct loads *l, const struct config *c, const char *name)
{
    const struct ensemble_config *e = ensemble_of(c, name);
    const struct ensemble_step_config *steps = e ? e->steps.items : NULL;
    for (size_t i = 0; e && i < e->steps.len; i++) {
        size_t before = l->names_len;
        if (add_name(l, steps[i].model) && l->names_len > before)
            l->is_along[before] = true;
    }
}

static void remove_name(struct loads *l, const char *name)
{
    ptrdiff_t i = position(l, name);
    if (i < 0)
        return;
    free(l->names[i]);
    l->names[i] = l->names[--l->names_len];
    l->is_along[i] = l->is_along[l->names_len];
}

static bool has_member(const struct ensemble_config *e, const char *name)
{
    const struct ensemble_step_config *steps = e ? e->steps.items : NULL;
    for (size_t i = 0; e && i < e->steps.len; i++)
        if (strcmp(steps[i].model, name) == 0)
            return true;
    return false;
}

/* A member that came with an ensemble that has gone, and that no other loaded ensemble has. */
static const char *next_left_alone(const struct master *m, const struct ensemble_config *gone)
{
    const struct loads *l = m->loads;
    for (size_t i = 0; i < l->names_len; i++) {
        bool is_needed = !l->is_along[i] || !has_member(gone, l->names[i]);
        for (size_t k = 0; k < l->names_len && !is_needed; k++)
            is_needed = has_member(ensemble_of(&m->snapshot->config, l->names[k]), l->names[i]);
        if (!is_needed)
            return l->names[i];
    }
    return NULL;
}

/* At the start: what the configuration loads. */
static void begin(struct master *m, const struct config *c)
{
    struct loads *l = loads_of(m);
    const char *const *items = c->repository.load.items;
    const struct model_config *models = c->models.items;
    if (l->is_begun)
        return;
    l->is_begun = true;
    for (size_t i = 0; i < c->repository.load.len; i++)
        if (strcmp(items[i], "*") != 0 && add_name(l, items[i]))
            add_members(l, c, items[i]);
        else if (strcmp(items[i], "*") == 0)
            for (size_t k = 0; k < c->models.len; k++)
                (void)add_name(l, models[k].name);
}

bool loads_want(struct master *m, const struct config *c, const char *name)
{
    if (c->repository.mode != REPOSITORY_EXPLICIT)
        return true;
    begin(m, c);
    if (m->loads->bringing[0])
        add_members(m->loads, c, m->loads->bringing);
    m->loads->bringing[0] = '\0';
    return position(m->loads, name) >= 0;
}

/* ---- answers ---- */

static void answer(struct master *m, uint64_t id, const struct err *err)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    jw_object(&w);
    jw_kv_u64(&w, "id", id);
    jw_kv_u64(&w, "code", err->code);
    jw_kv_c(&w, "text", err->text);
    jw_kv_c(&w, "remedy", err->remedy);
    jw_object_end(&w);
    child_send(m, &m->edge, CHANNEL_LOADED, buf_view(&text), NULL, 0);
    buf_done(&text);
}

static void answer_waiters(struct master *m, const char *name, const struct err *err)
{
    struct loads *l = loads_of(m);
    for (size_t i = 0; i < l->waiters_len; i++)
        if (strcmp(l->waiters[i].name, name) == 0) {
            answer(m, l->waiters[i].id, err);
            l->waiters[i--] = l->waiters[--l->waiters_len];
        }
}

static bool is_awaited(const struct loads *l, const char *name)
{
    for (size_t i = 0; i < l->waiters_len; i++)
        if (strcmp(l->waiters[i].name, name) == 0)
            return true;
    return false;
}

/* What of its configuration has no effect, for who brought it: it is in the log, too, where they do not look. */
static void tell_notes(const struct master *m, const char *name, struct err *err)
{
    const struct model_config *models = m->snapshot->config.models.items;
    for (size_t i = 0; i < m->snapshot->config.models.len; i++) {
        if (strcmp(models[i].name, name) != 0 || models[i].notes.len == 0)
            continue;
        const char *const *notes = models[i].notes.items;
        size_t at = (size_t)snprintf(err->text, sizeof err->text, "no effect here:");
        for (size_t k = 0; k < models[i].notes.len && at < sizeof err->text; k++)
            at += (size_t)snprintf(err->text + at, sizeof err->text - at, "%s %s", k ? "," : "", notes[k]);
        return; /* its versions have the same */
    }
}

/* A life of the model has become ready (reason NULL) or has failed. */
void loads_settle(struct master *m, const char *name, const char *reason)
{
    struct err err = {0};
    if (!m->loads || !is_awaited(m->loads, name))
        return;
    if (reason) {
        overrides_settle(m, name, false);
        err_set(&err, ERR_INVALID, "failed to load '%.100s': %.200s", name, reason);
    } else {
        for (const struct life *l = m->lives; l; l = l->next)
            if ((l->state == LIFE_LOADING || wants_has(m, l)) && strcmp(l->config->name, name) == 0)
                return;
        overrides_settle(m, name, true);
        tell_notes(m, name, &err);
    }
    overrides_sweep(m, "");
    answer_waiters(m, name, &err);
}

static bool is_known(const struct master *m, const char *name)
{
    const struct model_config *models = m->snapshot->config.models.items;
    for (size_t i = 0; i < m->snapshot->config.models.len; i++)
        if (strcmp(models[i].name, name) == 0)
            return true;
    return false;
}

/* Nobody waits for what a new configuration does not have. */
void loads_after_reload(struct master *m)
{
    char name[MODEL_NAME_MAX];
    struct err err;
    for (size_t i = 0; m->loads && i < m->loads->waiters_len; i++) {
        if (is_known(m, m->loads->waiters[i].name))
            continue;
        (void)str_copy(name, sizeof name, str_c(m->loads->waiters[i].name));
        err_set(&err, ERR_NOT_FOUND, "failed to load '%.100s', no such model in the repository", name);
        remove_name(m->loads, name);
        overrides_settle(m, name, false);
        answer_waiters(m, name, &err);
        i = (size_t)-1; /* the list has changed */
    }
}

/* ---- questions ---- */

static bool is_explicit(const struct master *m, const char *verb, struct err *err)
{
    if (m->snapshot->config.repository.mode == REPOSITORY_EXPLICIT)
        return true;
    err_set(err, ERR_UNAVAILABLE, "explicit model %s is not allowed if polling is enabled", verb); /* Triton's words */
    err_remedy(err, "set repository: {mode: explicit} to %s models by request", verb);
    return false;
}

static enum err_code load(struct master *m, uint64_t id, const char *name, const char *folder, struct err *err)
{
    struct loads *l = loads_of(m);
    bool was_loaded = position(l, name) >= 0;
    if (l->waiters_len == WAITERS_MAX)
        return err_set(err, ERR_BUSY, "%d models are being loaded", WAITERS_MAX);
    if (!add_name(l, name))
        return err_set(err, ERR_BUSY, "more than %d models are loaded", NAMES_MAX);
    if (folder[0] == '\0')
        overrides_drop(m, name); /* what the repository has, again */
    else if (overrides_put(m, name, folder, err)) {
        if (!was_loaded)
            remove_name(l, name);
        return err->code;
    }
    l->is_along[position(l, name)] = false;
    (void)str_copy(l->bringing, sizeof l->bringing, str_c(name));
    l->waiters[l->waiters_len].id = id;
    (void)str_copy(l->waiters[l->waiters_len++].name, MODEL_NAME_MAX, str_c(name));
    l->asked = name;
    enum err_code code = master_reload(m, err); /* a model that fails at once, or is not there, is answered in it */
    l->asked = NULL;
    if (!code) {
        wants_by_request(m, name);
        loads_settle(m, name, NULL);
        return ERR_OK;
    }
    overrides_settle(m, name, false);
    if (!was_loaded)
        remove_name(l, name);
    for (size_t i = 0; i < l->waiters_len; i++) /* answered by the caller */
        if (l->waiters[i].id == id)
            l->waiters[i--] = l->waiters[--l->waiters_len];
    return code;
}

bool loads_asks_for(const struct master *m, const char *name)
{
    return m->loads && m->loads->asked && strcmp(m->loads->asked, name) == 0;
}

/* Models on demand can be loaded before they are asked for, and unloaded, in every mode. */
static enum err_code demand(struct master *m, uint64_t id, const char *name, bool is_load, struct err *err)
{
    struct loads *l = loads_of(m);
    if (!is_load)
        return budget_unload(m, name, err);
    if (l->waiters_len == WAITERS_MAX)
        return err_set(err, ERR_BUSY, "%d models are being loaded", WAITERS_MAX);
    l->waiters[l->waiters_len].id = id;
    (void)str_copy(l->waiters[l->waiters_len++].name, MODEL_NAME_MAX, str_c(name));
    wants_by_request(m, name);
    loads_settle(m, name, NULL);
    return ERR_OK;
}

static bool is_on_demand(const struct master *m, const char *name)
{
    for (const struct life *l = m->lives; l; l = l->next)
        if (l->state < LIFE_KEPT && life_is_on_demand(l) && strcmp(l->config->name, name) == 0)
            return m->snapshot->config.repository.mode != REPOSITORY_EXPLICIT;
    return false;
}

static enum err_code unload_one(struct master *m, const char *name, struct err *err)
{
    struct err gone = {0};
    bool any = false;
    for (struct life *l = m->lives; l; l = l->next)
        if (l->state != LIFE_RETIRED && strcmp(l->config->name, name) == 0) {
            any = any || l->state != LIFE_KEPT;
            life_retire(m, l);
        }
    remove_name(loads_of(m), name);
    overrides_drop(m, name);
    err_set(&gone, ERR_CONFLICT, "'%.100s' was unloaded while it was loading", name);
    answer_waiters(m, name, &gone);
    if (!any)
        return err_set(err, ERR_NOT_FOUND, "failed to unload '%.100s', it is not loaded", name);
    LOG_INFO("model unloaded by request", LOG_S("model", name));
    return ERR_OK;
}

static enum err_code unload(struct master *m, const char *name, bool with_members, struct err *err)
{
    const struct ensemble_config *e = ensemble_of(&m->snapshot->config, name);
    enum err_code code = unload_one(m, name, err);
    for (const char *member; !code && with_members && (member = next_left_alone(m, e)) != NULL;) {
        char copy[MODEL_NAME_MAX];
        struct err failed = {0}; /* it had not been loaded any more */
        (void)str_copy(copy, sizeof copy, str_c(member));
        (void)unload_one(m, copy, &failed);
    }
    return code;
}

void loads_on_message(struct master *m, enum channel_type type, struct str payload)
{
    struct json_reader r;
    struct str key, s = STR("");
    struct arena a;
    struct err err = {0};
    uint64_t id = 0;
    bool with_members = false;
    char name[MODEL_NAME_MAX] = "", reason[300] = "by request", folder[64] = "";
    arena_init(&a, 1024, 1 << 16);
    json_init(&r, payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "id"))
            json_u64(&r, &id);
        else if (str_eq_c(key, "name") && json_string(&r, &a, &s))
            (void)str_copy(name, sizeof name, s);
        else if (str_eq_c(key, "reason") && json_string(&r, &a, &s))
            (void)str_copy(reason, sizeof reason, s);
        else if (str_eq_c(key, "folder") && json_string(&r, &a, &s))
            (void)str_copy(folder, sizeof folder, s);
        else if (str_eq_c(key, "dependents"))
            json_bool(&r, &with_members);
        else
            json_skip(&r, NULL);
    }
    arena_done(&a);
    if (type == CHANNEL_ROLLBACK) {
        (void)master_rollback(m, name, reason, &err);
        if (id != 0)
            answer(m, id, &err);
        return;
    }
    if (type == CHANNEL_PROMOTE) {
        (void)canary_promote(m, name, &err);
        answer(m, id, &err);
        return;
    }
    bool is_load = type == CHANNEL_LOAD;
    enum err_code code = is_on_demand(m, name) && folder[0] == '\0'           ? demand(m, id, name, is_load, &err)
                         : !is_explicit(m, is_load ? "load" : "unload", &err) ? err.code
                         : is_load                                            ? load(m, id, name, folder, &err)
                                                                              : unload(m, name, with_members, &err);
    if (code || !is_load)
        answer(m, id, &err);
    overrides_sweep(m, folder);
}
