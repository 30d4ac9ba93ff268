/* Before a new version takes over, or is tried as canary, it may be compared with the one that serves: by itself, and as member of ensembles. The edge asks both
 * and tells what came out; here it is acted on. Meanwhile the new version is a canary that nobody gets. */
#include <stdio.h>
#include <string.h>

#include "app/master_int.h"
#include "base/log.h"
#include "serve/compare.h"

static bool has_name(const struct life *l, const char *name)
{
    return strcmp(l->config->name, name) == 0;
}

/* Versions are whole numbers without leading zeros: the longer is the greater. */
static bool is_newer(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    return na != nb ? na > nb : strcmp(a, b) > 0;
}

/* Who names no version would get it. */
static bool is_newest(const struct master *m, const struct life *l)
{
    for (const struct life *other = m->lives; other; other = other->next)
        if (other != l && other->state == LIFE_READY && !other->is_canary && !other->is_leaving &&
            has_name(other, l->config->name) && is_newer(other->config->version, l->config->version))
            return false;
    return true;
}

/* A serving ensemble that wants to be asked when a member changes, and that this would be a member of. */
static bool is_asked(const struct master *m, const struct life *ensemble, const struct life *l)
{
    const struct ensemble_step_config *steps = ensemble->config->ensemble.steps.items;
    if (ensemble->state != LIFE_READY || ensemble->is_canary || ensemble->is_leaving ||
        ensemble->config->compare.mode == COMPARE_OFF)
        return false;
    for (size_t i = 0; i < ensemble->config->ensemble.steps.len; i++)
        if (has_name(l, steps[i].model) &&
            (steps[i].version ? strcmp(steps[i].version, l->config->version) == 0 : is_newest(m, l)))
            return true;
    return false;
}

static bool is_wanted(const struct master *m, const struct life *l)
{
    bool is_wanted = l->config->compare.mode != COMPARE_OFF;
    for (const struct life *e = m->lives; e && !is_wanted; e = e->next)
        is_wanted = is_asked(m, e, l);
    return l->replaces && is_wanted;
}

bool compare_is_due(const struct master *m, const struct life *l)
{
    for (const struct life *old = m->lives; old; old = old->next)
        if (old != l && old->state == LIFE_READY && !old->is_canary && has_name(old, l->config->name))
            return is_wanted(m, l);
    return false;
}

void compare_expect(const struct master *m, struct life *l)
{
    l->is_canary = l->is_comparing = l->config->isolation == ISOLATION_INLINE && is_wanted(m, l);
}

void compare_begin(struct master *m, struct life *l)
{
    l->is_canary = l->is_comparing = true;
    LOG_INFO("model is compared with the version before", LOG_S("model", l->config->name),
             LOG_S("version", l->config->version));
    life_changed(m, l);
}

static void write_subject(const struct compare_config *c, uint32_t ensemble, struct json_writer *w)
{
    jw_object(w);
    jw_kv_u64(w, "ensemble", ensemble);
    jw_kv_bool(w, "required", c->mode == COMPARE_REQUIRE);
    jw_kv_f64(w, "tolerance", c->tolerance);
    jw_kv_i64(w, "samples", c->samples);
    jw_kv_u64(w, "within_ns", c->within_ns);
    jw_object_end(w);
}

void compare_payload(const struct master *m, const struct life *l, struct json_writer *w)
{
    const struct compare_config *c = &l->config->compare;
    size_t n = 0;
    if (c->mode != COMPARE_OFF && c->keep_requests > 0)
        jw_kv_i64(w, "keep_requests", c->keep_requests);
    if (!l->is_comparing)
        return;
    jw_key(w, "compare");
    jw_object(w);
    jw_kv_bool(w, "newest", is_newest(m, l));
    jw_key(w, "subjects");
    jw_array(w);
    if (c->mode != COMPARE_OFF && ++n)
        write_subject(c, 0, w);
    for (const struct life *e = m->lives; e && n < COMPARE_SUBJECTS_MAX; e = e->next)
        if (is_asked(m, e, l) && ++n)
            write_subject(&e->config->compare, e->segment, w);
    jw_array_end(w);
    jw_object_end(w);
}

bool compare_passes(struct master *m, struct life *l, bool is_same, bool is_refused, const char *text)
{
    l->is_canary = l->is_comparing = false;
    (void)snprintf(l->compared, sizeof l->compared, "%s: %.360s", is_same ? "same" : "differs", text);
    m->status_dirty = true;
    if (is_same) {
        LOG_INFO("model agrees with the version before", LOG_S("model", l->config->name),
                 LOG_S("version", l->config->version), LOG_S("result", text));
    } else if (!is_refused) {
        LOG_WARN("model differs from the version before", LOG_S("model", l->config->name),
                 LOG_S("version", l->config->version), LOG_S("result", text));
        (void)snprintf(m->last_error, sizeof m->last_error,
                       "model %s: version %s differs from the version before: %.360s", l->config->name,
                       l->config->version, text);
    }
    return !is_refused;
}
