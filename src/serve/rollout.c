#include "serve/rollout.h"

#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "net/http.h"
#include "serve/compare.h"
#include "serve/rollout_int.h"
#include "serve/shadow.h"

#define SEED 0x71756572u /* the same caller gets the same version after a restart, too */

/* ---- who gets it ---- */

static struct served *canary_of(struct serve *s, const struct served *stable)
{
    for (size_t i = 0; i < s->models_len; i++) {
        struct served *m = s->models[i];
        if (m->rollout.is_canary && !m->is_retired && m->info.state == SERVED_READY &&
            strcmp(m->info.name, stable->info.name) == 0)
            return m;
    }
    return NULL;
}

static bool is_chosen(const struct serve *s, const struct served *canary)
{
    const struct rollout_policy *p = &canary->rollout;
    struct str value = {NULL, 0};
    if (s->caller && p->header[0])
        value = http_header_get(s->caller, p->header);
    if (str_eq_c(value, "always"))
        return true;
    if (str_eq_c(value, "never"))
        return false;
    uint64_t key = value.n ? hash64(value.p, value.n, SEED) : s->caller ? s->caller->peer : 0;
    return hash64(&key, sizeof key, SEED) % 100 < p->percent;
}

struct served *rollout_choose(struct serve *s, struct served *stable)
{
    struct served *canary = s->canaries > 0 ? canary_of(s, stable) : NULL;
    return canary && is_chosen(s, canary) ? canary : stable;
}

struct served *rollout_served(struct serve *s, uint32_t id)
{
    struct served *m = serve_by_segment(s, id);
    return m && !m->is_retired ? m : NULL;
}

/* ---- counting ---- */

/* Four buckets for each doubling of microseconds. */
static uint32_t bucket_of(uint64_t ns)
{
    uint64_t us = ns / 1000 + 4; /* from 4 on there are two bits below the first */
    uint32_t log = 63 - (uint32_t)__builtin_clzll(us);
    uint32_t b = (log - 2) * 4 + (uint32_t)(us >> (log - 2) & 3);
    return b < ROLLOUT_BUCKETS ? b : ROLLOUT_BUCKETS - 1;
}

uint64_t rollout_quantile_us(const struct rollout_counts *c, const uint32_t *since, double q)
{
    uint64_t sum = 0, seen = 0;
    for (uint32_t b = 0; b < ROLLOUT_BUCKETS; b++)
        sum += atomic_load_explicit(&c->latency[b], memory_order_relaxed) - (since ? since[b] : 0);
    for (uint32_t b = 0; b < ROLLOUT_BUCKETS; b++) {
        seen += atomic_load_explicit(&c->latency[b], memory_order_relaxed) - (since ? since[b] : 0);
        if (seen > 0 && (double)seen >= q * (double)sum)
            return ((uint64_t)(4 + b % 4 + 1) << (b / 4)) - 4;
    }
    return 0;
}

static bool is_models_fault(enum err_code code)
{
    return code == ERR_BACKEND || code == ERR_INTERNAL || code == ERR_TIMEOUT || code == ERR_IO ||
           code == ERR_UNSUPPORTED;
}

static void count(struct rollout_counts *c, const struct infer *i)
{
    if (is_models_fault(i->err.code))
        atomic_fetch_add_explicit(&c->failed, 1, memory_order_relaxed);
    if (i->err.code != ERR_OK)
        return;
    uint64_t now = clock_now_ns(), took = now > i->t_submit_ns ? now - i->t_submit_ns : 0;
    atomic_fetch_add_explicit(&c->answered, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->latency[bucket_of(took)], 1, memory_order_relaxed);
}

void rollout_end(struct infer *i)
{
    struct served *m = i->model;
    if (i->part_of || shadow_is_one(i) || compare_is_one(i))
        return;
    if (m->shared->kept && i->err.code == ERR_OK && i->block)
        compare_ring_offer(m->shared->kept, i);
    if (m->serve->canaries == 0)
        return;
    count(&m->shared->rollout, i);
    if (m->rollout.is_canary || i->err.code != ERR_OK || !i->block)
        return;
    struct served *canary = canary_of(m->serve, m);
    if (!canary || canary->rollout.shadow_percent == 0)
        return;
    m->shadow_turn += canary->rollout.shadow_percent;
    if (m->shadow_turn < 100)
        return;
    m->shadow_turn -= 100;
    shadow_send(i, canary);
}
