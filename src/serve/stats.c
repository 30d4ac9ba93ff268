#include "serve/stats.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "serve/shared.h"

struct stats *stats_new(void)
{
    struct stats *s = calloc(1, sizeof *s);
    CHECK(s);
    s->refs = 1;
    return s;
}

struct stats *stats_ref(struct stats *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

struct stats *stats_unref(struct stats *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return NULL;
    for (int i = 0; i < STATS_THREADS_MAX; i++)
        free(atomic_load(&s->thread[i]));
    free(s);
    return NULL;
}

/* Only the owning thread writes: a plain addition, seen whole by readers. */
static void add(_Atomic uint64_t *at, uint64_t n)
{
    atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static void add_cell(struct stats_cell *c, uint64_t ns)
{
    add(&c->count, 1);
    add(&c->ns, ns);
}

/* Made by the first request of the thread: most models are not asked on every thread. */
static struct stats_thread *cells(struct model_shared *m, int thread)
{
    static_assert(STATS_THREADS_MAX == LANE_THREADS_MAX, "a cell for each thread");
    struct stats_thread *t = atomic_load_explicit(&m->stats->thread[thread], memory_order_relaxed);
    if (t)
        return t;
    t = calloc(1, sizeof *t);
    CHECK(t);
    atomic_store_explicit(&m->stats->thread[thread], t, memory_order_release);
    return t;
}

void stats_success(struct model_shared *m, int thread, uint32_t rows, const uint64_t ns[STATS_STAGES])
{
    struct stats_thread *t = cells(m, thread);
    add_cell(&t->stage[STATS_SUCCESS], ns[STATS_SUCCESS]);
    for (int s = STATS_QUEUE; s <= STATS_OUTPUT; s++)
        add_cell(&t->stage[s], ns[s]);
    add(&t->rows, rows);
    atomic_store_explicit(&t->last_ms, clock_wall_ms(), memory_order_relaxed);
}

void stats_failure(struct model_shared *m, int thread, enum stats_failure why, uint64_t ns)
{
    struct stats_thread *t = cells(m, thread);
    add_cell(&t->stage[STATS_FAIL], ns);
    add(&t->failure[why], 1);
    atomic_store_explicit(&t->last_ms, clock_wall_ms(), memory_order_relaxed);
}

void stats_run(struct model_shared *m, int thread, uint32_t rows, uint64_t ns)
{
    struct stats_thread *t = cells(m, thread);
    add(&t->runs, 1);
    for (int i = 0; i < STATS_SIZES; i++) {
        struct stats_run_cell *c = &t->size[i];
        uint64_t have = get(&c->rows);
        if (have != 0 && have != rows)
            continue;
        add(&c->runs, 1);
        add(&c->ns, ns);
        atomic_store_explicit(&c->rows, rows, memory_order_relaxed);
        return;
    }
}

void stats_cache(struct model_shared *m, int thread, enum stats_stage hit_or_miss, uint64_t ns)
{
    add_cell(&cells(m, thread)->stage[hit_or_miss], ns);
}

void stats_hit(struct model_shared *m, int thread, uint64_t ns)
{
    struct stats_thread *t = cells(m, thread);
    add_cell(&t->stage[STATS_SUCCESS], ns);
    add_cell(&t->stage[STATS_QUEUE], 0);
    add_cell(&t->stage[STATS_HIT], ns);
    atomic_store_explicit(&t->last_ms, clock_wall_ms(), memory_order_relaxed);
}

/* Into its place by rows. What finds no place is left out. */
static void sum_size(struct stats_sum *out, const struct stats_run_cell *c)
{
    uint64_t rows = get(&c->rows);
    int at = 0;
    while (at < STATS_SIZES && out->size[at].rows != 0 && out->size[at].rows < rows)
        at++;
    if (rows == 0 || at == STATS_SIZES)
        return;
    if (out->size[at].rows != rows) {
        memmove(&out->size[at + 1], &out->size[at], sizeof out->size[0] * (size_t)(STATS_SIZES - 1 - at));
        memset(&out->size[at], 0, sizeof out->size[at]);
        out->size[at].rows = rows;
    }
    out->size[at].runs += get(&c->runs);
    out->size[at].ns += get(&c->ns);
}

void stats_sum(const struct model_shared *m, struct stats_sum *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < LANE_THREADS_MAX; i++) {
        const struct stats_thread *t = atomic_load_explicit(&m->stats->thread[i], memory_order_acquire);
        if (!t)
            continue;
        for (int s = 0; s < STATS_STAGES; s++) {
            out->count[s] += get(&t->stage[s].count);
            out->ns[s] += get(&t->stage[s].ns);
        }
        for (int f = 0; f < STATS_FAILURES; f++)
            out->failure[f] += get(&t->failure[f]);
        out->rows += get(&t->rows);
        out->runs += get(&t->runs);
        out->last_ms = get(&t->last_ms) > out->last_ms ? get(&t->last_ms) : out->last_ms;
        for (int k = 0; k < STATS_SIZES; k++)
            sum_size(out, &t->size[k]);
    }
}
