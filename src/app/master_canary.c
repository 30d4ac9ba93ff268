/* Canaries: a new version that is tried beside the old one. The edge shares requests out and judges; here its verdict is carried out. */
#include <stdio.h>
#include <string.h>

#include "app/master_int.h"
#include "base/json.h"
#include "base/log.h"

static bool has_name(const struct life *l, const char *name)
{
    return strcmp(l->config->name, name) == 0;
}

bool canary_is_due(struct master *m, const struct life *l)
{
    const struct canary_config *c = &l->config->canary;
    if (!l->replaces || (c->percent == 0 && c->shadow == 0) || l->config->isolation != ISOLATION_PROCESS)
        return false;
    for (const struct life *old = m->lives; old; old = old->next)
        if (old != l && old->state == LIFE_READY && !old->is_canary && has_name(old, l->config->name))
            return true;
    return false;
}

void canary_begin(struct master *m, struct life *l)
{
    l->is_canary = true;
    LOG_INFO("model is tried as canary", LOG_S("model", l->config->name), LOG_S("version", l->config->version));
    life_changed(m, l);
    loads_settle(m, l->config->name, NULL);
}

static struct life *canary_of(struct master *m, const char *name)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->is_canary && l->state == LIFE_READY && has_name(l, name))
            return l;
    return NULL;
}

static void send_back(struct master *m, struct life *l, const char *what, const char *reason)
{
    (void)snprintf(m->last_error, sizeof m->last_error,
                   "model %s: version %s was %s and sent back, the old one goes on: %.300s", l->config->name,
                   l->config->version, what, reason);
    LOG_WARN("new version sent back", LOG_S("model", l->config->name), LOG_S("version", l->config->version),
             LOG_S("reason", reason));
    rollback_reject(m, l);
    life_retire(m, l);
    loads_settle(m, l->config->name, reason); /* who asked for it hears why */
}

static void take(struct master *m, struct life *l)
{
    l->is_comparing = false;
    LOG_INFO("new version takes over", LOG_S("model", l->config->name), LOG_S("version", l->config->version));
    life_takes_over(m, l);
}

/* What the comparison tells; a trial as canary comes after it. */
static void compared(struct master *m, struct life *l, bool is_same, bool is_refused, const char *text)
{
    if (!compare_passes(m, l, is_same, is_refused, text))
        send_back(m, l, "compared with the version before", text);
    else if (canary_is_due(m, l))
        canary_begin(m, l);
    else
        take(m, l);
}

static bool has_other(const struct master *m, const struct life *l)
{
    for (const struct life *old = m->lives; old; old = old->next)
        if (old != l && !old->is_canary && has_name(old, l->config->name) &&
            ((old->state == LIFE_READY && !life_trouble(old)) || old->state == LIFE_LOADING ||
             old->state == LIFE_ASLEEP))
            return true;
    return false;
}

/* A trial ends when the version that it is tried beside cannot serve any more: otherwise nobody would, for as long as the trial lasts. */
void canary_tick(struct master *m)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->is_canary && l->state == LIFE_READY && !has_other(m, l)) {
            LOG_WARN("the version before cannot serve any more", LOG_S("model", l->config->name));
            take(m, l);
            return; /* the list may have changed */
        }
}

void canary_verdict(struct master *m, struct str payload)
{
    struct json_reader r;
    struct arena a;
    struct str key, s = STR("");
    uint64_t segment = 0;
    bool ok = false, refused = false;
    char reason[400] = "";
    arena_init(&a, 1024, 1 << 16);
    json_init(&r, payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "segment"))
            json_u64(&r, &segment);
        else if (str_eq_c(key, "ok"))
            json_bool(&r, &ok);
        else if (str_eq_c(key, "refused"))
            json_bool(&r, &refused);
        else if (str_eq_c(key, "reason") && json_string(&r, &a, &s))
            (void)str_copy(reason, sizeof reason, s);
        else
            json_skip(&r, NULL);
    }
    bool is_whole = json_end(&r) == ERR_OK;
    arena_done(&a);
    struct life *l = life_by_segment(m, (uint32_t)segment);
    if (!is_whole || !l || !l->is_canary || l->state != LIFE_READY)
        return; /* overtaken by a reload, or by an operator */
    if (l->is_comparing)
        compared(m, l, ok, refused, reason);
    else if (ok)
        take(m, l);
    else
        send_back(m, l, "tried", reason);
}

enum err_code canary_promote(struct master *m, const char *name, struct err *err)
{
    if (!master_has_model(m, name, err))
        return err->code;
    struct life *l = canary_of(m, name);
    if (!l) {
        err_set(err, ERR_CONFLICT, "no version of '%.100s' is being tried", name);
        return err_remedy(err, "models: {%.60s: {canary: {percent: 10}}} tries the next new version or file", name);
    }
    take(m, l);
    return ERR_OK;
}

bool canary_reject(struct master *m, const char *name, const char *reason)
{
    struct life *l = canary_of(m, name);
    if (l)
        send_back(m, l, l->is_comparing ? "compared" : "tried", reason);
    return l != NULL;
}

void canary_payload(const struct life *l, struct json_writer *w)
{
    const struct canary_config *c = &l->config->canary;
    if (!l->is_canary)
        return;
    jw_key(w, "canary");
    jw_object(w);
    jw_kv_i64(w, "percent", l->is_comparing ? 0 : c->percent);
    jw_kv_i64(w, "shadow_percent", l->is_comparing ? 0 : c->shadow);
    jw_kv_c(w, "header", l->is_comparing ? "" : c->header); /* nobody may choose it yet */
    jw_kv_f64(w, "tolerance", c->tolerance);
    jw_kv_u64(w, "for_ns", c->for_ns);
    jw_kv_i64(w, "min_requests", c->min_requests);
    jw_kv_f64(w, "max_failures", c->max_failures);
    jw_kv_f64(w, "max_slower", c->max_slower);
    jw_kv_f64(w, "max_different", c->max_different);
    jw_object_end(w);
}
