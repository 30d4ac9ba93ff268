/* Clients that go away, and deadlines, in every state of a request. */
#include <string.h>

#include "base/clock.h"
#include "rig.h"

/* Takes all blocks but `free` with full batches. */
static void fill_blocks(struct rig *r, struct req *q, int n)
{
    for (int k = 0; k < n; k++) {
        req_make(r, &q[k], 4, 1, 100 * k);
        req_submit(&q[k]);
    }
}

/* No block may be lost: after everything has ended all of them can be used again. */
static void expect_all_blocks_free(struct rig *r)
{
    rig_settle(r);
    EXPECT(!serve_is_busy(r->serve));
    EXPECT_EQ(r->model->lane.unused, UINT32_MAX);
    EXPECT_EQ(r->model->lane.published, 0);
    for (uint32_t b = 0; b < LANE_BLOCKS; b++)
        EXPECT_EQ(block_phase_of(atomic_load(&rig_block(r, b)->state)), BLOCK_FREE);
    EXPECT_EQ(atomic_load(&r->shared->load[0].queued), 0);
    EXPECT_EQ(atomic_load(&r->shared->load[0].in_flight), 0);
}

TEST(cancel_while_waiting)
{
    struct rig r;
    struct req q[LANE_BLOCKS], a, b, c;
    rig_init(&r, NULL);
    fill_blocks(&r, q, LANE_BLOCKS);
    req_make(&r, &a, 1, 1, 1);
    req_make(&r, &b, 1, 1, 2);
    req_make(&r, &c, 1, 1, 3);
    req_submit(&a);
    req_submit(&b);
    req_submit(&c);
    req_cancel(&b);
    EXPECT_ERR(b, ERR_CANCELLED, "client went away");
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(c);
    expect_all_blocks_free(&r);
    rig_done(&r);
}

TEST(cancel_while_filling)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_submit(&a);
    req_cancel(&a);
    EXPECT_ERR(a, ERR_CANCELLED, "");
    serve_flush(r.serve);
    EXPECT(!rig_work(&r));
    req_make(&r, &b, 1, 1, 2);
    req_submit(&b);
    expect_all_blocks_free(&r);
    EXPECT_OK(b);
    rig_done(&r);
}

TEST(cancel_while_filling_with_mates)
{
    struct rig r;
    struct req a, b, c;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_make(&r, &b, 1, 1, 2);
    req_make(&r, &c, 1, 1, 3);
    req_submit(&a);
    req_submit(&b);
    req_cancel(&a);
    req_submit(&c);
    expect_all_blocks_free(&r);
    EXPECT_ERR(a, ERR_CANCELLED, "");
    EXPECT_OK(b);
    EXPECT_OK(c);
    rig_done(&r);
}

TEST(cancel_while_open)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_submit(&a);
    serve_flush(r.serve);
    req_cancel(&a);
    EXPECT_ERR(a, ERR_CANCELLED, "");
    EXPECT(!rig_work(&r)); /* nobody wants it any more: no worker sees it */
    EXPECT_EQ(r.cancels, 0);
    expect_all_blocks_free(&r);
    rig_done(&r);
}

TEST(cancel_while_open_with_mates)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_make(&r, &b, 2, 1, 20);
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    req_cancel(&a);
    expect_all_blocks_free(&r);
    EXPECT_ERR(a, ERR_CANCELLED, "");
    EXPECT_OK(b);
    rig_done(&r);
}

TEST(cancel_while_running_asks_the_worker_to_give_up)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_submit(&a);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    req_cancel(&a);
    EXPECT_ERR(a, ERR_CANCELLED, "");
    EXPECT_EQ(r.cancels, 1);
    EXPECT_EQ(r.hook_pid, r.worker.pid);
    EXPECT_EQ(r.hook_block.block, run.block);
    EXPECT_EQ(r.hook_block.gen, run.gen);
    EXPECT(exec_run(&r.worker, &run));
    EXPECT_EQ(r.state.runs, 0); /* it saw that nobody waits before it began */
    expect_all_blocks_free(&r);
    rig_done(&r);
}

TEST(cancel_while_running_with_mates)
{
    struct rig r;
    struct req a, b, c;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_make(&r, &b, 1, 1, 2);
    req_make(&r, &c, 1, 1, 3);
    req_submit(&a);
    req_submit(&b);
    req_submit(&c);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    req_cancel(&b);
    EXPECT_EQ(r.cancels, 0);
    EXPECT(exec_run(&r.worker, &run));
    expect_all_blocks_free(&r);
    EXPECT_ERR(b, ERR_CANCELLED, "");
    EXPECT_OK(a);
    EXPECT_OK(c);
    rig_done(&r);
}

TEST(the_last_cancel_of_a_running_batch_asks_once)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_make(&r, &b, 1, 1, 2);
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    req_cancel(&b);
    EXPECT_EQ(r.cancels, 0);
    req_cancel(&a);
    EXPECT_EQ(r.cancels, 1);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(r.cancels, 1);
    EXPECT(exec_run(&r.worker, &run));
    expect_all_blocks_free(&r);
    rig_done(&r);
}

TEST(cancel_when_the_result_is_there_but_not_collected)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_make(&r, &b, 1, 1, 2);
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    EXPECT(rig_work(&r));
    req_cancel(&a);
    EXPECT_ERR(a, ERR_CANCELLED, "");
    EXPECT_EQ(r.cancels, 0);
    expect_all_blocks_free(&r);
    EXPECT_OK(b);
    rig_done(&r);
}

TEST(a_worker_that_dies_on_a_cancelled_run_frees_the_block)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_submit(&a);
    serve_flush(r.serve);
    (void)rig_claim(&r);
    req_cancel(&a);
    rig_die(&r, true);
    EXPECT_EQ(a.done, 1);
    EXPECT(!rig_work(&r));
    expect_all_blocks_free(&r);
    rig_done(&r);
}

/* ---- deadlines ---- */

TEST(deadline_while_waiting)
{
    struct rig r;
    struct req q[LANE_BLOCKS], a;
    rig_init(&r, NULL);
    fill_blocks(&r, q, LANE_BLOCKS);
    req_make(&r, &a, 1, 1, 1);
    a.i->deadline_ns = rig_now_ns + 20 * NS_PER_MS;
    req_submit(&a);
    rig_pass_ms(19);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_OPEN(a);
    rig_pass_ms(1);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(a, ERR_TIMEOUT, "Request timeout expired: model 'm' did not answer within 20 ms");
    rig_settle(&r);
    for (int k = 0; k < LANE_BLOCKS; k++)
        EXPECT_OK(q[k]);
    expect_all_blocks_free(&r);
    rig_done(&r);
}

TEST(deadline_while_open)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_make(&r, &b, 1, 1, 2);
    a.i->deadline_ns = rig_now_ns + 20 * NS_PER_MS;
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    rig_pass_ms(30);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(a, ERR_TIMEOUT, "within 20 ms");
    EXPECT_OPEN(b);
    expect_all_blocks_free(&r);
    EXPECT_OK(b);
    rig_done(&r);
}

TEST(deadline_while_running)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    a.i->deadline_ns = rig_now_ns + 20 * NS_PER_MS;
    req_submit(&a);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    rig_pass_ms(30);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(a, ERR_TIMEOUT, "within 20 ms");
    EXPECT_EQ(r.cancels, 1);
    EXPECT(exec_run(&r.worker, &run));
    expect_all_blocks_free(&r);
    rig_done(&r);
}

TEST(the_model_has_a_default_deadline)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_submit(&a);
    serve_flush(r.serve);
    rig_pass_ms(RIG_TIMEOUT_MS - 1);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_OPEN(a);
    rig_pass_ms(1);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(a, ERR_TIMEOUT, "within 1000 ms");
    expect_all_blocks_free(&r);
    rig_done(&r);
}

TEST(a_deadline_that_has_passed_before_the_submit_is_told_as_zero)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    a.i->deadline_ns = rig_now_ns - 1;
    req_submit(&a);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(a, ERR_TIMEOUT, "within 0 ms");
    rig_done(&r);
}

/* The next deadline that the lane remembers must not be lost when the earliest one goes. */
TEST(each_deadline_is_kept)
{
    struct rig r;
    struct req q[4];
    rig_init(&r, NULL);
    for (uint32_t k = 0; k < 4; k++) {
        req_make(&r, &q[k], 1, 1, 1);
        q[k].i->deadline_ns = rig_now_ns + (40 - 10 * k) * NS_PER_MS;
        req_submit(&q[k]);
    }
    serve_flush(r.serve);
    for (int k = 3; k >= 0; k--) {
        rig_pass_ms(10);
        serve_tick(r.serve, rig_now_ns);
        for (int j = 0; j < 4; j++)
            EXPECT_EQ(q[j].done, j >= k);
    }
    expect_all_blocks_free(&r);
    rig_done(&r);
}

static void submit_other(struct req *q)
{
    struct req *next = q->other;
    req_make(q->rig, next, 1, 1, 5);
    next->i->deadline_ns = rig_now_ns + 20 * NS_PER_MS;
    req_submit(next);
}

/* Pipelining: the timeout's answer makes room for the connection's next request, which has a deadline too. */
TEST(a_request_submitted_by_a_timeout_has_its_deadline)
{
    struct rig r;
    struct req first, a, next;
    rig_init(&r, NULL);
    req_make(&r, &first, 4, 1, 1);
    req_make(&r, &a, 1, 1, 1);
    first.i->deadline_ns = rig_now_ns + 5 * NS_PER_MS; /* the nearer deadline runs first */
    a.i->deadline_ns = rig_now_ns + 10 * NS_PER_MS;
    a.on_done = submit_other;
    a.other = &next;
    req_submit(&first);
    req_submit(&a);
    serve_flush(r.serve);
    EXPECT(rig_work(&r));
    (void)rig_claim(&r);
    EXPECT(serve_collect(r.serve)); /* so that the next request goes into a block before a's */
    rig_pass_ms(10);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(a, ERR_TIMEOUT, "");
    EXPECT_OPEN(next);
    rig_pass_ms(20);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(next, ERR_TIMEOUT, "within 20 ms");
    rig_done(&r);
}

/* ---- runs that hang ---- */

TEST(a_hung_run_is_killed_once)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    a.i->deadline_ns = rig_now_ns + 3 * RIG_TIMEOUT_MS * NS_PER_MS;
    req_submit(&a);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    atomic_store(&rig_block(&r, run.block)->claimed_ns, rig_now_ns);
    rig_pass_ms(RIG_TIMEOUT_MS - 1);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(r.kills, 0);
    rig_pass_ms(1);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(r.kills, 1);
    EXPECT_EQ(r.hook_pid, r.worker.pid);
    EXPECT(str_contains(str_c(r.kill_reason), STR("hung: a run took longer than the model's timeout of 1000 ms")));
    rig_pass_ms(50);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(r.kills, 1);
    rig_die(&r, false);
    rig_settle(&r); /* the next instance is in time */
    EXPECT_OK(a);
    expect_all_blocks_free(&r);
    rig_done(&r);
}

TEST(a_second_hang_of_the_same_block_is_killed_too)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    a.i->deadline_ns = rig_now_ns + 5 * RIG_TIMEOUT_MS * NS_PER_MS;
    req_submit(&a);
    serve_flush(r.serve);
    for (uint32_t n = 1; n <= 2; n++) {
        struct exec_block run = rig_claim(&r);
        atomic_store(&rig_block(&r, run.block)->claimed_ns, rig_now_ns);
        rig_pass_ms(RIG_TIMEOUT_MS);
        serve_tick(r.serve, rig_now_ns);
        EXPECT_EQ(r.kills, n);
        rig_die(&r, false);
    }
    rig_settle(&r);
    EXPECT_OK(a);
    rig_done(&r);
}

/* The worker ignores the request to give up: its process must go, or the block and the instance are lost. */
TEST(a_run_that_nobody_waits_for_is_killed_when_it_hangs)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_submit(&a);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    atomic_store(&rig_block(&r, run.block)->claimed_ns, rig_now_ns);
    req_cancel(&a);
    rig_pass_ms(RIG_TIMEOUT_MS);
    EXPECT(serve_is_busy(r.serve)); /* so that the edge goes on ticking */
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(r.kills, 1);
    rig_die(&r, false);
    expect_all_blocks_free(&r);
    rig_done(&r);
}

/* A block that waits long in the queue is not a hung run. */
TEST(an_open_block_does_not_hang)
{
    struct rig r;
    struct req a;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    a.i->deadline_ns = rig_now_ns + 3 * RIG_TIMEOUT_MS * NS_PER_MS;
    req_submit(&a);
    serve_flush(r.serve);
    rig_pass_ms(2 * RIG_TIMEOUT_MS);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(r.kills, 0);
    rig_settle(&r);
    EXPECT_OK(a);
    rig_done(&r);
}
