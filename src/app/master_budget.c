/* Which models are in memory: asks proc/budget.c whenever something has changed, and has done what it decides.
 *
 *   ABSENT --load--> LOADING --ready--> READY --yield--> YIELDING --the edge has let go--> LEAVING --no process left--> ABSENT
 *                                         ^-----the edge: it is in use----'
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

#define BACKENDS_MAX 16

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

void budget_enter(struct master *m, struct life *l)
{
    struct budget *b = budget_of(m);
    if (!has_workers(l))
        return;
    memory_recall(m, l);
    b->is_dirty = true;
    if (!life_is_on_demand(l) || (l->replaces && budget_is_served(m, l))) {
        if (m->snapshot->config.memory_budget_bytes == 0)
            budget_load(m, l);
        else
            l->res.due_ns = clock_now_ns();
        return;
    }
    l->state = LIFE_ASLEEP;
    (void)snprintf(l->res.why, sizeof l->res.why, "nobody has asked for it yet");
}

void budget_edge_is_new(struct master *m)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->res.phase == BUDGET_YIELDING)
            l->res.phase = BUDGET_READY;
    wants_forget(m);
}

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
            budget_load(m, l);
            break;
        case BUDGET_UNLOAD:
        case BUDGET_DRAIN:
            say_why(b, n, i, why, sizeof why);
            budget_yield(m, l, b->models[i].act == BUDGET_DRAIN, why);
            break;
        case BUDGET_STOP:
            budget_stop(m, l);
            break;
        case BUDGET_REFUSE:
            budget_refuse(m, l, &b->models[i], bytes);
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
        b->watch_ns = now_ns + BUDGET_WATCH_EVERY_NS;
    wants_expect(m);
}

void budget_tick(struct master *m, uint64_t now_ns)
{
    struct budget *b = m->budget;
    if (!b || m->stopping)
        return;
    for (struct life *l = m->lives; l; l = l->next)
        if (has_workers(l))
            budget_refresh(m, l, now_ns);
    bool has_budget = m->snapshot->config.memory_budget_bytes > 0;
    if (has_budget && now_ns >= b->watch_ns)
        budget_watch_loads(m, now_ns);
    if (has_budget && now_ns >= b->sample_ns)
        budget_sample(m, now_ns);
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
