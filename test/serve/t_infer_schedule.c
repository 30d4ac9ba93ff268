/* Who runs first, who is refused, and what never runs: requests in virtual time, the worker played by the test. */
#include "rig.h"

#include "base/clock.h"
#include "serve/queue.h"

#define MANY 500

static struct rig r;
static struct req q[MANY];
static int order_len;
static const struct req *order[MANY];

static void note(struct req *x)
{
    EXPECT(order_len < MANY);
    order[order_len++] = x;
}

static uint64_t run_ms; /* how long each run takes */

static void take_time(struct backend_run *run)
{
    (void)run;
    rig_pass_ms(run_ms);
}

static void start(uint32_t max_batch, uint32_t queue_max, const struct batch_policy *policy)
{
    rig_init(&r, &(struct rig_opt){.max_batch = max_batch, .queue_max = queue_max, .batch = policy});
    r.state.twist = take_time;
    run_ms = 0;
    order_len = 0;
}

static struct req *ask(int n, uint64_t client, uint32_t priority, uint64_t given_ms)
{
    req_make(&r, &q[n], 1, 1, n);
    q[n].i->client = client;
    q[n].i->priority = priority;
    q[n].i->deadline_ns = given_ms ? rig_now_ns + given_ms * NS_PER_MS : 0;
    q[n].on_done = note;
    req_submit(&q[n]);
    return &q[n];
}

/* Runs of so many ms, whatever their size. */
static void learn(uint32_t ms)
{
    for (int i = 0; i < 60; i++)
        cost_learn(&r.model->schedule.cost, 1 + (uint32_t)i % 4, ms * NS_PER_MS);
}

/* All blocks are taken: what comes now waits in the queue. Rows of another client, of the least priority. */
static void fill(void)
{
    for (int k = 0; k < LANE_BLOCKS; k++) {
        static struct req filler[LANE_BLOCKS];
        req_make(&r, &filler[k], r.model->lane.row_cap, 1, 0);
        filler[k].i->client = 99;
        filler[k].i->priority = 1;
        filler[k].i->deadline_ns = rig_now_ns + 900 * NS_PER_MS;
        req_submit(&filler[k]);
    }
    EXPECT_EQ(r.model->lane.unused, 0);
}

/* The worker takes the next block and answers it. */
static bool run_one(void)
{
    serve_flush(r.serve);
    if (!rig_work(&r))
        return false;
    serve_tick(r.serve, rig_now_ns);
    (void)serve_collect(r.serve);
    return true;
}

static void run_all(void)
{
    while (run_one()) {
    }
}

static int place_of(const struct req *x)
{
    for (int i = 0; i < order_len; i++)
        if (order[i] == x)
            return i;
    FAIL("%s was not answered", x->id);
    return -1;
}

TEST(a_client_that_floods_does_not_delay_another)
{
    start(1, 500, NULL);
    learn(2);
    for (int n = 0; n < 200; n++)
        (void)ask(n, 1, 0, 0);
    rig_pass_ms(1);
    struct req *other = ask(300, 2, 0, 0);
    run_all();
    EXPECT_OK(*other);
    EXPECT_EQ(order_len, 201);
    EXPECT(place_of(other) < LANE_BLOCKS + 2); /* behind what was in blocks already, before what waited */
    rig_done(&r);
}

TEST(two_clients_that_flood_get_the_same_share)
{
    start(1, 500, NULL);
    learn(2);
    for (int n = 0; n < 160; n++)
        (void)ask(n, 1, 0, 0);
    for (int n = 160; n < 320; n++)
        (void)ask(n, 2, 0, 0);
    run_all();
    int of_second = 0;
    for (int i = LANE_BLOCKS; i < LANE_BLOCKS + 100; i++)
        of_second += order[i]->i == NULL && order[i] >= &q[160];
    EXPECT(of_second >= 45); /* it also catches up for the blocks that the first had at once */
    rig_done(&r);
}

/* What a client has asked for on one edge thread counts on the others, and workers take blocks in the order of all lanes. */
TEST(a_flood_on_one_thread_is_one_on_all)
{
    enum { FLOOD = 10 };
    struct err err;
    struct exec_block b;
    rig_init(&r, &(struct rig_opt){.max_batch = 1, .queue_max = 500, .lanes = 2});
    struct serve *second = rig_thread(&r, 1);
    order_len = 0;
    learn(2);
    for (int n = 0; n < FLOOD; n++)
        (void)ask(n, 1, 0, 0);
    if (serve_model(second, STR("m"), STR(""), &r.model, &err))
        FAIL("%s", err.text);
    learn(2);
    struct req *same = ask(FLOOD, 1, 0, 0), *other = ask(FLOOD + 1, 2, 0, 0);
    while (exec_claim(&r.worker, &b)) {
        EXPECT(exec_run(&r.worker, &b));
        EXPECT(serve_collect(b.lane == 0 ? r.serve : second));
    }
    EXPECT_EQ(order_len, FLOOD + 2);
    EXPECT_EQ(place_of(other), 1); /* as urgent as the flood's first one */
    EXPECT_EQ(place_of(same), FLOOD + 1);
    serve_free(second);
    rig_done(&r);
}

TEST(the_nearer_deadline_is_answered_first)
{
    start(1, 100, NULL);
    fill();
    struct req *late = ask(0, 1, 1, 400), *soon = ask(1, 1, 1, 100), *middle = ask(2, 1, 1, 200);
    run_all();
    EXPECT(place_of(soon) < place_of(middle));
    EXPECT(place_of(middle) < place_of(late));
    rig_done(&r);
}

TEST(the_urgent_overtake_and_the_others_are_not_starved)
{
    start(1, 300, NULL);
    struct req *low = ask(0, 1, 2, 10000);
    uint64_t began = rig_now_ns, waited = 0;
    int n = 1;
    run_ms = 5;
    while (!low->done) { /* each 5 ms two urgent ones come and one run ends: more than can be served */
        (void)ask(n++, 2, 1, 0);
        (void)ask(n++, 3, 1, 0);
        EXPECT(run_one());
        waited = rig_now_ns - began;
        EXPECT(waited <= 2 * SCHEDULE_AGE_NS + 50 * NS_PER_MS); /* half a second, and what was ahead of it by then */
    }
    EXPECT_OK(*low);
    EXPECT(waited >= SCHEDULE_AGE_NS); /* the urgent did go first */
    rig_done(&r);
}

TEST(what_cannot_be_in_time_is_refused_at_once_with_the_time_after_which_it_could)
{
    start(1, 100, NULL);
    learn(10);
    struct req *first = ask(0, 1, 1, 500);
    serve_flush(r.serve);
    struct exec_block running = rig_claim(&r);
    struct req *second = ask(1, 2, 1, 24), *third = ask(2, 3, 1, 25); /* done at 20 ms; would be done at 30 ms */
    EXPECT_ERR(*third, ERR_BUSY, "after the request's deadline: 2 rows are ahead");
    EXPECT(third->retry_after_ms >= 5 && third->retry_after_ms <= 8);
    struct req *fourth = ask(3, 4, 1, 40), *soonest = ask(4, 5, 1, 22); /* this one overtakes the second */
    EXPECT_OPEN(*fourth);
    EXPECT_OPEN(*soonest);
    EXPECT(exec_run(&r.worker, &running));
    run_all();
    EXPECT_OK(*first);
    EXPECT_OK(*second);
    EXPECT_OK(*fourth);
    EXPECT_EQ(r.state.runs, 4);
    rig_done(&r);
}

TEST(rows_that_come_later_in_the_order_do_not_refuse_the_urgent)
{
    start(1, 100, NULL);
    learn(10);
    for (int n = 0; n < 20; n++)
        (void)ask(n, 1, 2, 900);
    struct req *urgent = ask(30, 2, 1, 50);
    EXPECT_OPEN(*urgent);
    run_all();
    EXPECT_OK(*urgent);
    EXPECT_EQ(place_of(urgent), 0);
    rig_done(&r);
}

TEST(an_idle_model_tries_whatever_was_learned)
{
    start(1, 100, NULL);
    learn(100);
    struct req *x = ask(0, 1, 1, 20);
    EXPECT_OPEN(*x);
    rig_settle(&r);
    EXPECT_OK(*x);
    rig_done(&r);
}

TEST(a_full_queue_refuses_the_one_that_would_come_last)
{
    start(1, LANE_BLOCKS + 10, NULL);
    learn(2);
    for (int n = 0; n < LANE_BLOCKS + 10; n++)
        (void)ask(n, 1, 1, 0);
    struct req *other = ask(300, 2, 1, 0), *last = &q[LANE_BLOCKS + 9];
    EXPECT_OPEN(*other);
    EXPECT_ERR(*last, ERR_BUSY, "Exceeds maximum queue size: 42 requests wait");
    EXPECT(last->retry_after_ms >= 2 * (LANE_BLOCKS + 10) && last->retry_after_ms <= 2 * (LANE_BLOCKS + 14));
    struct req *same = ask(301, 1, 1, 0);
    EXPECT_ERR(*same, ERR_BUSY, "Exceeds maximum queue size");
    rig_settle(&r);
    EXPECT_OK(*other);
    EXPECT_EQ(order_len, LANE_BLOCKS + 12);
    rig_done(&r);
}

/* Between two ticks a worker may claim a block that expired a moment ago. */
TEST(expired_work_never_runs)
{
    start(4, 10, NULL);
    struct req *x = ask(0, 1, 1, 20);
    serve_flush(r.serve);
    struct exec_block b = rig_claim(&r);
    rig_pass_ms(20);
    EXPECT(exec_run(&r.worker, &b));
    EXPECT_EQ(r.state.runs, 0);
    EXPECT_EQ(atomic_load(&r.worker_map.shm->instances[0].runs), 0);
    (void)serve_collect(r.serve);
    EXPECT_ERR(*x, ERR_TIMEOUT, "Request timeout expired");
    struct req *y = ask(1, 1, 1, 20), *z = ask(2, 1, 1, 60); /* one of them can still be in time: they run */
    serve_flush(r.serve);
    rig_pass_ms(30);
    b = rig_claim(&r);
    EXPECT(exec_run(&r.worker, &b));
    serve_tick(r.serve, rig_now_ns);
    (void)serve_collect(r.serve);
    EXPECT_EQ(r.state.runs, 1);
    EXPECT_ERR(*y, ERR_TIMEOUT, "");
    EXPECT_OK(*z);
    rig_done(&r);
}

static const struct batch_policy ordered = {.is_ordered = true};

/* Two instances: the second is faster than the first. */
TEST(answers_keep_their_order_where_asked)
{
    start(2, 100, &ordered);
    for (int n = 0; n < 6; n++)
        (void)ask(n, 1, 1, 0);
    serve_flush(r.serve);
    struct exec_block a = rig_claim(&r), b = rig_claim(&r), c = rig_claim(&r);
    EXPECT(exec_run(&r.worker, &c));
    EXPECT(exec_run(&r.worker, &b));
    (void)serve_collect(r.serve);
    EXPECT_EQ(order_len, 0);
    EXPECT(exec_run(&r.worker, &a));
    (void)serve_collect(r.serve);
    EXPECT_EQ(order_len, 6);
    for (int n = 0; n < 6; n++)
        EXPECT(order[n] == &q[n]);
    rig_done(&r);
}

TEST(order_is_kept_across_shapes_priorities_and_deadlines)
{
    start(4, 200, &ordered);
    for (int n = 0; n < 150; n++) {
        req_make(&r, &q[n], n % 11 == 0 ? 9 : 1, 1 + (uint32_t)n % 3 / 2, n);
        q[n].i->priority = 1 + (uint32_t)n % 4;
        q[n].i->deadline_ns = rig_now_ns + (900 - (uint64_t)n) * NS_PER_MS;
        q[n].on_done = note;
        req_submit(&q[n]);
    }
    struct exec_block held[3];
    bool has[3] = {false};
    for (int turn = 0; order_len < 150 && turn < 1000; turn++) { /* three instances that end in the reverse order */
        serve_flush(r.serve);
        for (int w = 0; w < 3; w++)
            has[w] = exec_claim(&r.worker, &held[w]);
        for (int w = 3; w-- > 0;)
            if (has[w])
                EXPECT(exec_run(&r.worker, &held[w]));
        (void)serve_collect(r.serve);
    }
    EXPECT_EQ(order_len, 150);
    for (int n = 0; n < 150; n++) {
        EXPECT(order[n] == &q[n]);
        EXPECT_OK(q[n]);
    }
    rig_done(&r);
}

TEST(an_expired_request_does_not_hold_up_those_behind_it)
{
    start(1, 100, &ordered);
    struct req *a = ask(0, 1, 1, 20), *b = ask(1, 1, 1, 500);
    serve_flush(r.serve);
    struct exec_block first = rig_claim(&r);
    EXPECT(rig_work(&r));
    (void)serve_collect(r.serve);
    EXPECT_OPEN(*b);
    rig_pass_ms(30);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(*a, ERR_TIMEOUT, "");
    EXPECT(exec_run(&r.worker, &first));
    (void)serve_collect(r.serve);
    EXPECT_OK(*b);
    rig_done(&r);
}

/* A request of many parts is no wall: what comes meanwhile runs between them. */
TEST(parts_of_a_large_request_let_others_through)
{
    static struct req large;
    start(1, 200, NULL);
    learn(4);
    req_make(&r, &large, 200, 1, 0);
    large.i->client = 1;
    large.on_done = note;
    req_submit(&large);
    struct req *small = ask(0, 2, 1, 0);
    for (int n = 0; n < LANE_BLOCKS + 2 && !small->done; n++)
        EXPECT(run_one());
    EXPECT_OK(*small);
    EXPECT_OPEN(large);
    rig_settle(&r);
    EXPECT_OK(large);
    rig_done(&r);
}

TEST(a_large_request_is_one_in_the_queue)
{
    static struct req large[3];
    start(1, 3, NULL);
    learn(2);
    for (int n = 0; n < 3; n++) {
        req_make(&r, &large[n], 100, 1, 0);
        large[n].i->client = 1;
        req_submit(&large[n]);
        EXPECT_OPEN(large[n]);
        if (n == 1) { /* many parts wait, but two requests */
            struct req *small = ask(0, 2, 1, 0);
            EXPECT_OPEN(*small);
            run_all();
            EXPECT_OK(*small);
            EXPECT_OK(large[0]);
            EXPECT_OK(large[1]);
        }
    }
    run_all();
    for (int n = 0; n < 3; n++) {
        req_make(&r, &large[n], 100, 1, 0);
        req_submit(&large[n]);
    }
    struct req *other = ask(1, 2, 1, 0);
    EXPECT_ERR(*other, ERR_BUSY, "Exceeds maximum queue size: 3 requests wait");
    run_all();
    EXPECT_EQ(r.model->splits, 0);
    EXPECT_EQ(atomic_load(&r.shared->load[0].waits[0]), 0);
    EXPECT_EQ(queue_len(r.model, 0), 0);
    rig_done(&r);
}

TEST(when_one_part_fails_the_others_do_not_run)
{
    static struct req large;
    start(2, 200, NULL);
    req_make(&r, &large, 100, 1, 0);
    req_submit(&large);
    r.state.fail = ERR_BACKEND;
    EXPECT(run_one());
    EXPECT_ERR(large, ERR_BACKEND, "the test's model refuses");
    rig_settle(&r);
    EXPECT_EQ(r.state.runs, 1);
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}
