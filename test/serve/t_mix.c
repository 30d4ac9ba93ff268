/* Requests of different urgency in one run: who joins whom, what waits undecided, and what it may cost. The worker is played by the test. */
#include "rig.h"

#include <string.h>

#include "base/clock.h"

#define MANY 64

static struct rig r;
static struct req q[MANY];
static int order_len;
static const struct req *order[MANY];

static void note(struct req *x)
{
    order[order_len++] = x;
}

static void start(uint32_t max_batch, uint64_t a_ns, uint64_t b_ns)
{
    rig_init(&r, &(struct rig_opt){.max_batch = max_batch, .queue_max = 200});
    order_len = 0;
    for (uint32_t i = 0; i < 60; i++)
        cost_learn(&r.model->schedule.cost, 1 + i % 4, a_ns + b_ns * (1 + i % 4));
}

static struct req *ask(int n, uint32_t priority, uint64_t given_ms)
{
    req_make(&r, &q[n], 1, 1, n);
    q[n].i->client = 1000 * (uint64_t)n;
    q[n].i->priority = priority;
    q[n].i->deadline_ns = rig_now_ns + given_ms * NS_PER_MS;
    q[n].on_done = note;
    req_submit(&q[n]);
    return &q[n];
}

static int place_of(const struct req *x)
{
    for (int i = 0; i < order_len; i++)
        if (order[i] == x)
            return i;
    FAIL("%s was not answered", x->id);
    return -1;
}

/* One block after the other: answers come in the order of runs. */
static bool run_one(void)
{
    serve_flush(r.serve);
    if (!rig_work(&r))
        return false;
    (void)serve_collect(r.serve);
    return true;
}

static void run_all(void)
{
    while (run_one()) {
    }
}

static uint32_t waiting_blocks(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < LANE_BLOCKS; i++)
        n += r.model->lane.blocks[i].use == LANE_FILLING || r.model->lane.blocks[i].use == LANE_PUBLISHED;
    return n;
}

static void finish(void)
{
    run_all();
    for (int n = 0; n < MANY; n++)
        if (q[n].rig)
            EXPECT_OK(q[n]);
    rig_done(&r);
}

TEST(an_urgent_one_joins_rows_that_cost_it_nothing)
{
    start(8, 10 * NS_PER_MS, 0);
    struct req *low[3], *urgent;
    for (int n = 0; n < 3; n++)
        low[n] = ask(n, 2, 5000);
    serve_flush(r.serve);
    urgent = ask(3, 1, 5000);
    run_all();
    EXPECT_EQ(urgent->batch_rows, 4);
    EXPECT_EQ(low[0]->batch_rows, 4);
    finish();
}

TEST(a_free_place_is_taken_by_the_next_in_order)
{
    start(2, 10 * NS_PER_MS, 0);
    struct req *third = ask(0, 3, 5000);
    struct req *second = ask(1, 2, 5000); /* joins it: the block is full */
    struct req *late = ask(2, 3, 5000), *next = ask(3, 2, 5000);
    struct req *urgent = ask(4, 1, 5000); /* a block of its own, with the next */
    run_all();
    EXPECT_EQ(urgent->batch_rows, 2);
    EXPECT_EQ(next->batch_rows, 2);
    EXPECT(place_of(urgent) < 2 && place_of(next) < 2);
    EXPECT(place_of(second) < 4 && place_of(third) < 4);
    EXPECT_EQ(place_of(late), 4);
    finish();
}

/* A row costs as much as a run: nobody gains, the urgent would lose. */
TEST(without_a_gain_priorities_stay_apart)
{
    start(8, NS_PER_MS, NS_PER_MS);
    struct req *low[3], *urgent;
    for (int n = 0; n < 3; n++)
        low[n] = ask(n, 2, 5000);
    urgent = ask(3, 1, 5000);
    run_all();
    EXPECT_EQ(urgent->batch_rows, 1);
    EXPECT_EQ(place_of(urgent), 0);
    EXPECT_EQ(low[0]->batch_rows, 3);
    finish();
}

/* Five rows of 1 ms beside 5 ms for the run. */
TEST(guests_cost_no_more_than_a_run_of_their_own)
{
    start(16, 5 * NS_PER_MS, NS_PER_MS);
    struct req *low, *urgent;
    low = ask(0, 2, 5000);
    urgent = ask(1, 1, 5000);
    for (int n = 2; n < 12; n++)
        (void)ask(n, 2, 5000);
    run_all();
    EXPECT_EQ(urgent->batch_rows, 6);
    EXPECT_EQ(low->batch_rows, 6);
    EXPECT_EQ(q[11].batch_rows, 6);
    finish();
}

TEST(a_deadline_is_not_missed_for_guests)
{
    start(8, 10 * NS_PER_MS, 2 * NS_PER_MS);
    struct req *low[2], *urgent;
    for (int n = 0; n < 2; n++)
        low[n] = ask(n, 2, 5000);
    urgent = ask(2, 1, 15); /* alone 12 ms, with them 16 */
    run_all();
    EXPECT_EQ(urgent->batch_rows, 1);
    EXPECT_EQ(place_of(urgent), 0);
    EXPECT_EQ(low[0]->batch_rows, 2);
    finish();
}

/* What is not urgent stays undecided while the worker has enough to do. */
TEST(few_blocks_wait_once_requests_come_out_of_order)
{
    start(4, 10 * NS_PER_MS, 0);
    (void)ask(0, 2, 5000);
    (void)ask(1, 1, 5000);
    for (int n = 2; n < 40; n++)
        (void)ask(n, 2, 5000);
    EXPECT_EQ(waiting_blocks(), 1);
    EXPECT_EQ(r.model->waiting, 36);
    (void)rig_claim(&r);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(waiting_blocks(), 2);
    rig_die(&r, false);
    finish();
}

/* A short run costs little: many may wait, so that a worker never runs dry. */
TEST(more_blocks_wait_where_runs_are_short)
{
    start(4, NS_PER_MS, 0);
    (void)ask(0, 2, 5000);
    (void)ask(1, 1, 5000);
    for (int n = 2; n < 40; n++)
        (void)ask(n, 2, 5000);
    EXPECT_EQ(waiting_blocks(), 1 + MIX_AHEAD_NS / NS_PER_MS);
    finish();
}

/* Otherwise each urgent request would be followed by the next one's run, and the full block by none. */
TEST(a_full_block_runs_right_behind_the_urgent)
{
    start(2, 10 * NS_PER_MS, 0);
    (void)ask(0, 3, 5000);
    struct req *low = ask(1, 2, 5000);
    struct req *urgent = ask(2, 1, 5000);
    EXPECT(run_one());
    EXPECT_OK(*urgent);
    rig_pass_ms(10);
    struct req *more = ask(3, 1, 5000);
    EXPECT(run_one());
    EXPECT_OK(*low);
    EXPECT_OPEN(*more);
    finish();
}

TEST(a_free_place_suits_one_behind_the_first)
{
    start(4, 10 * NS_PER_MS, 0);
    (void)ask(0, 2, 5000);
    (void)ask(1, 1, 5000);
    req_make(&r, &q[2], 3, 1, 2); /* does not fit */
    q[2].i->priority = 2;
    q[2].on_done = note;
    req_submit(&q[2]);
    struct req *small = ask(3, 2, 5000);
    run_all();
    EXPECT_EQ(small->batch_rows, 3);
    EXPECT_EQ(q[2].batch_rows, 3);
    EXPECT_EQ(place_of(&q[2]), 3);
    finish();
}

/* The queue takes as many as when they are bound to blocks at once. */
TEST(queue_max_counts_who_is_bound_to_a_block_and_who_is_not)
{
    rig_init(&r, &(struct rig_opt){.max_batch = 2, .queue_max = 40});
    order_len = 0;
    for (uint32_t i = 0; i < 60; i++)
        cost_learn(&r.model->schedule.cost, 1 + i % 4, 10 * NS_PER_MS);
    for (int n = 0; n < 40; n++)
        EXPECT_OPEN(*ask(n, n == 1 ? 1 : 2, 5000));
    EXPECT_EQ(r.model->waiting, 38);
    EXPECT_ERR(*ask(40, 2, 5000), ERR_BUSY, "Exceeds maximum queue size: 40 requests wait");
    q[40].rig = NULL;
    finish();
}

TEST(rows_of_other_priorities_are_told)
{
    start(8, 10 * NS_PER_MS, 0);
    (void)ask(0, 2, 5000);
    (void)ask(1, 2, 5000);
    (void)ask(2, 1, 5000);
    serve_flush(r.serve);
    struct lane_block *b = q[2].i->block;
    EXPECT_EQ(b->priority, 1);
    EXPECT_EQ(b->rows_at[0], 1);
    EXPECT_EQ(b->rows_at[1], 2);
    req_cancel(&q[0]); /* before the run: its row goes */
    EXPECT_EQ(b->rows, 2);
    EXPECT_EQ(b->rows_at[1], 1);
    run_all();
    EXPECT_OK(q[1]);
    EXPECT_OK(q[2]);
    rig_done(&r);
}

TEST(what_is_expected_follows_the_rate)
{
    struct mix x = {.claim_ns = 10 * NS_PER_MS};
    uint64_t now = 1000 * NS_PER_S;
    for (int i = 0; i < 1000; i++, now += NS_PER_MS)
        mix_arrive(&x, now, now + NS_PER_MS, 1, 1);
    x.now_ns = now;
    EXPECT_NEAR(mix_expected(&x, now + NS_PER_S, 2), 10, 1);
    EXPECT_EQ(mix_expected(&x, now + NS_PER_S, 1), 0); /* among themselves they come in order */
    EXPECT_EQ(mix_expected(&x, now - NS_PER_S, 2), 0); /* it is so old that it comes first */
    x.now_ns = now + 20 * NS_PER_S;
    EXPECT_EQ(mix_expected(&x, x.now_ns + NS_PER_S, 2), 0);
}

TEST(requests_in_order_do_not_mix)
{
    struct mix x = {0};
    uint64_t now = 1000 * NS_PER_S;
    for (uint64_t i = 0; i < 100; i++)
        mix_note(&x, now + i, now + i * NS_PER_MS, i == 0);
    EXPECT(!mix_is_on(&x, now + 100));
    mix_note(&x, now + 100, now, false);
    EXPECT(mix_is_on(&x, now + 100));
    EXPECT(mix_is_on(&x, now + NS_PER_S));
    EXPECT(!mix_is_on(&x, now + 100 + NS_PER_S));
    x = (struct mix){0};
    mix_note(&x, now, now + NS_PER_S, true);
    mix_note(&x, now, now, true); /* nobody else is there */
    EXPECT(!mix_is_on(&x, now));
}

/* Half of what the model can do is asked for by the urgent: the others may have the rest, for the half second after which they would overtake. */
TEST(a_lower_priority_is_let_in_as_far_as_it_can_run)
{
    start(4, 10 * NS_PER_MS, 0); /* 400 rows a second */
    (void)ask(0, 2, 60000);
    (void)ask(1, 1, 60000);
    for (int n = 0; n < 200; n++)
        mix_ask(&r.model->mix, rig_now_ns, 1, 1);
    static struct req low[120];
    int refused = 0;
    for (int n = 0; n < 120; n++) {
        req_make(&r, &low[n], 1, 1, n);
        low[n].i->client = 7;
        low[n].i->priority = 2;
        low[n].i->deadline_ns = rig_now_ns + 60 * NS_PER_S;
        req_submit(&low[n]);
        if (low[n].done) {
            EXPECT_ERR(low[n], ERR_BUSY, "busy with more urgent requests");
            EXPECT(low[n].retry_after_ms > 0 && low[n].retry_after_ms < 200);
            refused++;
        }
    }
    EXPECT_NEAR(refused, 20, 2);
    run_all();
    rig_done(&r);
}

/* A tenth is left to it, whatever is asked for; and one always. */
TEST(a_lower_priority_keeps_a_tenth)
{
    start(4, 10 * NS_PER_MS, 0);
    (void)ask(0, 2, 60000);
    (void)ask(1, 1, 60000);
    for (int n = 0; n < 5000; n++)
        mix_ask(&r.model->mix, rig_now_ns, 1, 1);
    int admitted = 1;
    for (int n = 2; n < 50; n++) {
        struct req *x = ask(n, 2, 60000);
        admitted += !x->done;
        if (x->done)
            memset(x, 0, sizeof *x);
    }
    EXPECT_NEAR(admitted, 20, 1);
    finish();
}
