/* What the budget has done to one model's workers: they are loaded, asked to go, stopped while they load, or refused. */
#include <stdio.h>
#include <string.h>

#include "app/master_budget_int.h"
#include "base/clock.h"
#include "base/log.h"

bool budget_is_yielding(const struct life *l)
{
    return l->res.phase == BUDGET_YIELDING;
}

/* "1.2 GiB" */
static const char *bytes_text(uint64_t bytes, char out[24])
{
    if (bytes >= UINT64_C(1) << 30)
        (void)snprintf(out, 24, "%.2f GiB", (double)bytes / (double)(UINT64_C(1) << 30));
    else
        (void)snprintf(out, 24, "%.1f MiB", (double)bytes / (double)(UINT64_C(1) << 20));
    return out;
}

/* ---- loading ---- */

static void load_children(struct master *m, struct life *l)
{
    scale_begin(m, l); /* as many as are worth having now */
    for (int i = 0; i < l->children_len; i++) {
        struct child *c = &l->children[i];
        c->restart = (struct restart){.restarts = c->restart.restarts};
        c->reason[0] = '\0';
        child_start(m, c);
    }
}

static void start_load(struct master *m, struct life *l)
{
    struct residence *r = &l->res;
    bool was_asleep = l->state == LIFE_ASLEEP;
    r->phase = BUDGET_LOADING;
    r->started_ns = clock_now_ns();
    r->due_ns = 0;
    r->loads++;
    r->is_busy = false;
    l->state = LIFE_LOADING;
    l->reason[0] = '\0';
    m->status_dirty = true;
    (void)snprintf(r->why, sizeof r->why, "%s", was_asleep ? "it was asked for" : "");
    load_children(m, l);
    if (!was_asleep)
        return;
    LOG_INFO("model loads on demand", LOG_S("model", l->config->name), LOG_S("version", l->config->version),
             LOG_U("need_mib", memory_need(l) >> 20));
    life_changed(m, l);
}

/* A file that was changed while the model was not loaded: what loads is a new life. */
static void start_anew(struct master *m, struct life *l)
{
    struct err err = {0};
    LOG_INFO("the model's file has changed", LOG_S("model", l->config->name), LOG_S("version", l->config->version));
    if (life_start(m, l->snapshot, l->config, true, &err))
        LOG_ERROR("cannot start a model", LOG_S("model", l->config->name), LOG_S("error", err.text));
}

void budget_load(struct master *m, struct life *l)
{
    if (l->state == LIFE_ASLEEP && life_has_new_file(l))
        start_anew(m, l);
    else
        start_load(m, l);
}

/* ---- going ---- */

static void leave(struct master *m, struct life *l)
{
    struct residence *r = &l->res;
    r->phase = BUDGET_LEAVING;
    r->unloads++;
    m->status_dirty = true;
    for (int i = 0; i < l->children_len; i++)
        if (l->children[i].state != CHILD_STOPPED && l->children[i].state != CHILD_DRAINING)
            child_signal_drain(m, &l->children[i]);
}

void budget_yielded(struct master *m, struct life *l, bool is_busy)
{
    struct residence *r = &l->res;
    if (r->phase != BUDGET_YIELDING)
        return;
    budget_changed(m);
    if (is_busy) {
        r->phase = BUDGET_READY;
        r->is_busy = true;
        r->used_ns = clock_now_ns();
        life_changed(m, l);
        return;
    }
    memory_measure(m, l);
    LOG_INFO("model is unloaded", LOG_S("model", l->config->name), LOG_S("version", l->config->version),
             LOG_S("why", r->why), LOG_U("mib", memory_need(l) >> 20));
    l->state = LIFE_ASLEEP;
    leave(m, l);
    life_changed(m, l);
}

void budget_yield(struct master *m, struct life *l, bool is_drain, const char *why)
{
    char text[80];
    (void)str_copy(l->res.why, sizeof l->res.why, str_c(why));
    if (l->state == LIFE_KEPT) {
        LOG_INFO("old version is no longer kept", LOG_S("model", l->config->name), LOG_S("version", l->config->version),
                 LOG_S("why", why));
        life_retire(m, l);
        return;
    }
    l->res.phase = BUDGET_YIELDING;
    m->status_dirty = true;
    if (m->edge.state != CHILD_READY || !l->sent) { /* nobody sends it requests */
        budget_yielded(m, l, false);
        return;
    }
    (void)snprintf(text, sizeof text, "{\"segment\":%u,\"drain\":%s}", l->segment, is_drain ? "true" : "false");
    child_send(m, &m->edge, CHANNEL_YIELD, str_c(text), NULL, 0);
}

enum err_code budget_unload(struct master *m, const char *name, struct err *err)
{
    bool any = false;
    for (struct life *l = m->lives; l; l = l->next)
        if (l->state == LIFE_READY && l->res.phase == BUDGET_READY && !budget_is_pinned(l) &&
            strcmp(l->config->name, name) == 0) {
            budget_yield(m, l, true, "by request");
            any = true;
        }
    return any ? ERR_OK : err_set(err, ERR_NOT_FOUND, "failed to unload '%.100s', it is not loaded", name);
}

void budget_stop(struct master *m, struct life *l)
{
    LOG_WARN("a load takes more memory than there is, and is stopped", LOG_S("model", l->config->name),
             LOG_U("mib", l->res.memory.peak_bytes >> 20));
    if (life_is_on_demand(l) && !l->replaces)
        l->state = LIFE_ASLEEP;
    else
        l->res.due_ns = clock_now_ns();
    leave(m, l);
    life_changed(m, l);
}

/* ---- refusing ---- */

/* Who may not go, the largest first, as far as there is room in the text. */
static void list_holders(const struct master *m, const struct life *but, char *out, size_t out_size)
{
    const struct budget *b = m->budget;
    uint64_t below = UINT64_MAX;
    size_t at = 0;
    char bytes[24];
    out[0] = '\0';
    for (int shown = 0; shown < 4; shown++) {
        const struct life *largest = NULL;
        uint64_t most = 0;
        for (size_t i = 0; i < b->cap && b->lives[i]; i++) {
            uint64_t held = budget_held(&b->models[i]);
            if (b->models[i].is_pinned && !b->models[i].is_passing && b->lives[i] != but && held < below &&
                held > most) {
                most = held;
                largest = b->lives[i];
            }
        }
        if (!largest || at + 100 > out_size)
            return;
        at += (size_t)snprintf(out + at, out_size - at, "%s%.60s %s", at ? ", " : "", largest->config->name,
                               bytes_text(most, bytes));
        below = most;
    }
}

void budget_refuse(struct master *m, struct life *l, const struct budget_model *b, uint64_t bytes)
{
    struct err why = {0};
    char need[24], budget[24], pinned[24], holders[160];
    uint64_t needs = b->need_bytes > b->peak_bytes ? b->need_bytes : b->peak_bytes;
    uint64_t held = budget_staying(m->budget->models, m->budget->cap);
    list_holders(m, l, holders, sizeof holders);
    err_set(&why, ERR_UNAVAILABLE, "model '%.60s' needs %s%s%s, memory_budget leaves %s for models%s%s%s%s%s",
            l->config->name, l->res.memory.is_known ? "" : "about ", bytes_text(needs + b->together_bytes, need),
            b->together_bytes > 0 ? " with the other members of its ensemble" : "", bytes_text(bytes, budget),
            held > 0 ? ", and " : "", held > 0 ? bytes_text(held, pinned) : "",
            held > 0 ? " are held by those that stay (" : "", held > 0 ? holders : "", held > 0 ? ")" : "");
    err_remedy(&why, "raise memory_budget, or say load: on-demand of models that need not stay");
    if (l->res.due_ns != 0) {
        l->res.due_ns = 0;
        life_fail(m, l, why.text);
        return;
    }
    (void)str_copy(l->res.why, sizeof l->res.why, str_c(why.text));
    LOG_WARN("a model that is wanted does not fit", LOG_S("model", l->config->name), LOG_S("error", why.text));
    wants_refused(m, l, &why);
    l->res.wanted_ns = 0;
    loads_settle(m, l->config->name, why.text);
    m->status_dirty = true;
}
