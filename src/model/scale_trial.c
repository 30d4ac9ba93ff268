/* Trying instances and threads (scale_try_all). Each try has instances of its own, and a thread of ours for each, that run made-up rows at the same time for a slice of
 * time, REPEATS times. The first try is repeated at the end: a machine that became slower or faster meanwhile shows there. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "model/scale.h"
#include "model/trial.h"

#define REPEATS  3
#define SLICE_NS (10 * NS_PER_MS)
#define SLOW_NS  (50 * NS_PER_MS) /* runs that take longer are repeated once */
#define RUN_NS   (20 * NS_PER_MS) /* of the measured sizes the largest that took less is run */
#define ROWS_MAX 256

enum { WAIT, GO, LEAVE };

struct seat { /* one instance, and the thread that runs it */
    struct session *session;
    void *instance;
    bool is_lent; /* the caller's */
    struct trial trial;
    pthread_t thread;
    uint64_t runs, wall_ns, cpu_ns;
    bool failed;
};

struct session { /* one try */
    const struct backend *backend;
    const struct model_desc *desc;
    uint32_t rows;
    bool is_warm;
    uint64_t deadline_ns;
    _Atomic int order; /* WAIT, GO, LEAVE */
    struct seat *seats;
    int seats_len;
};

struct slice {
    double rows_per_s, cpu_ns; /* of a row */
    double waited; /* wall time for each processor time, of threads that only compute: 1 on a calm machine */
};

static void run_slice(struct seat *s)
{
    int order[ROWS_MAX];
    struct err err;
    for (uint32_t i = 0; i < s->session->rows; i++)
        order[i] = (int)(i % TRIAL_ROWS);
    if (!s->session->is_warm) /* the first run makes room */
        (void)trial_run(&s->trial, order, s->session->rows, NULL, &err);
    uint64_t start = clock_now_ns(), cpu = clock_thread_ns();
    do {
        s->failed = trial_run(&s->trial, order, s->session->rows, NULL, &err) != ERR_OK;
        s->runs += !s->failed;
        s->wall_ns = clock_now_ns() - start;
    } while (s->wall_ns + s->trial.run_ns / 2 < SLICE_NS && !s->failed);
    s->cpu_ns = clock_thread_ns() - cpu;
}

static void *seat_main(void *arg)
{
    struct seat *s = arg;
    while (atomic_load(&s->session->order) == WAIT)
        (void)sched_yield();
    if (atomic_load(&s->session->order) == GO)
        run_slice(s);
    return NULL;
}

static uint64_t process_cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static bool sum_up(struct session *x, int len, uint64_t cpu_ns, struct slice *out)
{
    uint64_t runs = 0, wall_ns = 0, own_ns = 0;
    bool ok = true;
    *out = (struct slice){0};
    for (int i = 0; i < len; i++) {
        const struct seat *s = &x->seats[i];
        ok = ok && !s->failed && s->runs > 0 && s->wall_ns > 0;
        out->rows_per_s += s->wall_ns > 0 ? (double)s->runs * x->rows * 1e9 / (double)s->wall_ns : 0;
        runs += s->runs;
        wall_ns += s->wall_ns;
        own_ns += s->cpu_ns;
    }
    if (!ok || runs == 0)
        return false;
    out->cpu_ns = (double)cpu_ns / ((double)runs * x->rows);
    out->waited = own_ns > 0 ? (double)wall_ns / (double)own_ns : 1;
    return true;
}

/* All seats at once. False: a run failed, the time is up, or there are no threads to be had. */
static bool run_all(struct session *x, struct slice *out)
{
    int started = 0;
    atomic_store(&x->order, WAIT);
    for (; started < x->seats_len; started++) {
        struct seat *s = &x->seats[started];
        s->runs = s->wall_ns = s->cpu_ns = 0;
        s->failed = false;
        if (pthread_create(&s->thread, NULL, seat_main, s) != 0)
            break;
    }
    bool all = started == x->seats_len;
    uint64_t cpu_ns = process_cpu_ns();
    atomic_store(&x->order, all ? GO : LEAVE);
    for (int i = 0; i < started; i++)
        (void)pthread_join(x->seats[i].thread, NULL);
    x->is_warm = true;
    return all && sum_up(x, started, process_cpu_ns() - cpu_ns, out);
}

static void close_seats(struct session *x)
{
    for (int i = 0; i < x->seats_len; i++) {
        struct seat *s = &x->seats[i];
        trial_done(&s->trial);
        if (!s->is_lent)
            x->backend->unload(s->instance);
    }
    x->seats_len = 0;
}

/* One more instance; `lent` is used for the first one if it has the right number of threads. */
static bool add_seat(struct session *x, const struct backend_load *opt, void *lent)
{
    struct seat *s = &x->seats[x->seats_len];
    struct model_desc *d; /* only to follow the order of calls: load, describe, run */
    struct err err;
    *s = (struct seat){.session = x, .instance = lent, .is_lent = lent != NULL};
    if (clock_now_ns() > x->deadline_ns || (!lent && x->backend->load(opt, &s->instance, &err) != ERR_OK))
        return false;
    d = calloc(1, sizeof *d);
    CHECK(d);
    bool ok = lent || x->backend->describe(s->instance, d, &err) == ERR_OK;
    free(d);
    ok = ok && trial_init(&s->trial, x->backend, s->instance, x->desc, x->deadline_ns, &err) == ERR_OK;
    if (!ok) {
        if (!lent)
            x->backend->unload(s->instance);
        return false;
    }
    x->seats_len++; /* close_seats takes it from here on */
    return trial_grow(&s->trial, x->rows, &err) == ERR_OK;
}

static double max_of(double a, double b)
{
    return a > b ? a : b;
}

/* The best of the repeats counts: what others take of the machine is not the model's. The two best, and what an earlier session of the same try has shown, should agree; and
 * threads that only compute should have had the processor all the time. */
static void take(struct scale_try *t, const struct slice *slices, int len)
{
    double best = 0, second = 0, waited = 1, cpu_ns = slices[0].cpu_ns;
    for (int i = 0; i < len; i++) {
        double rate = slices[i].rows_per_s;
        second = rate > best ? best : max_of(second, rate);
        if (rate > best) {
            best = rate;
            waited = slices[i].waited;
        }
        cpu_ns = slices[i].cpu_ns < cpu_ns ? slices[i].cpu_ns : cpu_ns;
    }
    t->spread = max_of(t->spread, second > 0 ? best / second : SCALE_CALM * 2);
    if (t->threads == 1)
        t->spread = max_of(t->spread, waited);
    if (t->rows_per_s > 0)
        t->spread = max_of(t->spread, max_of(best / t->rows_per_s, t->rows_per_s / best));
    t->cpu_ns = t->rows_per_s > 0 && t->cpu_ns < cpu_ns ? t->cpu_ns : cpu_ns;
    t->rows_per_s = max_of(t->rows_per_s, best);
}

static void try_one(struct session *x, const struct backend_load *opt, void *lent, struct scale_try *t)
{
    struct backend_load own = *opt;
    struct slice slices[REPEATS];
    int len = 0;
    own.threads = t->threads;
    bool ok = true;
    x->is_warm = false;
    for (int i = 0; i < t->instances && ok; i++)
        ok = add_seat(x, &own, i == 0 && t->threads == opt->threads ? lent : NULL);
    int repeats = REPEATS;
    while (ok && len < repeats && run_all(x, &slices[len])) {
        len++;
        repeats = x->seats[0].trial.run_ns > SLOW_NS ? 2 : REPEATS;
    }
    if (len > 0)
        take(t, slices, len);
    close_seats(x);
}

/* As batches are under load: the size that batching has chosen, or the largest one that does not take long. */
static uint32_t rows_of(const struct model_desc *d)
{
    uint32_t rows = 1;
    for (uint32_t i = 0; d->may_share && i < d->measures_len; i++)
        if (d->measures[i].rows <= d->max_batch && d->measures[i].rows <= ROWS_MAX && d->measures[i].ns <= RUN_NS)
            rows = d->measures[i].rows;
    return rows;
}

void scale_try_all(const struct backend *b, const struct backend_load *opt, void *instance, const struct model_desc *d,
                   const struct scale_limits *l, uint64_t deadline_ns, struct scale *out)
{
    struct session x = {.backend = b, .desc = d, .rows = rows_of(d), .deadline_ns = deadline_ns};
    *out = (struct scale){.budget = l->budget, .rows = (int32_t)x.rows};
    out->tries_len = scale_candidates(l, out->tries);
    int most = 1;
    for (int i = 0; i < out->tries_len; i++)
        most = out->tries[i].instances > most ? out->tries[i].instances : most;
    x.seats = calloc((size_t)most, sizeof *x.seats);
    CHECK(x.seats);
    for (int i = 0; i < out->tries_len && out->tries_len > 1; i++)
        try_one(&x, opt, instance, &out->tries[i]);
    if (out->tries_len > 1 && out->tries[0].rows_per_s > 0)
        try_one(&x, opt, instance, &out->tries[0]);
    free(x.seats);
    scale_choose(out);
}
