/* Which models are in memory: does what proc/budget.c decides, one step at a time.
 *
 *   ABSENT --start_load--> LOADING --ready--> READY --yield--> YIELDING --the edge has let go--> LEAVING --no process left--> ABSENT
 *                                               ^-----the edge: it is in use----'
 *
 * Memory is reserved before a process starts and given up when the last one is gone, so what is held is never more than what is counted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/master_budget_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/backend.h"
#include "serve/segment.h"

#define WATCH_EVERY_NS  (50 * NS_PER_MS) /* models that load may take more than was thought */
#define SAMPLE_EVERY_NS (5 * NS_PER_S)   /* those that serve may grow */
#define SAMPLES_MAX     16               /* at a time */
#define RETRY_NS        (2 * NS_PER_S)   /* after a failed load on demand; doubled each time */
#define RETRY_NS_MAX    (300 * NS_PER_S)
#define BACKENDS_MAX    16

static struct budget *budget_of(struct master *m)
{
    if (!m->budget) {
        m->budget = calloc(1, sizeof *m->budget);
        CHECK(m->budget);
    }
    return m->budget;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

bool life_is_on_demand(const struct life *l)
{
    return l->config->load == LOAD_ON_DEMAND;
}

void budget_changed(struct master *m)
{
    if (m->budget)
        m->budget->is_dirty = true;
}

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

static void load(struct master *m, struct life *l)
{
    if (l->state == LIFE_ASLEEP && life_has_new_file(l))
        start_anew(m, l);
    else
        start_load(m, l);
}

void budget_enter(struct master *m, struct life *l)
{
    struct budget *b = budget_of(m);
    if (!has_workers(l))
        return;
    memory_recall(m, l);
    b->is_dirty = true;
    if (!life_is_on_demand(l) || (l->replaces && budget_is_served(m, l))) {
        if (m->snapshot->config.memory_budget_bytes == 0)
            start_load(m, l);
        else
            l->res.due_ns = clock_now_ns();
        return;
    }
    l->state = LIFE_ASLEEP;
    (void)snprintf(l->res.why, sizeof l->res.why, "nobody has asked for it yet");
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

static void yield(struct master *m, struct life *l, bool is_drain, const char *why)
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
            yield(m, l, true, "by request");
            any = true;
        }
    return any ? ERR_OK : err_set(err, ERR_NOT_FOUND, "failed to unload '%.100s', it is not loaded", name);
}

/* A load that takes more than there is: what is known of it now decides whether it is tried again. */
static void stop(struct master *m, struct life *l)
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

void budget_edge_is_new(struct master *m)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->res.phase == BUDGET_YIELDING)
            l->res.phase = BUDGET_READY;
    wants_forget(m);
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

static void refuse(struct master *m, struct life *l, const struct budget_model *b, uint64_t bytes)
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

/* ---- what has happened ---- */

/* The pages of its batches too. */
static void gone(struct master *m, struct life *l)
{
    l->res.phase = BUDGET_ABSENT;
    segment_trim(l->segment_fd);
    m->status_dirty = true;
    budget_changed(m);
}

static void loaded(struct master *m, struct life *l, uint64_t now_ns)
{
    struct residence *r = &l->res;
    r->phase = BUDGET_READY;
    r->ready_ns = r->used_ns = now_ns;
    r->failures = 0;
    if (!r->memory
             .is_known) { /* else what it took last time will do until the next sample: this is no moment to lose */
        memory_measure(m, l);
        life_changed(m, l); /* now with what it takes */
    }
    budget_changed(m);
}

static void failed(struct life *l, uint64_t now_ns)
{
    struct residence *r = &l->res;
    uint64_t wait_ns = RETRY_NS << (r->failures < 10 ? r->failures : 10);
    r->failures++;
    r->retry_ns = now_ns + (wait_ns < RETRY_NS_MAX ? wait_ns : RETRY_NS_MAX);
}

static void try_again(struct master *m, struct life *l)
{
    l->res.retry_ns = 0;
    l->state = LIFE_ASLEEP;
    (void)snprintf(l->res.why, sizeof l->res.why, "its last load failed: %.200s", l->reason);
    l->reason[0] = '\0';
    life_changed(m, l);
}

static void refresh(struct master *m, struct life *l, uint64_t now_ns)
{
    struct residence *r = &l->res;
    bool is_over = l->state == LIFE_FAILED || l->state == LIFE_RETIRED;
    if (r->phase == BUDGET_LOADING && l->state == LIFE_READY)
        loaded(m, l, now_ns);
    if (is_over && r->phase != BUDGET_ABSENT && r->phase != BUDGET_LEAVING) {
        r->phase = BUDGET_LEAVING;
        if (l->state == LIFE_FAILED && life_is_on_demand(l))
            failed(l, now_ns);
    }
    if (r->phase == BUDGET_LEAVING && !has_processes(l))
        gone(m, l);
    if (l->state == LIFE_ASLEEP && !life_is_on_demand(l) && r->due_ns == 0) { /* a reload says so now */
        r->due_ns = now_ns;
        budget_changed(m);
    }
    if (l->state == LIFE_FAILED && r->retry_ns != 0 && r->phase == BUDGET_ABSENT && now_ns >= r->retry_ns)
        try_again(m, l);
}

/* ---- measuring as it goes ---- */

static void watch_loads(struct master *m, uint64_t now_ns)
{
    m->budget->watch_ns = UINT64_MAX;
    for (struct life *l = m->lives; l; l = l->next) {
        if (!has_workers(l) || l->res.phase != BUDGET_LOADING)
            continue;
        m->budget->watch_ns = now_ns + WATCH_EVERY_NS;
        uint64_t seen = memory_now(l);
        if (seen > l->res.memory.peak_bytes && seen > memory_need(l)) {
            l->res.memory.peak_bytes = seen;
            budget_changed(m);
        }
    }
}

static void sample(struct master *m, uint64_t now_ns)
{
    int left = SAMPLES_MAX;
    m->budget->sample_ns = now_ns + SAMPLE_EVERY_NS;
    for (struct life *l = m->lives; l && left > 0; l = l->next) {
        struct residence *r = &l->res;
        if (!has_workers(l) || r->phase != BUDGET_READY || now_ns < r->sampled_ns + SAMPLE_EVERY_NS)
            continue;
        left--;
        bool is_first = r->sampled_ns < r->ready_ns;
        uint64_t before = memory_need(l);
        if (is_first || memory_now(l) > before)
            memory_measure(m, l);
        r->sampled_ns = now_ns;
        if (memory_need(l) == before)
            continue;
        life_changed(m, l);
        budget_changed(m);
    }
}

/* ---- deciding ---- */

/* What it was to be loaded beside has gone meanwhile: it is loaded when it is asked for. */
static void just_replace(struct master *m, struct life *l)
{
    l->res.due_ns = l->res.wanted_ns = 0;
    l->state = LIFE_ASLEEP;
    (void)snprintf(l->res.why, sizeof l->res.why, "changed while there was no room to load it beside the old version");
    life_takes_over(m, l);
    budget_changed(m);
}

static void settle_replacements(struct master *m, struct life *const *lives, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct life *l = lives[i];
        bool is_waiting = l->replaces && has_workers(l) && l->res.phase == BUDGET_ABSENT && l->res.due_ns != 0;
        if (is_waiting && life_is_on_demand(l) && !l->res.is_beside)
            just_replace(m, l);
    }
}

static size_t gather(struct master *m)
{
    struct budget *b = m->budget;
    size_t n = 0, lives = 0;
    for (struct life *l = m->lives; l; l = l->next)
        lives++;
    if (lives + 1 > b->cap) {
        b->cap = lives + 64;
        b->models = realloc(b->models, b->cap * sizeof *b->models);
        b->lives = realloc(b->lives, b->cap * sizeof(struct life *));
        CHECK(b->models && b->lives);
    }
    memset(b->models, 0, b->cap * sizeof *b->models);
    budget_look_at_replacements(m, b->lives, lives);
    settle_replacements(m, b->lives, lives);
    memset(b->lives, 0, b->cap * sizeof(struct life *));
    for (struct life *l = m->lives; l; l = l->next)
        if (has_workers(l)) {
            b->models[n] = budget_describe(l);
            b->lives[n++] = l;
        }
    return n;
}

/* Whose programs are the same: models of one engine, and those that need none. */
static const char *program_of(const struct life *l)
{
    const struct backend *b = l->config->backend ? backend_by_name(str_c(l->config->backend)) : NULL;
    return b && b->engine_open ? b->name : "";
}

/* That is there once, however many models there are. */
static uint64_t programs(const struct budget *b, size_t n)
{
    const char *names[BACKENDS_MAX];
    uint64_t most[BACKENDS_MAX], sum = 0;
    size_t len = 0, k;
    for (size_t i = 0; i < n; i++) {
        const char *program = program_of(b->lives[i]);
        if (b->models[i].phase == BUDGET_ABSENT && b->models[i].wanted_ns == 0)
            continue;
        for (k = 0; k < len && strcmp(names[k], program) != 0; k++)
            ;
        if (k == BACKENDS_MAX)
            continue;
        if (k == len) {
            names[len] = program;
            most[len++] = 0;
        }
        uint64_t bytes = b->lives[i]->res.memory.program_bytes;
        most[k] = bytes > most[k] ? bytes : most[k];
    }
    for (k = 0; k < len; k++)
        sum += most[k];
    return sum;
}

/* For the log: who waits longest, of those that wait for room. */
static const struct life *first_waiting(const struct budget *b, size_t n)
{
    const struct life *first = NULL;
    for (size_t i = 0; i < n; i++)
        if (b->models[i].phase == BUDGET_ABSENT && b->models[i].wanted_ns != 0 && b->models[i].act != BUDGET_LOAD &&
            (!first || b->models[i].wanted_ns < first->res.wanted_ns))
            first = b->lives[i];
    return first;
}

static void say_why(const struct budget *b, size_t n, size_t i, char *out, size_t out_size)
{
    const struct life *for_whom = first_waiting(b, n);
    if (for_whom)
        (void)snprintf(out, out_size, "%s to make room for %.100s",
                       b->models[i].act == BUDGET_DRAIN ? "its turn is over," : "used longest ago,",
                       for_whom->config->name);
    else if (b->models[i].unload_after_ns > 0)
        (void)snprintf(out, out_size, "not used for its unload_after");
    else
        (void)snprintf(out, out_size, "the budget is smaller, or others take more than before");
}

static void obey(struct master *m, size_t n, uint64_t bytes)
{
    struct budget *b = m->budget;
    char why[200];
    for (size_t i = 0; i < n; i++) {
        struct life *l = b->lives[i];
        l->res.expect_ns = b->models[i].expect_ns;
        switch (b->models[i].act) {
        case BUDGET_NONE:
            break;
        case BUDGET_LOAD:
            load(m, l);
            break;
        case BUDGET_UNLOAD:
        case BUDGET_DRAIN:
            say_why(b, n, i, why, sizeof why);
            yield(m, l, b->models[i].act == BUDGET_DRAIN, why);
            break;
        case BUDGET_STOP:
            stop(m, l);
            break;
        case BUDGET_REFUSE:
            refuse(m, l, &b->models[i], bytes);
            break;
        }
    }
}

static void decide(struct master *m, uint64_t now_ns)
{
    struct budget *b = m->budget;
    uint64_t budget = m->snapshot->config.memory_budget_bytes, bytes = 0;
    b->is_dirty = false;
    wants_mark(m, now_ns);
    size_t n = gather(m);
    b->program_bytes = programs(b, n);
    if (budget > 0)
        bytes = budget > b->program_bytes ? budget - b->program_bytes : 1;
    b->next_ns = earlier(budget_decide(b->models, n, bytes, now_ns), wants_next_ns(m));
    b->held_bytes = 0;
    for (size_t i = 0; i < n; i++)
        b->held_bytes += budget_held(&b->models[i]);
    obey(m, n, bytes);
    if (budget > 0 && b->watch_ns == UINT64_MAX)
        b->watch_ns = now_ns + WATCH_EVERY_NS;
    wants_expect(m);
}

void budget_tick(struct master *m, uint64_t now_ns)
{
    struct budget *b = m->budget;
    if (!b || m->stopping)
        return;
    for (struct life *l = m->lives; l; l = l->next)
        if (has_workers(l))
            refresh(m, l, now_ns);
    bool has_budget = m->snapshot->config.memory_budget_bytes > 0;
    if (has_budget && now_ns >= b->watch_ns)
        watch_loads(m, now_ns);
    if (has_budget && now_ns >= b->sample_ns)
        sample(m, now_ns);
    for (int rounds = 0; rounds < 4 && (b->is_dirty || now_ns >= b->next_ns); rounds++)
        decide(m, now_ns);
}

uint64_t budget_next_ns(const struct master *m)
{
    const struct budget *b = m->budget;
    if (!b || m->stopping)
        return UINT64_MAX;
    uint64_t next = b->is_dirty ? 0 : b->next_ns;
    if (m->snapshot->config.memory_budget_bytes > 0)
        next = earlier(next, earlier(b->watch_ns, b->sample_ns));
    for (const struct life *l = m->lives; l; l = l->next)
        if (l->state == LIFE_FAILED && l->res.retry_ns != 0)
            next = earlier(next, l->res.retry_ns);
    return next;
}
