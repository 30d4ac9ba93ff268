/* Before a new version takes over, or is tried as canary, it may be compared with the one that serves. The edge asks both and tells what came out; here it
 * is acted on. Meanwhile the new version is a canary that nobody gets. */
#include <stdio.h>
#include <string.h>

#include "app/master_int.h"
#include "base/log.h"

bool compare_is_due(struct master *m, const struct life *l)
{
    if (!l->replaces || l->config->compare.mode == COMPARE_OFF || l->config->isolation != ISOLATION_PROCESS)
        return false;
    for (const struct life *old = m->lives; old; old = old->next)
        if (old != l && old->state == LIFE_READY && !old->is_canary && strcmp(old->config->name, l->config->name) == 0)
            return true;
    return false;
}

void compare_begin(struct master *m, struct life *l)
{
    l->is_canary = l->is_comparing = true;
    LOG_INFO("model is compared with the version before", LOG_S("model", l->config->name),
             LOG_S("version", l->config->version));
    life_changed(m, l);
}

void compare_payload(const struct life *l, struct json_writer *w)
{
    const struct compare_config *c = &l->config->compare;
    if (c->mode != COMPARE_OFF && c->keep_requests > 0)
        jw_kv_i64(w, "keep_requests", c->keep_requests);
    if (!l->is_comparing)
        return;
    jw_key(w, "compare");
    jw_object(w);
    jw_kv_f64(w, "tolerance", c->tolerance);
    jw_kv_i64(w, "samples", c->samples);
    jw_kv_u64(w, "within_ns", c->within_ns);
    master_write_warm_up(l->config, w);
    jw_object_end(w);
}

bool compare_passes(struct master *m, struct life *l, bool is_same, const char *text)
{
    bool passes = is_same || l->config->compare.mode == COMPARE_WARN;
    l->is_canary = l->is_comparing = false;
    (void)snprintf(l->compared, sizeof l->compared, "%s: %.360s", is_same ? "same" : "differs", text);
    m->status_dirty = true;
    if (is_same) {
        LOG_INFO("model agrees with the version before", LOG_S("model", l->config->name),
                 LOG_S("version", l->config->version), LOG_S("result", text));
    } else if (passes) {
        LOG_WARN("model differs from the version before", LOG_S("model", l->config->name),
                 LOG_S("version", l->config->version), LOG_S("result", text));
        (void)snprintf(m->last_error, sizeof m->last_error,
                       "model %s: version %s differs from the version before: %.360s", l->config->name,
                       l->config->version, text);
    }
    return passes;
}
