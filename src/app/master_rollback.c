/* The way back: what a new version has replaced is kept warm for `keep_old`, its workers loaded and idle, and can take over again at once. What was
 * rolled back is not taken again by a reload until it changes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

/* One version that was found wanting, as it was then. */
struct rejected {
    struct rejected *next;
    struct snapshot *snapshot;
    const struct model_config *config;
    struct hash128 file_id;
};

static bool has_name(const struct life *l, const char *name)
{
    return strcmp(l->config->name, name) == 0;
}

/* ---- keeping ---- */

/* In place of life_retire for one that others have replaced. One older generation of a model is kept. */
void life_keep(struct master *m, struct life *l, const struct life *by)
{
    uint64_t keep_ns = by->config->keep_old_ns;
    for (struct life *k = m->lives; k; k = k->next)
        if (k->state == LIFE_KEPT && has_name(k, l->config->name) && k->replaced_by != by->segment)
            life_retire(m, k);
    if (keep_ns == 0 || l->state != LIFE_READY || life_trouble(l) || l->segment_fd < 0 || m->stopping) {
        life_retire(m, l);
        return;
    }
    life_withdraw(m, l);
    l->state = LIFE_KEPT;
    l->replaced_by = by->segment;
    l->is_leaving = false;
    l->keep_until_ns = clock_now_ns() + keep_ns;
}

void rollback_tick(struct master *m, uint64_t now_ns)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->state == LIFE_KEPT && l->keep_until_ns <= now_ns) {
            LOG_INFO("old version is no longer kept", LOG_S("model", l->config->name),
                     LOG_S("version", l->config->version));
            life_retire(m, l);
        }
}

uint64_t rollback_next_ns(const struct master *m)
{
    uint64_t next = UINT64_MAX;
    for (const struct life *l = m->lives; l; l = l->next)
        if (l->state == LIFE_KEPT && l->keep_until_ns < next)
            next = l->keep_until_ns;
    return next;
}

/* ---- rejecting ---- */

static void forget_rejected(struct master *m, const char *name)
{
    for (struct rejected **at = &m->rejected; *at;) {
        struct rejected *r = *at;
        if (strcmp(r->config->name, name) != 0) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        snapshot_unref(r->snapshot);
        free(r);
    }
}

void rollback_reject(struct master *m, const struct life *l)
{
    struct rejected *r = calloc(1, sizeof *r);
    CHECK(r);
    *r = (struct rejected){m->rejected, l->snapshot, l->config, l->file_id};
    l->snapshot->refs++;
    m->rejected = r;
}

/* Who changes by what rules a new version is judged wants it judged again. */
static bool same_rules(const struct model_config *a, const struct model_config *b)
{
    const struct compare_config *ca = &a->compare, *cb = &b->compare;
    const struct canary_config *ya = &a->canary, *yb = &b->canary;
    return ca->mode == cb->mode && ca->tolerance == cb->tolerance && ca->samples == cb->samples &&
           ca->keep_requests == cb->keep_requests && ca->within_ns == cb->within_ns && ya->percent == yb->percent &&
           ya->shadow == yb->shadow && ya->for_ns == yb->for_ns && ya->min_requests == yb->min_requests &&
           ya->max_failures == yb->max_failures && ya->max_slower == yb->max_slower &&
           ya->max_different == yb->max_different && ya->tolerance == yb->tolerance;
}

bool rollback_rejects(struct master *m, const struct model_config *c)
{
    for (const struct rejected *r = m->rejected; r; r = r->next) {
        const struct life as_then = {.config = r->config, .file_id = r->file_id, .state = LIFE_READY};
        if (strcmp(r->config->name, c->name) == 0 && same_rules(r->config, c) && life_is_unchanged(&as_then, c))
            return true;
    }
    return false;
}

/* ---- rolling back ---- */

static struct life *kept_of(struct master *m, const char *name)
{
    for (struct life *l = m->lives; l; l = l->next) /* newest first */
        if (l->state == LIFE_KEPT && has_name(l, name))
            return l;
    return NULL;
}

static struct life *cause_of(struct master *m, const struct life *kept)
{
    struct life *l = life_by_segment(m, kept->replaced_by);
    return l && l->state == LIFE_READY ? l : NULL;
}

/* The old one answers before the new one goes: no request finds none. */
static void swap_back(struct master *m, struct life *old)
{
    struct life *news = cause_of(m, old);
    old->state = LIFE_READY;
    old->is_wanted_back = false;
    old->is_leaving =
        !life_is_wanted(m, old); /* when another comes that the configuration wants, which may be on its way */
    life_changed(m, old);
    forget_rejected(m, old->config->name);
    if (!news)
        return;
    rollback_reject(m, news);
    life_keep(m, news, old);
}

void rollback_drained(struct master *m, struct life *l)
{
    if (l->is_wanted_back)
        swap_back(m, l);
}

bool master_has_model(const struct master *m, const char *name, struct err *err)
{
    for (const struct life *l = m->lives; l; l = l->next)
        if (has_name(l, name))
            return true;
    err_set(err, ERR_NOT_FOUND, "Request for unknown model: '%.100s' is not found", name);
    (void)err_remedy(err, "POST /v2/repository/index lists the models");
    return false;
}

enum err_code master_rollback(struct master *m, const char *name, const char *reason, struct err *err)
{
    if (!master_has_model(m, name, err))
        return err->code;
    if (canary_reject(m, name, reason))
        return ERR_OK;
    struct life *old = kept_of(m, name);
    if (!old) {
        err_set(err, ERR_CONFLICT, "no earlier version of '%.100s' is kept", name);
        return err_remedy(err,
                          "models: {%.60s: {keep_old: 10m}} keeps what a new version replaces; or remove the new "
                          "version's folder and reload",
                          name);
    }
    (void)snprintf(m->last_error, sizeof m->last_error, "model %s was rolled back to version %s: %.300s", name,
                   old->config->version, reason);
    LOG_WARN("model rolled back", LOG_S("model", name), LOG_S("to", old->config->version), LOG_S("reason", reason));
    m->status_dirty = true;
    if (old->sent) { /* the edge still answers its last requests; it comes back when they are done */
        old->is_wanted_back = true;
        old->keep_until_ns = UINT64_MAX;
    } else {
        swap_back(m, old);
    }
    return ERR_OK;
}
