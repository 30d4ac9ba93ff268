/* Overload in virtual time: requests of several kinds arrive at random, more than can be answered, while the worker runs; who is admitted must be in
 * time, and the worker must not be idle. What the machine does beside the model (reading, refusing, other programs) is time between two runs. */
#include "rig.h"

#include <math.h>

#include "base/clock.h"
#include "base/rand.h"

#define KINDS_MAX 3
#define OPEN_MAX  1500
#define TICK_NS   (10 * NS_PER_MS)
#define RUN_NS    (10 * NS_PER_MS)
#define BATCH     8
#define CAPACITY  (BATCH * 100.0) /* rows a second, when nothing comes between the runs */

struct kind {
    double rate; /* requests a second */
    uint64_t client, given_ns;
    uint32_t priority;
    uint64_t from_ns, until_ns; /* since the beginning; until 0: always */
    /* what came of them */
    uint64_t next_ns;
    uint32_t offered, answered, late, expired, refused;
    uint64_t longest_ns; /* an answer took */
};

struct asked {
    struct req q;
    struct kind *kind;
    uint64_t came_ns;
    bool is_open;
};

static struct rig r;
static struct asked asked[OPEN_MAX];
static struct kind *kinds;
static size_t kinds_len;
static uint64_t begun_ns, counted_ns, tick_ns, read_ns, read_every_ns;
static uint64_t (*run_time)(uint64_t at_ns, uint32_t rows); /* at_ns: since the beginning */

static void note(struct req *q)
{
    struct asked *a = (struct asked *)(void *)q; /* its first member */
    struct kind *k = a->kind;
    uint64_t took = rig_now_ns - a->came_ns;
    a->is_open = false;
    if (a->came_ns < counted_ns)
        return;
    k->answered += q->code == ERR_OK && took <= k->given_ns;
    k->late += q->code == ERR_OK && took > k->given_ns;
    k->expired += q->code == ERR_TIMEOUT;
    k->refused += q->code == ERR_BUSY;
    EXPECT(q->code == ERR_OK || q->code == ERR_TIMEOUT || q->code == ERR_BUSY);
    if (q->code == ERR_OK && took > k->longest_ns)
        k->longest_ns = took;
}

static void submit(struct kind *k, uint64_t came_ns)
{
    size_t n = 0;
    while (n < OPEN_MAX && asked[n].is_open)
        n++;
    EXPECT(n < OPEN_MAX);
    struct asked *a = &asked[n];
    req_make(&r, &a->q, 1, 1, (int32_t)n);
    a->kind = k;
    a->came_ns = came_ns;
    a->is_open = true;
    a->q.on_done = note;
    a->q.i->client = k->client;
    a->q.i->priority = k->priority;
    a->q.i->deadline_ns = rig_now_ns + k->given_ns; /* the server counts from when it has read it */
    k->offered += came_ns >= counted_ns;
    req_submit(&a->q);
}

static uint64_t gap(const struct kind *k)
{
    return (uint64_t)(-log(1 - rand_unit()) / k->rate * 1e9) + 1;
}

/* The edge looks at its sockets. */
static void read_all(void)
{
    for (;;) {
        struct kind *first = NULL;
        for (size_t i = 0; i < kinds_len; i++)
            if (!first || kinds[i].next_ns < first->next_ns)
                first = &kinds[i];
        if (!first || first->next_ns > rig_now_ns)
            break;
        uint64_t since = first->next_ns - begun_ns;
        if (since >= first->from_ns && (first->until_ns == 0 || since < first->until_ns))
            submit(first, first->next_ns);
        first->next_ns += gap(first);
    }
    serve_flush(r.serve);
}

/* What the edge does meanwhile. */
static void pass_until(uint64_t end_ns)
{
    while (rig_now_ns < end_ns) {
        uint64_t next = tick_ns < read_ns ? tick_ns : read_ns;
        rig_now_ns = next < end_ns ? next : end_ns;
        if (rig_now_ns >= read_ns) {
            read_all();
            read_ns += read_every_ns;
        }
        if (rig_now_ns >= tick_ns) {
            serve_tick(r.serve, rig_now_ns);
            tick_ns += TICK_NS;
        }
    }
}

static void run(struct backend_run *b)
{
    pass_until(rig_now_ns + run_time(rig_now_ns - begun_ns, b->rows));
}

/* gap_ns: between two runs. The first second does not count. */
static void play(struct kind *k, size_t len, uint32_t seconds, uint64_t gap_ns, uint64_t reads_ns)
{
    rig_init(&r, &(struct rig_opt){.max_batch = BATCH, .queue_max = 1000});
    rand_seed(7);
    kinds = k;
    kinds_len = len;
    begun_ns = tick_ns = read_ns = rig_now_ns;
    counted_ns = begun_ns + NS_PER_S;
    read_every_ns = reads_ns;
    r.state.twist = run;
    for (size_t i = 0; i < len; i++)
        k[i].next_ns = begun_ns + gap(&k[i]);
    while (rig_now_ns < begun_ns + (1 + seconds) * NS_PER_S) {
        if (!rig_work(&r)) {
            pass_until(rig_now_ns + NS_PER_MS / 10);
            continue;
        }
        (void)serve_collect(r.serve);
        if (gap_ns > 0)
            pass_until(rig_now_ns + gap_ns);
    }
    kinds_len = 0; /* nobody comes any more */
    while (rig_work(&r))
        (void)serve_collect(r.serve);
    rig_done(&r);
}

/* broken_max: percent of those that were admitted. */
static void expect_kept(const struct kind *k, double answers_min, uint32_t broken_max)
{
    uint32_t broken = k->late + k->expired, admitted = k->answered + broken;
    printf("  offered %u, answered %u, late %u, expired %u, refused %u, longest %.1f ms\n", k->offered, k->answered,
           k->late, k->expired, k->refused, (double)k->longest_ns / 1e6);
    EXPECT(broken * 100 <= admitted * broken_max);
    EXPECT(k->answered >= answers_min);
}

static uint64_t steady(uint64_t at_ns, uint32_t rows)
{
    (void)at_ns;
    (void)rows;
    return RUN_NS;
}

/* The same model with work in each row. */
static uint64_t by_rows(uint64_t at_ns, uint32_t rows)
{
    (void)at_ns;
    return RUN_NS / 10 + rows * (RUN_NS * 9 / 10 / BATCH);
}

static uint64_t noisy(uint64_t at_ns, uint32_t rows)
{
    (void)at_ns;
    (void)rows;
    return RUN_NS * 7 / 10 + rand_below(RUN_NS * 6 / 10);
}

/* Every two seconds another program takes half of the processor for one. */
static uint64_t shared(uint64_t at_ns, uint32_t rows)
{
    (void)rows;
    return at_ns / NS_PER_S % 2 ? 2 * RUN_NS : RUN_NS;
}

static void at_multiples(uint64_t (*time)(uint64_t, uint32_t), uint64_t gap_ns, double capacity)
{
    static const double multiples[] = {1.5, 3, 6, 10};
    run_time = time;
    for (size_t i = 0; i < ARRAY_LEN(multiples); i++) {
        struct kind k = {.rate = capacity * multiples[i], .client = 1, .given_ns = 95 * NS_PER_MS, .priority = 1};
        play(&k, 1, 5, gap_ns, NS_PER_MS);
        expect_kept(&k, 0.95 * 5 * capacity, 1);
    }
}

TEST_SLOW(who_is_admitted_is_in_time, 60)
{
    at_multiples(steady, 0, CAPACITY);
}

TEST_SLOW(time_between_the_runs_counts, 60)
{
    at_multiples(steady, 2 * NS_PER_MS, CAPACITY / 1.2);
}

TEST_SLOW(runs_that_grow_with_their_rows, 60)
{
    at_multiples(by_rows, 0, CAPACITY);
}

TEST_SLOW(runs_that_differ, 60)
{
    at_multiples(noisy, 0, CAPACITY);
}

TEST_SLOW(a_speed_that_changes, 60)
{
    run_time = shared;
    struct kind k = {.rate = 3 * CAPACITY, .client = 1, .given_ns = 95 * NS_PER_MS, .priority = 1};
    play(&k, 1, 20, 0, NS_PER_MS);
    expect_kept(&k, 0.95 * 20 * CAPACITY * 0.75, 5); /* ten times it becomes slow, with a full queue */
}

/* Not a + b n: half a run costs a third, one row more costs it all. */
static uint64_t jumping(uint64_t at_ns, uint32_t rows)
{
    (void)at_ns;
    return rows <= BATCH / 2 ? RUN_NS / 3 : RUN_NS;
}

TEST_SLOW(runs_whose_cost_jumps, 60)
{
    at_multiples(jumping, 0, CAPACITY);
}

/* Whatever the first run teaches is forgotten within half a second. */
static uint64_t slow_at_first(uint64_t at_ns, uint32_t rows)
{
    (void)rows;
    return at_ns < NS_PER_MS * 100 ? 500 * NS_PER_MS : RUN_NS;
}

TEST_SLOW(a_first_run_that_takes_fifty_times_as_long, 60)
{
    run_time = slow_at_first;
    struct kind k = {.rate = 1.5 * CAPACITY, .client = 1, .given_ns = 95 * NS_PER_MS, .priority = 1};
    play(&k, 1, 5, 0, NS_PER_MS); /* the first second does not count */
    expect_kept(&k, 0.95 * 5 * CAPACITY, 1);
}

/* From the fifth second on it takes five times as long, for ten seconds: a run then fits into the deadline just once. */
static uint64_t five_times(uint64_t at_ns, uint32_t rows)
{
    (void)rows;
    return at_ns >= 5 * NS_PER_S && at_ns < 15 * NS_PER_S ? 5 * RUN_NS : RUN_NS;
}

TEST_SLOW(a_model_that_is_five_times_as_slow_for_a_while, 60)
{
    run_time = five_times;
    struct kind k = {.rate = 1.5 * CAPACITY, .client = 1, .given_ns = 195 * NS_PER_MS, .priority = 1};
    play(&k, 1, 20, 0, NS_PER_MS);
    expect_kept(&k, 0.95 * (10 + 10 / 5.0) * CAPACITY, 3); /* ten seconds as fast as always, ten slow ones */
}

TEST_SLOW(two_clients_one_of_which_floods, 60)
{
    run_time = steady;
    struct kind k[] = {{.rate = 2.7 * CAPACITY, .client = 1, .given_ns = 95 * NS_PER_MS, .priority = 1},
                       {.rate = 0.3 * CAPACITY, .client = 2, .given_ns = 95 * NS_PER_MS, .priority = 1}};
    play(k, 2, 5, 0, NS_PER_MS);
    expect_kept(&k[0], 0.65 * 5 * CAPACITY, 1);
    expect_kept(&k[1], 0.95 * k[1].offered, 1);
    struct kind same[] = {{.rate = 1.5 * CAPACITY, .client = 1, .given_ns = 95 * NS_PER_MS, .priority = 1},
                          {.rate = 4.5 * CAPACITY, .client = 2, .given_ns = 95 * NS_PER_MS, .priority = 1}};
    play(same, 2, 5, 0, NS_PER_MS);
    expect_kept(&same[0], 0.45 * 5 * CAPACITY, 1);
    expect_kept(&same[1], 0.45 * 5 * CAPACITY, 1);
}

/* The least urgent is overtaken for a second by what comes later, and by half a second more through its later deadline: the bound of schedule.h. */
TEST_SLOW(three_priorities_at_three_times_the_capacity, 60)
{
    run_time = by_rows;
    struct kind k[] = {{.rate = 0.5 * CAPACITY, .client = 1, .given_ns = 95 * NS_PER_MS, .priority = 1},
                       {.rate = 2.2 * CAPACITY, .client = 2, .given_ns = 95 * NS_PER_MS, .priority = 2},
                       {.rate = 0.3 * CAPACITY, .client = 3, .given_ns = 5 * NS_PER_S, .priority = 3}};
    play(k, 3, 20, 0, NS_PER_MS);
    expect_kept(&k[0], 0.98 * k[0].offered, 1);
    expect_kept(&k[1], 0.2 * 20 * CAPACITY, 10); /* others overtake it, in bursts */
    expect_kept(&k[2], 0.95 * MIX_FLOOR * 20 * CAPACITY, 1);
    EXPECT(k[2].longest_ns < 3 * SCHEDULE_AGE_NS + 500 * NS_PER_MS);
}

/* The model takes as long for one row as for a full run: what is urgent never fills one, so its runs carry others. */
#define SECONDS      10
#define ROWS         (SECONDS * CAPACITY)
#define LOW_BOUND_NS (3 * SCHEDULE_AGE_NS + 500 * NS_PER_MS)

static void three_classes(double times, uint64_t (*time)(uint64_t, uint32_t), struct kind k[3])
{
    run_time = time;
    for (int n = 0; n < 3; n++) {
        static const double part[] = {0.3, 0.4, 0.3};
        k[n] = (struct kind){.rate = part[n] * times * CAPACITY,
                             .client = (uint64_t)n + 1,
                             .given_ns = n == 2 ? 5 * NS_PER_S : 95 * NS_PER_MS,
                             .priority = (uint32_t)n + 1};
    }
    play(k, 3, SECONDS, 0, NS_PER_MS);
    printf("  %.1f times the capacity:\n", times);
}

TEST_SLOW(free_places_of_urgent_runs_are_filled, 60)
{
    struct kind k[3];
    three_classes(1.5, steady, k);
    expect_kept(&k[0], 0.99 * k[0].offered, 0);
    expect_kept(&k[1], 0.35 * ROWS, 1);
    expect_kept(&k[2], 0.95 * MIX_FLOOR * ROWS, 1);
    EXPECT(k[0].answered + k[1].answered + k[2].answered >= 0.95 * ROWS);
    EXPECT(k[0].longest_ns < 40 * NS_PER_MS); /* the run that goes on, at most one before it, its own */
    EXPECT(k[2].longest_ns < LOW_BOUND_NS);
    three_classes(3, steady, k);
    expect_kept(&k[0], 0.95 * k[0].offered, 1);
    expect_kept(&k[2], 0.8 * MIX_FLOOR * ROWS, 1);
    EXPECT(k[0].answered + k[1].answered + k[2].answered >= 0.95 * ROWS);
    EXPECT(k[2].longest_ns < LOW_BOUND_NS);
}

TEST_SLOW(the_urgent_keep_their_runs_where_rows_cost_what_they_take, 60)
{
    struct kind k[3];
    three_classes(1.5, by_rows, k);
    expect_kept(&k[0], 0.99 * k[0].offered, 0);
    expect_kept(&k[1], 0.25 * ROWS, 2);
    expect_kept(&k[2], 0.95 * MIX_FLOOR * ROWS, 1);
    EXPECT(k[0].longest_ns < 30 * NS_PER_MS);
    EXPECT(k[2].longest_ns < LOW_BOUND_NS);
}

/* ---- Retry-After ---- */

static void work_until(uint64_t end_ns)
{
    while (rig_now_ns < end_ns) {
        serve_flush(r.serve);
        if (rig_work(&r))
            (void)serve_collect(r.serve);
        else
            pass_until(rig_now_ns + NS_PER_MS / 10);
    }
}

static struct req *probe(uint64_t given_ms)
{
    static struct req q;
    req_make(&r, &q, 1, 1, 0);
    q.i->client = 1; /* another client would come before the crowd */
    q.i->deadline_ns = rig_now_ns + given_ms * NS_PER_MS;
    req_submit(&q);
    return &q;
}

/* Who is refused and comes again after the time that he was told is let in, and in time; who comes after half of it is refused again. */
TEST_SLOW(retry_after_is_when_there_is_room, 60)
{
    run_time = by_rows;
    kinds_len = 0;
    rig_init(&r, &(struct rig_opt){.max_batch = BATCH, .queue_max = 1000});
    rand_seed(11);
    begun_ns = tick_ns = read_ns = rig_now_ns;
    read_every_ns = NS_PER_MS;
    r.state.twist = run;
    for (int i = 0; i < 40; i++)
        cost_learn(&r.model->schedule.cost, 1 + (uint32_t)i % BATCH, by_rows(0, 1 + (uint32_t)i % BATCH));
    struct kind crowd = {.client = 1, .given_ns = 20 * NS_PER_S, .priority = 1};
    int early = 0, let_in = 0, trials = 0;
    for (int trial = 0; trial < 40; trial++) {
        for (uint64_t n = 700 + rand_below(200); n > 0; n--)
            submit(&crowd, rig_now_ns);
        struct req *q = probe(600);
        EXPECT_EQ(q->code, ERR_BUSY);
        uint64_t told_ns = q->retry_after_ms * NS_PER_MS;
        bool is_early = trial % 2 == 0;
        work_until(rig_now_ns + (is_early ? told_ns / 2 : told_ns));
        q = probe(600);
        trials += !is_early;
        early += is_early && q->done;
        work_until(rig_now_ns + 3 * NS_PER_S);
        let_in += !is_early && q->done == 1 && q->code == ERR_OK;
    }
    printf("  let in %d of %d, refused early %d of 20\n", let_in, trials, early);
    EXPECT(let_in >= trials * 95 / 100);
    EXPECT(early >= 18);
    rig_done(&r);
}
