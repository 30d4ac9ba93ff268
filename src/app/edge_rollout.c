/* Judges a canary: takes it when it has served well for its time, sends it back when it fails, is slow, or answers otherwise than the version
 * before. The master acts on the verdict. */
#include <stdio.h>
#include <string.h>

#include "app/edge_int.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#define FAILURES_MIN     3    /* fewer are chance */
#define LATENCY_SLACK_US 1000 /* differences below are noise */

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

struct edge_model *edge_stable_of(struct edge *e, const struct edge_model *canary)
{
    struct edge_model *best = NULL;
    for (size_t i = 0; i < e->models_len; i++) {
        struct edge_model *m = &e->models[i];
        if (m != canary && !m->rollout.policy.is_canary && m->state == SERVED_READY &&
            strcmp(m->shared->name, canary->shared->name) == 0)
            best = m; /* the newest came last */
    }
    return best;
}

static void begin(struct edge_rollout *r, const struct edge_model *stable, uint64_t now_ns)
{
    const struct rollout_counts *c = &stable->shared->rollout;
    r->began_ns = now_ns;
    r->before_segment = stable->shared->id;
    r->before_answered = get(&c->answered);
    r->before_failed = get(&c->failed);
    for (int b = 0; b < ROLLOUT_BUCKETS; b++)
        r->before_latency[b] = atomic_load_explicit(&c->latency[b], memory_order_relaxed);
}

struct facts {
    uint64_t answered, failed, compared, differed;
    uint64_t old_answered, old_failed;
    uint64_t p95_us, old_p95_us;
};

static struct facts facts_of(const struct edge_model *canary, const struct edge_model *stable)
{
    const struct edge_rollout *r = &canary->rollout;
    const struct rollout_counts *c = &canary->shared->rollout, *old = &stable->shared->rollout;
    return (struct facts){.answered = get(&c->answered),
                          .failed = get(&c->failed),
                          .compared = get(&c->compared),
                          .differed = get(&c->differed),
                          .old_answered = get(&old->answered) - r->before_answered,
                          .old_failed = get(&old->failed) - r->before_failed,
                          .p95_us = rollout_quantile_us(c, NULL, 0.95),
                          .old_p95_us = rollout_quantile_us(old, r->before_latency, 0.95)};
}

static double percent(uint64_t n, uint64_t of)
{
    return of ? 100.0 * (double)n / (double)of : 0;
}

/* True: it goes back, and why. */
static bool is_bad(const struct edge_rollout *r, const struct facts *f, char *why, size_t why_size)
{
    uint64_t n = f->answered + f->failed, old_n = f->old_answered + f->old_failed;
    if (f->failed >= FAILURES_MIN && percent(f->failed, n) > r->max_failures + percent(f->old_failed, old_n)) {
        (void)snprintf(why, why_size, "%llu of %llu requests failed; of the version before %llu of %llu",
                       (unsigned long long)f->failed, (unsigned long long)n, (unsigned long long)f->old_failed,
                       (unsigned long long)old_n);
        return true;
    }
    if (f->answered >= r->min_requests && f->old_answered >= r->min_requests &&
        (double)f->p95_us > r->max_slower * (double)f->old_p95_us + LATENCY_SLACK_US) {
        (void)snprintf(why, why_size, "95 %% of requests took up to %llu us; of the version before %llu us",
                       (unsigned long long)f->p95_us, (unsigned long long)f->old_p95_us);
        return true;
    }
    if (f->compared >= r->min_requests && percent(f->differed, f->compared) > r->max_different) {
        (void)snprintf(why, why_size, "outputs differ in %llu of %llu compared requests",
                       (unsigned long long)f->differed, (unsigned long long)f->compared);
        return true;
    }
    return false;
}

static bool is_good(const struct edge_rollout *r, const struct facts *f, uint64_t now_ns)
{
    bool has_served = r->policy.percent == 0 || f->answered >= r->min_requests;
    bool has_compared = r->policy.shadow_percent == 0 || f->compared >= r->min_requests;
    return now_ns - r->began_ns >= r->for_ns && has_served && has_compared;
}

static void tell(struct edge *e, const struct edge_model *m, bool ok, const char *why)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    jw_object(&w);
    jw_kv_u64(&w, "segment", m->shared->id);
    jw_kv_bool(&w, "ok", ok);
    jw_kv_c(&w, "reason", why);
    jw_object_end(&w);
    edge_tell(e, CHANNEL_VERDICT, buf_view(&text));
    buf_done(&text);
}

static void judge(struct edge *e, struct edge_model *m, uint64_t now_ns)
{
    struct edge_rollout *r = &m->rollout;
    struct edge_model *stable = edge_stable_of(e, m);
    char why[200] = "";
    if (!stable || m->state != SERVED_READY || r->is_judged)
        return;
    if (r->before_segment != stable->shared->id)
        begin(r, stable, now_ns);
    struct facts f = facts_of(m, stable);
    bool bad = is_bad(r, &f, why, sizeof why);
    if (!bad && !is_good(r, &f, now_ns))
        return;
    r->is_judged = true;
    tell(e, m, !bad, why);
}

void edge_rollout_tick(struct edge *e)
{
    uint64_t now = clock_now_ns();
    for (size_t i = 0; i < e->models_len; i++)
        if (e->models[i].rollout.policy.is_canary && !e->models[i].rollout.is_comparing)
            judge(e, &e->models[i], now);
}

void edge_rollout_write(const struct edge_model *m, struct json_writer *w)
{
    const struct rollout_counts *c = &m->shared->rollout;
    if (!m->rollout.policy.is_canary)
        return;
    jw_key(w, "canary");
    jw_object(w);
    jw_kv_u64(w, "percent", m->rollout.policy.percent);
    jw_kv_u64(w, "shadow_percent", m->rollout.policy.shadow_percent);
    jw_kv_u64(w, "answered", get(&c->answered));
    jw_kv_u64(w, "failed", get(&c->failed));
    jw_kv_u64(w, "compared", get(&c->compared));
    jw_kv_u64(w, "differed", get(&c->differed));
    jw_kv_f64(w, "greatest_difference", (double)get(&c->greatest_difference) * 1e-6);
    jw_object_end(w);
}

/* What the master says of a canary; absent for any other model. */
void edge_rollout_read(struct json_reader *r, struct arena *a, struct edge_rollout *out)
{
    struct str key, s = STR("");
    uint64_t v = 0;
    *out = (struct edge_rollout){.policy = {.is_canary = true}};
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "percent") && json_u64(r, &v))
            out->policy.percent = (uint32_t)v;
        else if (str_eq_c(key, "shadow_percent") && json_u64(r, &v))
            out->policy.shadow_percent = (uint32_t)v;
        else if (str_eq_c(key, "header") && json_string(r, a, &s))
            (void)str_copy(out->policy.header, sizeof out->policy.header, s);
        else if (str_eq_c(key, "tolerance"))
            json_f64(r, &out->policy.tolerance);
        else if (str_eq_c(key, "for_ns"))
            json_u64(r, &out->for_ns);
        else if (str_eq_c(key, "min_requests"))
            json_u64(r, &out->min_requests);
        else if (str_eq_c(key, "max_failures"))
            json_f64(r, &out->max_failures);
        else if (str_eq_c(key, "max_slower"))
            json_f64(r, &out->max_slower);
        else if (str_eq_c(key, "max_different"))
            json_f64(r, &out->max_different);
        else
            json_skip(r, NULL);
    }
}
