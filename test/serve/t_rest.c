/* A thread that is far ahead of its workers rests, and workers ring it less often. */
#include "serve/rest.h"

#include <string.h>

#include "base/clock.h"
#include "rig.h"

#define REQS_MAX 24

static const struct model_measure measures[] = {{.rows = 1, .ns = 400 * NS_PER_US},
                                                {.rows = 2, .ns = 600 * NS_PER_US},
                                                {.rows = 4, .ns = 1 * NS_PER_MS},
                                                {.rows = 0}};

static struct req reqs[REQS_MAX];

static void submit(struct rig *r, int n)
{
    for (int i = 0; i < n; i++) {
        req_make(r, &reqs[i], 4, 1, i);
        req_submit(&reqs[i]);
    }
    serve_flush(r->serve);
}

/* A model whose requests have all been alike for a while. */
static void start(struct rig *r, struct rig_opt opt)
{
    struct req first;
    opt.measures = measures;
    rig_init(r, &opt);
    req_make(r, &first, 1, 1, 1);
    req_submit(&first);
    rig_pass_ms(600); /* it may wait for more rows */
    rig_settle(r);
    EXPECT_OK(first);
    rig_pass_ms(1100);
}

static void finish(struct rig *r, const struct exec_block *running, int n)
{
    if (running)
        EXPECT(exec_run(&r->worker, running));
    rig_settle(r);
    for (int i = 0; i < n; i++)
        EXPECT_OK(reqs[i]);
    rig_done(r);
}

TEST(thread_rests_for_a_part_of_what_is_queued)
{
    static const struct {
        int blocks;
        uint64_t us; /* for all but the one that runs, 1 ms each */
    } cases[] = {{1, 0}, {2, 250}, {10, 2250}, {20, 4750}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig r;
        start(&r, (struct rig_opt){.queue_max = 30});
        EXPECT_EQ(serve_rest_ns(r.serve, rig_now_ns), 0);
        submit(&r, cases[i].blocks);
        struct exec_block running = rig_claim(&r);
        atomic_store(&r.worker_map.shm->waiting, 2);
        EXPECT_EQ(serve_rest_ns(r.serve, rig_now_ns), 0); /* an instance sleeps */
        atomic_store(&r.worker_map.shm->waiting, 0);
        EXPECT_NEAR((double)serve_rest_ns(r.serve, rig_now_ns) / 1e3, (double)cases[i].us, 1);
        finish(&r, &running, cases[i].blocks);
    }
}

TEST(thread_does_not_rest_while_an_instance_may_run_dry)
{
    struct rig r;
    start(&r, (struct rig_opt){0});
    r.model->info.instances_ready = 3;
    submit(&r, 3);
    struct exec_block running = rig_claim(&r);
    EXPECT_EQ(serve_rest_ns(r.serve, rig_now_ns), 0); /* 2 for 3 */
    r.model->info.instances_ready = 2;
    EXPECT_NEAR((double)serve_rest_ns(r.serve, rig_now_ns) / 1e3, 250, 1);
    r.model->info.instances_ready = 1;
    finish(&r, &running, 3);
}

TEST(thread_does_not_rest_among_requests_of_another_kind)
{
    struct rig r;
    start(&r, (struct rig_opt){0});
    submit(&r, 6);
    struct exec_block running = rig_claim(&r);
    EXPECT(serve_rest_ns(r.serve, rig_now_ns) > 0);
    struct req urgent;
    req_make(&r, &urgent, 1, 1, 100);
    urgent.i->priority = 2;
    req_submit(&urgent);
    serve_flush(r.serve);
    EXPECT_EQ(serve_rest_ns(r.serve, rig_now_ns), 0);
    rig_pass_ms(999);
    EXPECT_EQ(serve_rest_ns(r.serve, rig_now_ns), 0);
    rig_pass_ms(1);
    EXPECT(serve_rest_ns(r.serve, rig_now_ns) > 0);
    EXPECT(exec_run(&r.worker, &running));
    rig_settle(&r); /* the others are too late by now */
    rig_done(&r);
}

TEST(blocks_that_wait_for_rows_are_no_work)
{
    struct rig r;
    struct req other;
    start(&r, (struct rig_opt){.batch = &(struct batch_policy){.delay_ns = 500 * NS_PER_MS}});
    submit(&r, 1);
    struct exec_block running = rig_claim(&r);
    req_make(&r, &other, 3, 1, 100);
    req_submit(&other);
    serve_flush(r.serve);
    EXPECT_EQ(serve_rest_ns(r.serve, rig_now_ns), 0);
    rig_pass_ms(500);
    EXPECT(serve_rest_ns(r.serve, rig_now_ns) > 0);
    finish(&r, &running, 1);
}

/* ---- bells ---- */

/* Runs everything; "r" for a bell, "." for none, after each run. */
static void bells(struct rig *r, char *out)
{
    struct exec_block b;
    while (exec_claim(&r->worker, &b)) {
        EXPECT(exec_run(&r->worker, &b));
        *out++ = exec_may_ring_later(&r->worker, 0) ? '.' : 'r';
    }
    *out = '\0';
}

TEST(worker_rings_after_several_runs_while_much_is_open)
{
    struct rig r;
    char got[REQS_MAX + 1];
    start(&r, (struct rig_opt){.queue_max = 30});
    submit(&r, REQS_MAX);
    bells(&r, got);
    EXPECT_CSTR(got, "....r...r...r..r.r.rrrrr");
    finish(&r, NULL, REQS_MAX);
}

TEST(results_do_not_wait_for_long_runs)
{
    struct rig r;
    struct exec_block b;
    start(&r, (struct rig_opt){.queue_max = 30});
    submit(&r, REQS_MAX);
    EXPECT(rig_work(&r));
    r.worker.run_ns = 9 * NS_PER_MS; /* so long will the next one take */
    EXPECT(!exec_may_ring_later(&r.worker, 0));
    EXPECT(rig_work(&r));
    r.worker.run_ns = 5 * NS_PER_MS;
    EXPECT(exec_may_ring_later(&r.worker, 0));
    rig_pass_ms(5);
    EXPECT(exec_claim(&r.worker, &b));
    EXPECT(exec_run(&r.worker, &b));
    r.worker.run_ns = 5 * NS_PER_MS; /* 10 would be too late for the first */
    EXPECT(!exec_may_ring_later(&r.worker, 0));
    finish(&r, NULL, REQS_MAX);
}

TEST(lanes_are_rung_by_their_own_depth)
{
    struct rig r;
    start(&r, (struct rig_opt){.queue_max = 30, .lanes = 2});
    submit(&r, REQS_MAX);
    EXPECT(rig_work(&r));
    EXPECT(!exec_may_ring_later(&r.worker, 1));
    EXPECT(exec_may_ring_later(&r.worker, 0));
    finish(&r, NULL, REQS_MAX);
}

TEST(results_whose_deadline_is_near_do_not_wait)
{
    struct rig r;
    start(&r, (struct rig_opt){.queue_max = 30});
    submit(&r, REQS_MAX);
    rig_pass_ms(RIG_TIMEOUT_MS - 20);
    EXPECT(rig_work(&r));
    EXPECT(exec_may_ring_later(&r.worker, 0));
    r.worker.unrung_runs[0] = 0; /* a bell */
    rig_pass_ms(12);
    EXPECT(rig_work(&r));
    EXPECT(!exec_may_ring_later(&r.worker, 0));
    finish(&r, NULL, REQS_MAX);
}
