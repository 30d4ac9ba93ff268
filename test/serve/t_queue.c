/* How many requests may wait, of all priorities, blocks and edge threads, and who gives way. */
#include "rig.h"

#include "base/clock.h"
#include "serve/queue.h"

static struct rig r;

static void start(uint32_t max_batch, uint32_t queue_max, uint32_t lanes)
{
    rig_init(&r, &(struct rig_opt){.max_batch = max_batch, .queue_max = queue_max, .lanes = lanes});
}

static struct req *ask(struct req *q, uint64_t client, uint32_t priority)
{
    req_make(&r, q, 1, 1, 7);
    q->i->client = client;
    q->i->priority = priority;
    req_submit(q);
    return q;
}

static void learn(uint64_t ms)
{
    for (int i = 0; i < 60; i++)
        cost_learn(&r.model->schedule.cost, 1, ms * NS_PER_MS);
}

TEST(what_waits_in_blocks_counts_and_what_runs_does_not)
{
    static struct req runs, waits[3], refused, later;
    start(1, 3, 1);
    (void)ask(&runs, 1, 1);
    serve_flush(r.serve);
    struct exec_block running = rig_claim(&r);
    for (int n = 0; n < 3; n++)
        EXPECT_OPEN(*ask(&waits[n], 1, 1));
    EXPECT_EQ(queue_len(r.model, 0), 3);
    EXPECT_ERR(*ask(&refused, 1, 1), ERR_BUSY, "Exceeds maximum queue size: 3 requests wait for model 'm'");
    EXPECT(exec_run(&r.worker, &running));
    EXPECT(serve_collect(r.serve));
    running = rig_claim(&r);
    EXPECT_EQ(queue_len(r.model, 0), 2);
    EXPECT_OPEN(*ask(&later, 1, 1));
    EXPECT(exec_run(&r.worker, &running));
    rig_settle(&r);
    EXPECT_OK(later);
    EXPECT_EQ(queue_len(r.model, 0), 0);
    rig_done(&r);
}

TEST(in_a_full_queue_the_last_in_order_gives_way_also_from_its_block)
{
    static struct req low[3], urgent, as_low;
    start(4, 3, 1);
    learn(1);
    for (int n = 0; n < 3; n++)
        EXPECT_OPEN(*ask(&low[n], 1 + (uint64_t)n, 2));
    serve_flush(r.serve);
    EXPECT_OPEN(*ask(&urgent, 9, 1));
    EXPECT_ERR(low[2], ERR_BUSY, "Exceeds maximum queue size: 3 requests wait");
    EXPECT_OPEN(low[0]);
    EXPECT_OPEN(low[1]);
    EXPECT_ERR(*ask(&as_low, 10, 2), ERR_BUSY, "Exceeds maximum queue size: 3 requests wait");
    EXPECT_EQ(queue_len(r.model, 0), 3);
    rig_settle(&r);
    EXPECT_OK(urgent);
    EXPECT_OK(low[0]);
    EXPECT_OK(low[1]);
    EXPECT_EQ(queue_len(r.model, 0), 0);
    rig_done(&r);
}

TEST(who_runs_already_does_not_give_way)
{
    static struct req low[2], urgent;
    start(2, 2, 1);
    (void)ask(&low[0], 1, 2);
    (void)ask(&low[1], 2, 2);
    serve_flush(r.serve);
    struct exec_block running = rig_claim(&r);
    EXPECT_EQ(queue_len(r.model, 0), 0);
    EXPECT_OPEN(*ask(&urgent, 9, 1));
    EXPECT(exec_run(&r.worker, &running));
    rig_settle(&r);
    EXPECT_OK(low[0]);
    EXPECT_OK(low[1]);
    EXPECT_OK(urgent);
    rig_done(&r);
}

/* And who is refused is told when what waits on all of them has run. */
TEST(the_queue_is_one_for_all_threads)
{
    enum { EACH = 10 };
    static struct req here[EACH], there[EACH], refused;
    struct served *m, *other;
    struct exec_block b;
    struct err err;
    start(1, 2 * EACH, 2);
    struct serve *second = rig_thread(&r, 1);
    if (serve_model(second, STR("m"), STR(""), &other, &err))
        FAIL("%s", err.text);
    learn(10);
    for (int n = 0; n < EACH; n++)
        EXPECT_OPEN(*ask(&here[n], 1, 1));
    serve_flush(r.serve);
    m = r.model;
    r.model = other;
    for (int n = 0; n < EACH; n++)
        EXPECT_OPEN(*ask(&there[n], 2, 1));
    serve_flush(second);
    EXPECT_EQ(queue_len(other, 0), 2 * EACH);
    r.model = m;
    EXPECT_EQ(queue_len(m, 0), 2 * EACH);
    EXPECT_ERR(*ask(&refused, 1, 1), ERR_BUSY, "Exceeds maximum queue size: 20 requests wait");
    EXPECT(refused.retry_after_ms >= 200 && refused.retry_after_ms <= 220);
    while (exec_claim(&r.worker, &b)) {
        EXPECT(exec_run(&r.worker, &b));
        EXPECT(serve_collect(b.lane == 0 ? r.serve : second));
    }
    EXPECT_EQ(queue_len(m, 0), 0);
    serve_free(second);
    rig_done(&r);
}

/* ---- of one priority ---- */

static void limit(uint32_t priority, struct queue_policy p)
{
    r.shared->limits.queue[priority - 1] = p;
}

TEST(a_priority_may_have_a_queue_of_its_own)
{
    static struct req low[3], urgent[2], over;
    start(1, 100, 1);
    limit(2, (struct queue_policy){.max = 3});
    for (int n = 0; n < 3; n++)
        EXPECT_OPEN(*ask(&low[n], 1, 2));
    EXPECT_ERR(*ask(&over, 1, 2), ERR_BUSY, "Exceeds maximum queue size: 3 requests of priority 2 wait for model 'm'");
    for (int n = 0; n < 2; n++)
        EXPECT_OPEN(*ask(&urgent[n], 2, 1));
    EXPECT_EQ(queue_len(r.model, 2), 3);
    EXPECT_EQ(queue_len(r.model, 0), 5);
    rig_settle(&r);
    EXPECT_OK(low[2]);
    rig_done(&r);
}

/* Requests that are bound to blocks, and one that runs. */
static void wait_with_one_running(struct req *runs, struct req *waits, int n, struct exec_block *out)
{
    (void)ask(runs, 1, 1);
    serve_flush(r.serve);
    *out = rig_claim(&r);
    for (int k = 0; k < n; k++)
        EXPECT_OPEN(*ask(&waits[k], 1, 1));
    serve_flush(r.serve);
}

TEST(who_has_waited_too_long_fails_before_its_deadline)
{
    static struct req runs, waits[40], later;
    struct exec_block running;
    start(1, 100, 1);
    limit(1, (struct queue_policy){.wait_ns = 20 * NS_PER_MS});
    wait_with_one_running(&runs, waits, 40, &running); /* in blocks, and behind them */
    rig_pass_ms(19);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_OPEN(waits[0]);
    EXPECT_OPEN(waits[39]);
    rig_pass_ms(1);
    serve_tick(r.serve, rig_now_ns);
    for (int k = 0; k < 40; k++)
        EXPECT_ERR(waits[k], ERR_TIMEOUT, "Request timeout expired: it waited 20 ms for a run of model 'm'");
    EXPECT_OPEN(runs); /* its waiting is over */
    rig_pass_ms(100);
    serve_tick(r.serve, rig_now_ns);
    EXPECT(exec_run(&r.worker, &running));
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(runs);
    EXPECT_EQ(queue_len(r.model, 0), 0);
    (void)ask(&later, 1, 1);
    rig_settle(&r);
    EXPECT_OK(later);
    rig_done(&r);
}

TEST(what_has_waited_too_long_leaves_its_block_to_the_others)
{
    static struct req runs, early, late;
    start(4, 100, 1);
    limit(1, (struct queue_policy){.wait_ns = 20 * NS_PER_MS});
    struct exec_block running;
    wait_with_one_running(&runs, &early, 1, &running);
    rig_pass_ms(10);
    EXPECT_OPEN(*ask(&late, 1, 1));
    EXPECT_EQ(early.i->block, late.i->block);
    rig_pass_ms(10);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(early, ERR_TIMEOUT, "it waited 20 ms");
    EXPECT(exec_run(&r.worker, &running));
    rig_settle(&r);
    EXPECT_OK(late);
    EXPECT_EQ(late.batch_rows, 1);
    rig_done(&r);
}

/* A worker's death is no reason to fail for one that had begun in time. */
TEST(who_runs_again_has_waited_already)
{
    static struct req runs;
    start(1, 100, 1);
    limit(1, (struct queue_policy){.wait_ns = 20 * NS_PER_MS});
    (void)ask(&runs, 1, 1);
    serve_flush(r.serve);
    (void)rig_claim(&r);
    rig_pass_ms(15);
    rig_die(&r, true);
    rig_pass_ms(15);
    serve_tick(r.serve, rig_now_ns);
    rig_settle(&r);
    EXPECT_OK(runs);
    rig_done(&r);
}

TEST(who_would_wait_too_long_is_refused_at_once)
{
    static struct req runs, waits[2], over;
    struct exec_block running;
    start(1, 100, 1);
    learn(10);
    limit(1, (struct queue_policy){.wait_ns = 25 * NS_PER_MS});
    wait_with_one_running(&runs, waits, 2, &running); /* they begin after 10 and 20 ms, and need 10 */
    EXPECT_ERR(*ask(&over, 1, 1), ERR_BUSY, "after the time that it may wait (queue_timeout): 3 rows are ahead");
    EXPECT(over.retry_after_ms >= 5 && over.retry_after_ms <= 10);
    EXPECT(exec_run(&r.worker, &running));
    rig_settle(&r);
    EXPECT_OK(waits[1]);
    rig_done(&r);
}

static int ended;
static const struct req *order[100];

static void note(struct req *q)
{
    order[ended++] = q;
}

static int place_of(const struct req *q)
{
    for (int n = 0; n < ended; n++)
        if (order[n] == q)
            return n;
    FAIL("%s has not ended", q->id);
    return -1;
}

/* Also those that are bound to blocks already, and those behind them. */
TEST(who_is_delayed_goes_behind_all_that_are_in_time)
{
    static struct req runs, old[40], fresh[5];
    struct exec_block running;
    start(1, 100, 1);
    limit(1, (struct queue_policy){.wait_ns = 20 * NS_PER_MS, .is_delay = true});
    wait_with_one_running(&runs, old, 40, &running);
    rig_pass_ms(20);
    serve_tick(r.serve, rig_now_ns);
    for (int n = 0; n < 5; n++)
        EXPECT_OPEN(*ask(&fresh[n], 1, 1));
    for (int n = 0; n < 40; n++) {
        EXPECT_OPEN(old[n]);
        old[n].on_done = note;
        if (n < 5)
            fresh[n].on_done = note;
    }
    EXPECT(exec_run(&r.worker, &running));
    EXPECT(serve_collect(r.serve));
    for (bool any = true; any;) { /* one run after the other */
        serve_flush(r.serve);
        any = rig_work(&r);
        (void)serve_collect(r.serve);
    }
    EXPECT_EQ(ended, 45);
    for (int n = 0; n < 5; n++) {
        EXPECT_OK(fresh[n]);
        EXPECT(place_of(&fresh[n]) < 5);
    }
    for (int n = 0; n < 40; n++)
        EXPECT_OK(old[n]);
    rig_done(&r);
}

TEST(a_delay_does_not_outlast_the_deadline)
{
    static struct req runs, waits;
    struct exec_block running;
    start(1, 100, 1);
    limit(1, (struct queue_policy){.wait_ns = 20 * NS_PER_MS, .is_delay = true});
    wait_with_one_running(&runs, &waits, 1, &running);
    for (int n = 0; n < 10; n++) {
        rig_pass_ms(90);
        serve_tick(r.serve, rig_now_ns);
        EXPECT_OPEN(waits);
    }
    rig_pass_ms(100);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(waits, ERR_TIMEOUT, "did not answer within 1000 ms");
    EXPECT(exec_run(&r.worker, &running));
    rig_settle(&r);
    rig_done(&r);
}
