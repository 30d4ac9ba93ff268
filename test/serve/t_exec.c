/* The worker's side by itself. */
#include <string.h>

#include "base/clock.h"
#include "rig.h"

static void submit(struct rig *r, struct req *q, uint32_t cols, int32_t first)
{
    req_make(r, q, 4, cols, first); /* a full batch: open at once */
    req_submit(q);
}

TEST(nothing_to_claim)
{
    struct rig r;
    struct exec_block b;
    rig_init(&r, NULL);
    EXPECT(!exec_claim(&r.worker, &b));
    atomic_store(&r.worker_map.shm->lane[0].open, UINT64_MAX); /* a hint only: the states decide */
    EXPECT(!exec_claim(&r.worker, &b));
    rig_done(&r);
}

TEST(the_oldest_block_is_claimed_first)
{
    struct rig r;
    struct req q[3];
    rig_init(&r, NULL);
    for (int k = 0; k < 3; k++) {
        submit(&r, &q[k], 1, k);
        rig_pass_ms(1);
    }
    rig_block(&r, 2)->order = rig_block(&r, 0)->order - 5; /* the third is most urgent */
    EXPECT_EQ(rig_claim(&r).block, 2);
    EXPECT_EQ(rig_claim(&r).block, 0);
    EXPECT_EQ(rig_claim(&r).block, 1);
    rig_die(&r, false);
    rig_settle(&r);
    for (int k = 0; k < 3; k++)
        EXPECT_OK(q[k]);
    rig_done(&r);
}

TEST(blocks_of_all_lanes_are_claimed)
{
    struct rig r;
    struct req a, b;
    struct err err;
    rig_init(&r, &(struct rig_opt){.lanes = 3});
    struct serve *third = rig_thread(&r, 2);
    submit(&r, &a, 1, 1);
    rig_pass_ms(1);
    if (serve_model(third, STR("m"), STR(""), &r.model, &err))
        FAIL("%s", err.text);
    submit(&r, &b, 1, 2);
    struct exec_block first = rig_claim(&r), second = rig_claim(&r);
    EXPECT_EQ(first.lane, 0);
    EXPECT_EQ(second.lane, 2);
    EXPECT(exec_run(&r.worker, &second));
    EXPECT(exec_run(&r.worker, &first));
    EXPECT(serve_collect(third));
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(a);
    EXPECT_OK(b);
    serve_free(third);
    rig_done(&r);
}

TEST(two_workers_never_claim_the_same)
{
    struct rig r;
    struct req q[2];
    rig_init(&r, NULL);
    struct exec second = r.worker;
    second.pid++;
    submit(&r, &q[0], 1, 1);
    submit(&r, &q[1], 1, 2);
    struct exec_block a, b, none;
    EXPECT(exec_claim(&r.worker, &a));
    EXPECT(exec_claim(&second, &b));
    EXPECT(a.block != b.block);
    EXPECT(!exec_claim(&second, &none));
    EXPECT(exec_run(&second, &b));
    EXPECT(exec_run(&r.worker, &a));
    rig_settle(&r);
    EXPECT_OK(q[0]);
    EXPECT_OK(q[1]);
    rig_done(&r);
}

TEST(a_run_counts)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    r.worker.index = 5;
    struct instance_shm *c = &r.shared->map.shm->instances[5];
    submit(&r, &a, 1, 1);
    EXPECT(rig_work(&r));
    EXPECT_EQ(atomic_load(&c->runs), 1);
    EXPECT_EQ(atomic_load(&c->rows), 4);
    EXPECT_EQ(atomic_load(&c->failures), 0);
    r.state.fail = ERR_BACKEND;
    submit(&r, &b, 1, 1);
    EXPECT(rig_work(&r));
    EXPECT_EQ(atomic_load(&c->runs), 2);
    EXPECT_EQ(atomic_load(&c->failures), 1);
    rig_settle(&r);
    EXPECT_ERR(b, ERR_BACKEND, "refuses");
    rig_done(&r);
}

TEST(an_output_that_does_not_fit_is_the_requests_error)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    r.worker_map.out_cap = 64; /* what the backend is given */
    submit(&r, &q, 10, 1);
    EXPECT(rig_work(&r));
    EXPECT(serve_collect(r.serve));
    EXPECT_ERR(q, ERR_TOO_LARGE, "no room for the output");
    rig_done(&r);
}

TEST(an_aborted_run_does_not_reach_the_model)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    submit(&r, &q, 1, 1);
    struct exec_block b = rig_claim(&r);
    atomic_store(&rig_block(&r, b.block)->aborted, 1);
    EXPECT(exec_run(&r.worker, &b));
    EXPECT_EQ(r.state.runs, 0);
    EXPECT_EQ(rig_block(&r, b.block)->status, ERR_CANCELLED);
    EXPECT(serve_collect(r.serve));
    EXPECT_ERR(q, ERR_CANCELLED, "nobody waits");
    rig_done(&r);
}

TEST(times_of_a_run_are_noted)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    submit(&r, &q, 1, 1);
    rig_pass_ms(7);
    struct exec_block b = rig_claim(&r);
    EXPECT(exec_run(&r.worker, &b));
    EXPECT_EQ(atomic_load(&rig_block(&r, b.block)->claimed_ns), rig_now_ns);
    EXPECT_EQ(rig_block(&r, b.block)->done_ns, rig_now_ns);
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}
