/* Ensembles have no process: they are ready when their members are, and their tensors fit together. Looked at by the first thread whenever
 * something about a model has changed. */
#include <stdlib.h>
#include <string.h>

#include "app/edge_int.h"
#include "base/check.h"
#include "serve/ensemble.h"

/* Versions are whole numbers without leading zeros: the longer is the greater. */
static bool is_newer(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    return na != nb ? na > nb : strcmp(a, b) > 0;
}

/* Its first request loads it. */
static bool sleeps(const struct edge_model *m)
{
    return m->is_on_demand && (m->state == SERVED_UNLOADED || m->state == SERVED_LOADING);
}

/* What the step would be served by: the newest that is ready, else the newest. One that is only tried is nobody's member, unless by its number. */
static const struct edge_model *member_of(const struct edge *e, const struct ensemble_step *s)
{
    const struct edge_model *best = NULL;
    for (size_t i = 0; i < e->models_len; i++) {
        const struct edge_model *m = &e->models[i];
        if (strcmp(m->shared->name, s->model) != 0 || (s->version[0] && strcmp(m->shared->version, s->version) != 0) ||
            (!s->version[0] && m->rollout.policy.is_canary))
            continue;
        bool is_ready = m->state == SERVED_READY || sleeps(m);
        bool best_is_ready = best && (best->state == SERVED_READY || sleeps(best));
        if (!best || (is_ready && !best_is_ready) ||
            (is_ready == best_is_ready && is_newer(m->shared->version, best->shared->version)))
            best = m;
    }
    return best;
}

static bool same_tensors(const struct tensor_spec *a, uint32_t a_len, const struct tensor_spec *b, uint32_t b_len)
{
    bool same = a_len == b_len;
    for (uint32_t i = 0; same && i < a_len; i++)
        same = a[i].dtype == b[i].dtype && a[i].ndim == b[i].ndim &&
               memcmp(a[i].dims, b[i].dims, (size_t)a[i].ndim * sizeof a[i].dims[0]) == 0;
    return same;
}

/* Clients and other threads read the description: once told it stays. */
static enum err_code take_description(struct model_shared *sh, const struct model_desc *d, struct err *err)
{
    if (!sh->desc) {
        sh->desc = model_desc_copy(d);
        return ERR_OK;
    }
    if (same_tensors(sh->desc->inputs, sh->desc->inputs_len, d->inputs, d->inputs_len) &&
        same_tensors(sh->desc->outputs, sh->desc->outputs_len, d->outputs, d->outputs_len))
        return ERR_OK;
    err_set(err, ERR_UNAVAILABLE, "a member was replaced by one with other tensors");
    return err_remedy(err, "reload the configuration once more");
}

enum err_code edge_ensemble_try(const struct edge *e, const struct edge_model *ensemble, const struct edge_model *news,
                                const struct ensemble_trial *trial, struct err *err)
{
    const struct ensemble *en = ensemble->shared->ensemble;
    const struct model_desc *members[ENSEMBLE_STEPS_MAX] = {0};
    const struct model_desc *now = ensemble->shared->desc;
    static struct model_desc d; /* large; the first thread only */
    for (uint32_t i = 0; i < en->steps_len; i++) {
        const struct edge_model *member =
            ensemble_step_tries(&en->steps[i], trial, news->shared->name, news->shared->version)
                ? news
                : member_of(e, &en->steps[i]);
        if (!member || !member->shared->desc)
            return err_set(err, ERR_INVALID, "model '%s' of step '%s' is not loaded", en->steps[i].model,
                           en->steps[i].name);
        members[i] = member->shared->desc;
    }
    if (ensemble_describe(en, members, &d, err))
        return err->code;
    if (now && same_tensors(now->inputs, now->inputs_len, d.inputs, d.inputs_len) &&
        same_tensors(now->outputs, now->outputs_len, d.outputs, d.outputs_len))
        return ERR_OK;
    return err_set(err, ERR_INVALID, "its tensors would have other types or shapes");
}

/* One whose members are on demand is too: it is ready when they are loaded, which its first request asks for. Until then it looks like they did when
 * they were loaded last. */
static enum served_state unloaded(struct edge_model *m, const struct model_desc *const *members, struct model_desc *d)
{
    const struct ensemble *en = m->shared->ensemble;
    struct err err;
    bool is_known = true;
    m->is_on_demand = true;
    for (uint32_t i = 0; i < en->steps_len; i++)
        is_known = is_known && members[i];
    if (!is_known || m->shared->desc || atomic_load(&m->shared->recalled) || ensemble_describe(en, members, d, &err))
        return SERVED_UNLOADED;
    atomic_store(&m->shared->recalled, model_desc_copy(d));
    return SERVED_UNLOADED;
}

static enum served_state state_of(struct edge *e, struct edge_model *m, struct err *err)
{
    const struct ensemble *en = m->shared->ensemble;
    const struct model_desc *members[ENSEMBLE_STEPS_MAX] = {0};
    static struct model_desc d; /* large; the first thread only */
    enum served_state all = SERVED_READY;
    bool any_sleeps = false;
    for (uint32_t i = 0; i < en->steps_len && all != SERVED_FAILED; i++) {
        const struct edge_model *member = member_of(e, &en->steps[i]);
        if (member && sleeps(member)) {
            any_sleeps = true;
            members[i] = member->shared->desc ? member->shared->desc : atomic_load(&member->shared->recalled);
            continue;
        }
        bool is_coming = member ? member->state == SERVED_LOADING : e->models_len < e->models_expected;
        if (is_coming) {
            all = SERVED_LOADING;
        } else if (!member || member->state != SERVED_READY) {
            all = SERVED_FAILED;
            err_set(err, ERR_UNAVAILABLE, "step '%s': model '%s' %s%.200s", en->steps[i].name, en->steps[i].model,
                    member ? "cannot be served: " : "is not loaded", member ? member->reason : "");
        } else {
            members[i] = member->shared->desc;
        }
    }
    if (all != SERVED_READY)
        return all;
    if (any_sleeps)
        return unloaded(m, members, &d);
    if (ensemble_describe(en, members, &d, err) || take_description(m->shared, &d, err))
        return SERVED_FAILED;
    return SERVED_READY;
}

void edge_ensembles_update(struct edge *e)
{
    for (size_t i = 0; i < e->models_len && e->ensembles > 0; i++) {
        struct edge_model *m = &e->models[i];
        struct err err = {0};
        if (!m->shared->ensemble)
            continue;
        enum served_state now = state_of(e, m, &err);
        if (now != m->state || (now == SERVED_FAILED && !str_starts(str_c(m->reason), str_c(err.text))))
            edge_model_is(e, m, now, &err);
    }
}
