/* Random histories: requests of all shapes, sizes, priorities, clients and deadlines under random policies, workers that run, die or are slow, clients that leave.
 * Held against what must be true whatever happens: each request ends once, with its own values, or an error that its history allows; runs have
 * allowed sizes; where order is asked for, answers have it; nothing begins after its deadline; nothing is left behind. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rand.h"

#define OPEN_MAX 400
#define STEPS    400
#define SEEDS    40

struct one {
    struct req q;
    uint64_t number, came_ns, deadline_ns;
    bool is_used, is_cancelled;
};

static struct rig r;
static struct one ones[OPEN_MAX];
static struct batch_policy policy;
static uint64_t numbers, last_answered, ended, answered, run_ns;
static uint32_t crashes, max_batch;

static void note(struct req *q)
{
    struct one *o = (struct one *)(void *)q; /* its first member */
    EXPECT_EQ(q->done, 1);
    o->is_used = false;
    ended++;
    if (q->code == ERR_OK) {
        EXPECT_OK(*q);
        EXPECT(!o->is_cancelled);
        if (policy.is_ordered)
            EXPECT(o->number > last_answered);
        last_answered = o->number;
        answered++;
        return;
    }
    EXPECT(q->code == ERR_BUSY || q->code == ERR_TIMEOUT || q->code == ERR_CANCELLED || q->code == ERR_BACKEND ||
           q->code == ERR_REJECTED);
    if (q->code == ERR_TIMEOUT) /* a run that would end too late does not begin */
        EXPECT(rig_now_ns + (uint64_t)cost_run_ns(&r.model->schedule.cost, 3 * max_batch) >= o->deadline_ns);
    if (q->code == ERR_CANCELLED)
        EXPECT(o->is_cancelled);
    if (q->code == ERR_BACKEND || q->code == ERR_REJECTED)
        EXPECT(crashes > 2);
    if (q->code == ERR_BUSY)
        EXPECT(q->retry_after_ms >= 1 && q->retry_after_ms <= 60000);
}

static void ask(void)
{
    static const uint64_t given_ms[] = {1, 5, 20, 50, 200, 5000, 30000};
    struct one *o = ones;
    while (o < ones + OPEN_MAX && o->is_used)
        o++;
    if (o == ones + OPEN_MAX)
        return;
    bool is_large = rand_below(20) == 0;
    uint32_t rows = 1 + (uint32_t)rand_below(is_large ? 3 * max_batch : max_batch / 2 + 1);
    memset(o, 0, sizeof *o);
    req_make(&r, &o->q, rows, 1 + (uint32_t)rand_below(3), (int32_t)rand_below(1000000));
    o->is_used = true;
    o->number = ++numbers;
    o->came_ns = rig_now_ns;
    o->deadline_ns = rig_now_ns + given_ms[rand_below(ARRAY_LEN(given_ms))] * NS_PER_MS;
    o->q.on_done = note;
    o->q.i->priority = (uint32_t)rand_below(12); /* 0: the default; over the least urgent: as that */
    o->q.i->client = rand_below(4) * 1000;
    o->q.i->deadline_ns = o->deadline_ns;
    req_submit(&o->q);
}

static void leave(void)
{
    struct one *o = &ones[rand_below(OPEN_MAX)];
    if (!o->is_used)
        return;
    o->is_cancelled = true;
    req_cancel(&o->q);
}

static bool is_allowed(uint32_t rows)
{
    if (policy.sizes[0] == 0 || rows > batch_cap(&policy, max_batch))
        return true;
    for (int i = 0; i < BATCH_SIZES_MAX && policy.sizes[i] != 0; i++)
        if (policy.sizes[i] == rows)
            return true;
    return crashes > 1; /* the rows of one request among others run as they are */
}

static void run(struct backend_run *b)
{
    EXPECT(is_allowed(b->rows));
    rig_now_ns += run_ns / 2 + rand_below(run_ns);
}

/* Claims, and runs, or dies with it. */
static void work(void)
{
    serve_flush(r.serve);
    struct exec_block b;
    if (!exec_claim(&r.worker, &b))
        return;
    const struct block_shm *shm = rig_block(&r, b.block);
    uint32_t runs = r.state.runs;
    bool is_due = rig_now_ns < shm->expires_ns && !atomic_load(&shm->aborted);
    if (rand_below(60) == 0) {
        bool is_crash = rand_below(2) == 0;
        crashes += is_crash;
        rig_die(&r, is_crash);
        return;
    }
    (void)exec_run(&r.worker, &b);
    EXPECT_EQ(r.state.runs - runs, is_due);
}

static void step(void)
{
    switch (rand_below(10)) {
    case 0:
    case 1:
    case 2:
        ask();
        break;
    case 3:
        for (uint64_t n = rand_below(20); n > 0; n--)
            ask();
        break;
    case 4:
        leave();
        break;
    case 5:
        rig_now_ns += rand_below(3 * run_ns);
        serve_tick(r.serve, rig_now_ns);
        break;
    case 6:
        serve_flush(r.serve);
        break;
    default:
        work();
        (void)serve_collect(r.serve);
        break;
    }
}

/* Blocks that wait for more rows may run once their delay is over. */
static void settle(void)
{
    for (int n = 0; n < 20 && ended < numbers; n++) {
        rig_settle(&r);
        rig_now_ns += policy.delay_ns + NS_PER_MS;
        serve_tick(r.serve, rig_now_ns);
    }
    EXPECT_EQ(ended, numbers);
    EXPECT_EQ(r.model->waiting, 0);
    EXPECT_EQ(r.model->placed, 0);
    EXPECT_EQ(r.model->rows, 0);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    for (int p = 0; p < SCHEDULE_PRIORITY_MAX; p++)
        EXPECT_EQ(r.shared->load[0].rows[p], 0);
}

static void history(uint64_t seed, const struct batch_policy *p)
{
    rand_seed(seed);
    policy = *p;
    max_batch = 8;
    run_ns = (1 + rand_below(20)) * NS_PER_MS;
    numbers = last_answered = ended = answered = 0;
    crashes = 0;
    memset(ones, 0, sizeof ones);
    rig_init(&r,
             &(struct rig_opt){.max_batch = max_batch, .queue_max = 1 + (uint32_t)rand_below(60), .batch = &policy});
    r.shared->limits.priority_default = 1 + (uint32_t)rand_below(3);
    r.shared->limits.timeout_ns = 3600 * NS_PER_S; /* no run hangs here */
    r.state.twist = run;
    for (int n = 0; n < STEPS; n++)
        step();
    settle();
    EXPECT(answered > 0);
    rig_done(&r);
}

static void histories(const struct batch_policy *p)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        printf("seed %llu\n", (unsigned long long)seed);
        history(seed, p);
    }
}

TEST_SLOW(histories_without_settings, 60)
{
    histories(&(struct batch_policy){0});
}

TEST_SLOW(histories_in_order, 60)
{
    histories(&(struct batch_policy){.is_ordered = true});
}

TEST_SLOW(histories_with_sizes, 60)
{
    histories(&(struct batch_policy){.sizes = {1, 4, 8}});
}

TEST_SLOW(histories_with_delay_and_preferred_sizes, 60)
{
    histories(&(struct batch_policy){.delay_ns = 30 * NS_PER_MS, .preferred = {4, 8}});
}

TEST_SLOW(histories_with_everything, 60)
{
    histories(
        &(struct batch_policy){.delay_ns = 5 * NS_PER_MS, .preferred = {3}, .sizes = {2, 3, 6}, .is_ordered = true});
}
