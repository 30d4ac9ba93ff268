/* What becomes of workers that load, serve and end, and what they take meanwhile: their residence is brought up to date before anything is decided. */
#include <stdio.h>

#include "app/master_budget_int.h"
#include "base/clock.h"
#include "serve/segment.h"

#define SAMPLE_EVERY_NS (5 * NS_PER_S) /* those that serve may grow */
#define SAMPLES_MAX     16             /* at a time */
#define RETRY_NS        (2 * NS_PER_S) /* after a failed load on demand; doubled each time */
#define RETRY_NS_MAX    (300 * NS_PER_S)

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

void budget_refresh(struct master *m, struct life *l, uint64_t now_ns)
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

void budget_watch_loads(struct master *m, uint64_t now_ns)
{
    m->budget->watch_ns = UINT64_MAX;
    for (struct life *l = m->lives; l; l = l->next) {
        if (!has_workers(l) || l->res.phase != BUDGET_LOADING)
            continue;
        m->budget->watch_ns = now_ns + BUDGET_WATCH_EVERY_NS;
        uint64_t seen = memory_now(l);
        if (seen > l->res.memory.peak_bytes && seen > memory_need(l)) {
            l->res.memory.peak_bytes = seen;
            budget_changed(m);
        }
    }
}

void budget_sample(struct master *m, uint64_t now_ns)
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
