#include "serve/schedule.h"

#include <stddef.h>

#define FORGET        0.98 /* weight of all earlier samples at each new one: about the last 50 runs count */
#define SAMPLES_MIN   3.0
#define EXPECT_WEIGHT 2                   /* what was measured at load counts as so many runs of each size */
#define SPREAD_MIN    0.25                /* variance of rows below which the slope cannot be told from the offset */
#define SHARE_NS      UINT64_C(250000000) /* then what was admitted counts half */
#define SHARE_MAX     30000u
#define LAG_UP        0.25 /* of what a request took longer than was thought */
#define LAG_DOWN      (1 / 1024.0)
#define LAG_MAX       8.0
#define LAG_FORGET_NS 1e9

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

void lag_learn(struct lag *l, uint64_t expected_ns, uint64_t took_ns, uint64_t now_ns)
{
    if (expected_ns == 0)
        return;
    double times = (double)took_ns / (double)expected_ns, known = lag_times(l, now_ns);
    times = times < LAG_MAX ? times : LAG_MAX;
    l->times = known + (times - known) * (times > known ? LAG_UP : LAG_DOWN);
    l->at_ns = now_ns;
}

double lag_times(const struct lag *l, uint64_t now_ns)
{
    double idle = now_ns > l->at_ns ? (double)(now_ns - l->at_ns) / LAG_FORGET_NS : 0;
    return l->times > 1 ? 1 + (l->times - 1) / (1 + idle) : 1;
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

/* ---- shares ---- */

static size_t share_slot(const struct schedule_ask *a)
{
    return a->client * UINT64_C(0x9E3779B97F4A7C15) >> 54;
}

static void share_halve(struct share *h)
{
    h->total = h->clients = 0;
    for (size_t i = 0; i < SCHEDULE_CLIENTS; i++) {
        h->rows[i] /= 2;
        h->total += h->rows[i];
        h->clients += h->rows[i] > 0;
    }
}

static void share_pass(struct share *h, uint64_t now_ns)
{
    if (now_ns - h->since_ns < SHARE_NS)
        return;
    for (uint64_t n = (now_ns - h->since_ns) / SHARE_NS; n > 0 && h->total > 0; n--)
        share_halve(h);
    h->since_ns = now_ns;
}

static void share_add(struct share *h, const struct schedule_ask *a)
{
    uint16_t *rows = &h->rows[share_slot(a)];
    uint32_t room = SHARE_MAX - *rows, more = a->rows < room ? a->rows : room;
    share_pass(h, a->now_ns);
    h->clients += *rows == 0;
    *rows = (uint16_t)(*rows + more);
    h->total += more;
}

bool schedule_is_greedy(struct schedule *s, const struct schedule_ask *a)
{
    share_pass(&s->share, a->now_ns);
    uint64_t rows = s->share.rows[share_slot(a)];
    return s->share.clients > 1 && rows * s->share.clients > s->share.total;
}

void schedule_charge(struct schedule *s, const struct schedule_ask *a, uint32_t batch, int instances)
{
    _Atomic uint64_t *tag = &s->tags->tag[tag_slot(a)];
    double share = s->cost.a_ns * a->rows / (batch > 0 ? batch : 1) + s->cost.b_ns * a->rows;
    uint64_t cost = (uint64_t)(share / (instances > 0 ? instances : 1)), before;
    share_add(&s->share, a);
    before = atomic_load_explicit(tag, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(tag, &before, start_of(before, a->now_ns) + cost,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Where so many are ahead, others come too: its own run is as full as the queue lets it be. */
uint64_t schedule_finish(const struct schedule *s, uint64_t now_ns, double rows_ahead, uint32_t rows, uint32_t batch,
                         int instances)
{
    if (s->cost.n < SAMPLES_MIN || instances < 1)
        return 0;
    double size = batch > 0 ? batch : 1;
    double runs = rows_ahead / size, mates = rows_ahead + rows < size ? rows_ahead + rows : size;
    double ahead_ns = (runs * s->cost.a_ns + rows_ahead * s->cost.b_ns) / instances;
    return now_ns + (uint64_t)(ahead_ns + cost_run_ns(&s->cost, mates > rows ? mates : rows));
}
