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
    EXPECT_EQ(queue_len(r.model), 3);
    EXPECT_ERR(*ask(&refused, 1, 1), ERR_BUSY, "Exceeds maximum queue size: 3 requests wait for model 'm'");
    EXPECT(exec_run(&r.worker, &running));
    EXPECT(serve_collect(r.serve));
    running = rig_claim(&r);
    EXPECT_EQ(queue_len(r.model), 2);
    EXPECT_OPEN(*ask(&later, 1, 1));
    EXPECT(exec_run(&r.worker, &running));
    rig_settle(&r);
    EXPECT_OK(later);
    EXPECT_EQ(queue_len(r.model), 0);
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
    EXPECT_EQ(queue_len(r.model), 3);
    rig_settle(&r);
    EXPECT_OK(urgent);
    EXPECT_OK(low[0]);
    EXPECT_OK(low[1]);
    EXPECT_EQ(queue_len(r.model), 0);
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
    EXPECT_EQ(queue_len(r.model), 0);
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
    EXPECT_EQ(queue_len(other), 2 * EACH);
    r.model = m;
    EXPECT_EQ(queue_len(m), 2 * EACH);
    EXPECT_ERR(*ask(&refused, 1, 1), ERR_BUSY, "Exceeds maximum queue size: 20 requests wait");
    EXPECT(refused.retry_after_ms >= 200 && refused.retry_after_ms <= 220);
    while (exec_claim(&r.worker, &b)) {
        EXPECT(exec_run(&r.worker, &b));
        EXPECT(serve_collect(b.lane == 0 ? r.serve : second));
    }
    EXPECT_EQ(queue_len(m), 0);
    serve_free(second);
    rig_done(&r);
}
