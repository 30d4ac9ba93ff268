#include "serve/schedule.h"

#include <stddef.h>

#define FORGET        0.98 /* weight of all earlier samples at each new one: about the last 50 runs count */
#define SAMPLES_MIN   3.0
#define EXPECT_WEIGHT 2    /* what was measured at load counts as so many runs of each size */
#define SPREAD_MIN    0.25 /* variance of rows below which the slope cannot be told from the offset */

void cost_learn(struct cost *c, uint32_t rows, uint64_t run_ns)
{
    double r = rows, t = (double)run_ns;
    c->n = c->n * FORGET + 1;
    c->r = c->r * FORGET + r;
    c->t = c->t * FORGET + t;
    c->rr = c->rr * FORGET + r * r;
    c->rt = c->rt * FORGET + r * t;
    double mean_r = c->r / c->n, mean_t = c->t / c->n;
    double variance = c->rr / c->n - mean_r * mean_r;
    double slope = variance > SPREAD_MIN ? (c->rt / c->n - mean_r * mean_t) / variance : 0;
    if (variance <= SPREAD_MIN) /* all runs of one size: keep the shape known so far, scale it to the mean */
        slope = c->a_ns + c->b_ns > 0 ? c->b_ns * mean_t / (c->a_ns + c->b_ns * mean_r) : mean_t / mean_r;
    double offset = mean_t - slope * mean_r;
    if (slope < 0 || offset < 0) { /* noise: a line through the origin, or a constant */
        offset = slope < 0 ? mean_t : 0;
        slope = slope < 0 ? 0 : mean_t / mean_r;
    }
    c->a_ns = offset;
    c->b_ns = slope;
}

double cost_run_ns(const struct cost *c, double rows)
{
    return c->n < SAMPLES_MIN ? 0 : c->a_ns + c->b_ns * rows;
}

void schedule_expect(struct schedule *s, uint32_t rows, uint64_t run_ns)
{
    for (int i = 0; i < EXPECT_WEIGHT; i++)
        cost_learn(&s->cost, rows, run_ns);
}

static size_t tag_slot(const struct schedule_ask *a)
{
    return (a->client + a->priority) * UINT64_C(0x9E3779B97F4A7C15) >> 54;
}

static uint64_t start_of(uint64_t tag, uint64_t now_ns)
{
    return tag > now_ns ? tag : now_ns;
}

uint64_t schedule_order(const struct schedule *s, const struct schedule_ask *a)
{
    uint64_t tag = atomic_load_explicit(&s->tags->tag[tag_slot(a)], memory_order_relaxed);
    uint64_t slack = a->deadline_ns > a->now_ns ? a->deadline_ns - a->now_ns : 0;
    uint32_t level = a->priority > 0 ? a->priority - 1 : 0;
    return start_of(tag, a->now_ns) + level * SCHEDULE_AGE_NS + (slack < SCHEDULE_AGE_NS ? slack : SCHEDULE_AGE_NS);
}

void schedule_charge(struct schedule *s, const struct schedule_ask *a, uint32_t batch, int instances)
{
    _Atomic uint64_t *tag = &s->tags->tag[tag_slot(a)];
    double share = s->cost.a_ns * a->rows / (batch > 0 ? batch : 1) + s->cost.b_ns * a->rows;
    uint64_t cost = (uint64_t)(share / (instances > 0 ? instances : 1)), before;
    before = atomic_load_explicit(tag, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(tag, &before, start_of(before, a->now_ns) + cost,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

uint64_t schedule_finish(const struct schedule *s, uint64_t now_ns, double rows_ahead, uint32_t rows, uint32_t batch,
                         int instances)
{
    if (s->cost.n < SAMPLES_MIN || instances < 1)
        return 0;
    double size = batch > 0 ? batch : 1;
    double runs = rows_ahead / size;
    double ahead_ns = (runs * s->cost.a_ns + rows_ahead * s->cost.b_ns) / instances;
    return now_ns + (uint64_t)(ahead_ns + cost_run_ns(&s->cost, rows));
}
