/* A reload: the new configuration is built aside; what changed starts beside what serves, and takes over when it is ready. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/json.h"
#include "base/log.h"

static const struct model_config *wanted(const struct config *c, const char *name, const char *version)
{
    const struct model_config *items = c->models.items;
    for (size_t i = 0; i < c->models.len; i++)
        if (strcmp(items[i].name, name) == 0 && (!version || strcmp(items[i].version, version) == 0))
            return &items[i];
    return NULL;
}

bool life_is_wanted(const struct master *m, const struct life *l)
{
    return wanted(&m->snapshot->config, l->config->name, l->config->version) != NULL;
}

static bool is_of(const struct life *l, const char *name, const char *version)
{
    return l->state < LIFE_KEPT && strcmp(l->config->name, name) == 0 &&
           (!version || strcmp(l->config->version, version) == 0);
}

/* The life that serves a version, or one that is to replace it. */
static struct life *find(struct master *m, const struct model_config *c, bool replaces)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->replaces == replaces && is_of(l, c->name, c->version))
            return l;
    return NULL;
}

static bool serves_any(struct master *m, const char *name)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->state == LIFE_READY && !l->is_canary && is_of(l, name, NULL))
            return true;
    return false;
}

/* Versions that the configuration no longer wants go when one that it wants is ready and no other is still loading: there is always one
 * that answers. */
void lives_leave(struct master *m, const struct life *news)
{
    const char *name = news->config->name;
    bool is_loading = false, is_served = false;
    for (struct life *l = m->lives; l; l = l->next)
        if (is_of(l, name, NULL) && !l->is_leaving) {
            is_loading = is_loading || l->state == LIFE_LOADING || l->is_canary;
            is_served = is_served || l->state == LIFE_READY;
        }
    if (is_loading || !is_served)
        return;
    for (struct life *l = m->lives; l; l = l->next)
        if (is_of(l, name, NULL) && l->is_leaving) {
            LOG_INFO("model version is no longer served", LOG_S("model", name), LOG_S("version", l->config->version));
            life_keep(m, l, news);
        }
}

static void leave_all(struct master *m, const char *name)
{
    for (const struct life *l = m->lives; l; l = l->next)
        if (l->state == LIFE_READY && !l->is_leaving && !l->is_canary && is_of(l, name, NULL)) {
            lives_leave(m, l);
            return;
        }
}

/* A replacement of an earlier reload that is still loading is overtaken by this one, unless it is just what is wanted now. */
static void drop_unfinished(struct master *m, const struct config *c)
{
    for (struct life *l = m->lives; l; l = l->next) {
        if (!l->replaces || l->state > LIFE_READY)
            continue;
        if (watch_holds(m, l->config))
            continue;
        const struct model_config *now = wanted(c, l->config->name, l->config->version);
        if (!now || !life_is_unchanged(l, now))
            life_retire(m, l);
    }
}

static void mark_unwanted(struct master *m, const struct config *c)
{
    for (struct life *l = m->lives; l; l = l->next) {
        if (l->state >= LIFE_KEPT || watch_holds(m, l->config))
            continue;
        l->is_leaving = !wanted(c, l->config->name, l->config->version);
        if (l->is_canary)
            continue; /* drop_unfinished has looked at it */
        if (!wanted(c, l->config->name, NULL) || !loads_want(m, c, l->config->name))
            life_retire(m, l);
    }
}

/* Versions that are no longer wanted and that nobody gets anyway. Once the edge knows of those that are: meanwhile the model would be unknown to it, and to the
 * requests that wait for a load. */
static void drop_unwanted(struct master *m)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->is_leaving && !l->is_canary && l->state < LIFE_KEPT && l->state != LIFE_READY)
            life_retire(m, l);
}

static bool same_labels(const struct setting_list *a, const struct setting_list *b)
{
    const struct setting_pair *pa = a->items, *pb = b->items;
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++)
        if (strcmp(pa[i].name, pb[i].name) != 0 || pa[i].value != pb[i].value)
            return false;
    return true;
}

static bool same_notes(const struct setting_list *a, const struct setting_list *b)
{
    const char *const *pa = a->items, *const *pb = b->items;
    bool same = a->len == b->len;
    for (size_t i = 0; same && i < a->len; i++)
        same = strcmp(pa[i], pb[i]) == 0;
    return same;
}

/* What needs no new process: the life goes on with the new configuration. Whoever brought that hears what of it is in vain. */
static void go_on(struct master *m, struct life *l, struct snapshot *s, const struct model_config *c)
{
    bool differs = !same_labels(&l->config->labels, &c->labels);
    if (loads_asks_for(m, c->name) || !same_notes(&l->config->notes, &c->notes))
        model_log_notes(c);
    s->refs++;
    snapshot_unref(l->snapshot);
    l->snapshot = s;
    l->config = c;
    if (differs)
        life_changed(m, l);
}

static void want(struct master *m, struct snapshot *s, const struct model_config *c)
{
    struct err err = {0};
    if (watch_holds(m, c) || !loads_want(m, &s->config, c->name))
        return;
    struct life *old = find(m, c, false), *loading = find(m, c, true);
    struct life *same = old && life_is_unchanged(old, c) ? old : loading;
    if (same) {
        go_on(m, same, s, c);
        return;
    }
    if (serves_any(m, c->name) && rollback_rejects(m, c))
        return;
    if (old && old->state == LIFE_FAILED) {
        life_retire(m, old);
        old = NULL;
    }
    if (life_start(m, s, c, old != NULL || serves_any(m, c->name), &err))
        LOG_ERROR("cannot start a model", LOG_S("model", c->name), LOG_S("error", err.text));
}

static void apply(struct master *m, struct snapshot *s)
{
    const struct model_config *c = s->config.models.items;
    drop_unfinished(m, &s->config);
    mark_unwanted(m, &s->config);
    for (int ensembles = 0; ensembles < 2; ensembles++) /* after the members that they look for */
        for (size_t i = 0; i < s->config.models.len; i++)
            if ((c[i].ensemble.steps.len > 0) == (ensembles == 1))
                want(m, s, &c[i]);
    drop_unwanted(m);
    for (size_t i = 0; i < s->config.models.len; i++)
        leave_all(m, c[i].name);
}

static void answer(struct master *m, uint64_t id, enum err_code code, const struct err *err)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    jw_object(&w);
    jw_kv_u64(&w, "id", id);
    jw_kv_bool(&w, "ok", code == ERR_OK);
    jw_kv_c(&w, "text", code ? err->text : "");
    jw_kv_c(&w, "remedy", code ? err->remedy : "");
    jw_object_end(&w);
    child_send(m, &m->edge, CHANNEL_RELOADED, buf_view(&text), NULL, 0);
    buf_done(&text);
}

enum err_code master_reload(struct master *m, struct err *err)
{
    struct snapshot *s = calloc(1, sizeof *s);
    CHECK(s);
    enum err_code code = m->options->reload ? m->options->reload(&s->config, m->options->reload_arg, err)
                                            : err_set(err, ERR_UNSUPPORTED, "nothing to reload");
    if (code == ERR_OK) {
        s->refs = 1;
        m->last_error[0] = '\0';
        apply(m, s);
        snapshot_unref(m->snapshot);
        m->snapshot = s;
        known_tell(m);
        loads_after_reload(m);
        budget_changed(m);
        classes_open(m);
        config_log_left_out(&s->config);
        LOG_INFO("configuration reloaded", LOG_U("models", s->config.models.len));
    } else {
        free(s);
        (void)snprintf(m->last_error, sizeof m->last_error,
                       "reload refused, the old configuration goes on: %.360s%s%.160s", err->text,
                       err->remedy[0] ? "; " : "", err->remedy);
        LOG_ERROR("reload refused, the old configuration goes on", LOG_S("error", err->text),
                  LOG_S("remedy", err->remedy));
    }
    m->status_dirty = true;
    return code;
}

void master_reload_asked(struct master *m, uint64_t id)
{
    struct err err = {0};
    enum err_code code = master_reload(m, &err);
    answer(m, id, code, &err);
}
