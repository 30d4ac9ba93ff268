/* Workers that die, edges that die, answers that come too late. */
#include <string.h>

#include "base/clock.h"
#include "rig.h"

static void start(struct rig *r, struct req *q, int n)
{
    for (int k = 0; k < n; k++) {
        req_make(r, &q[k], 1, 1, 100 * (k + 1));
        req_submit(&q[k]);
    }
    serve_flush(r->serve);
}

TEST(rows_of_a_dead_worker_run_again)
{
    struct rig r;
    struct req q[2];
    rig_init(&r, NULL);
    start(&r, q, 2);
    (void)rig_claim(&r);
    rig_die(&r, true);
    EXPECT_OPEN(q[0]);
    EXPECT(rig_work(&r)); /* published by the news of the death itself */
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(q[0]);
    EXPECT_OK(q[1]);
    EXPECT_EQ(q[0].attempts, 2);
    EXPECT_EQ(q[0].batch_rows, 2);
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

/* The dead worker had written outputs, but not said DONE. */
TEST(half_an_answer_is_none)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    start(&r, &q, 1);
    struct exec_block run = rig_claim(&r);
    struct block_shm *b = rig_block(&r, run.block);
    b->status = ERR_BACKEND;
    memset(segment_out(&r.worker_map, 0, run.block), 0xEE, 4096);
    EXPECT(!serve_collect(r.serve));
    rig_die(&r, true);
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}

TEST(what_was_finished_before_the_death_counts)
{
    struct rig r;
    struct req q[2];
    rig_init(&r, NULL);
    start(&r, q, 2);
    EXPECT(rig_work(&r));
    rig_die(&r, true);
    EXPECT_OK(q[0]);
    EXPECT_OK(q[1]);
    EXPECT_EQ(q[0].attempts, 1);
    EXPECT_EQ(r.state.runs, 1);
    rig_done(&r);
}

TEST(only_the_dead_workers_blocks_run_again)
{
    struct rig r;
    struct req a, b;
    struct exec other;
    rig_init(&r, NULL);
    other = r.worker;
    other.pid = RIG_DEAD_PID + 1000;
    start(&r, &a, 1);
    struct exec_block of_a, of_b;
    EXPECT(exec_claim(&other, &of_a));
    start(&r, &b, 1);
    of_b = rig_claim(&r);
    EXPECT(of_a.block != of_b.block);
    rig_die(&r, true);
    EXPECT(exec_run(&other, &of_a)); /* not disturbed */
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(a);
    EXPECT_EQ(a.attempts, 1);
    EXPECT_OPEN(b);
    rig_settle(&r);
    EXPECT_OK(b);
    EXPECT_EQ(b.attempts, 2);
    rig_done(&r);
}

TEST(deaths_of_unknown_workers_and_models_are_no_news)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    start(&r, &q, 1);
    struct exec_block run = rig_claim(&r);
    serve_worker_died(r.serve, r.shared->id, 1234, true);
    serve_worker_died(r.serve, r.shared->id + 1, r.worker.pid, true);
    serve_worker_died(r.serve, r.shared->id, 0, true);
    EXPECT(exec_run(&r.worker, &run));
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(q);
    EXPECT_EQ(q.attempts, 1);
    rig_done(&r);
}

/* [L3] The master believed it dead, but it was only slow. */
TEST(a_late_answer_is_dropped)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    start(&r, &q, 1);
    struct exec late = r.worker;
    struct exec_block run = rig_claim(&r);
    rig_die(&r, false);
    EXPECT(!exec_run(&late, &run));
    EXPECT(!serve_collect(r.serve));
    EXPECT_OPEN(q);
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}

TEST(a_late_answer_to_a_block_in_its_next_use_is_dropped)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    start(&r, &a, 1);
    struct exec late = r.worker;
    struct exec_block run = rig_claim(&r);
    rig_die(&r, false);
    rig_settle(&r);
    EXPECT_OK(a);
    start(&r, &b, 1);
    EXPECT_EQ(rig_claim(&r).block, run.block);
    EXPECT(!exec_run(&late, &run));
    EXPECT(!serve_collect(r.serve));
    rig_die(&r, false);
    rig_settle(&r);
    EXPECT_OK(b);
    rig_done(&r);
}

/* [L3] Not even the pid tells the two lives apart. */
TEST(a_late_answer_is_dropped_when_the_pid_is_used_again)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    start(&r, &q, 1);
    struct exec late = r.worker;
    struct exec_block old = rig_claim(&r);
    rig_die(&r, false);
    r.worker.pid = late.pid;
    struct exec_block run = rig_claim(&r);
    EXPECT_EQ(run.block, old.block);
    EXPECT(!exec_run(&late, &old));
    EXPECT(!serve_collect(r.serve));
    EXPECT(exec_run(&r.worker, &run));
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(q);
    rig_done(&r);
}

/* ---- crashes that repeat ---- */

TEST(after_two_crashes_requests_run_one_by_one)
{
    struct rig r;
    struct req q[3];
    rig_init(&r, NULL);
    start(&r, q, 3);
    (void)rig_claim(&r);
    rig_die(&r, true);
    (void)rig_claim(&r);
    rig_die(&r, true);
    for (uint32_t k = 0; k < 3; k++) {
        EXPECT(rig_work(&r));
        EXPECT_EQ(r.state.rows, 1);
        EXPECT(!rig_work(&r));
        EXPECT(serve_collect(r.serve));
        EXPECT_OK(q[k]);
        EXPECT_EQ(q[k].batch_rows, 1);
        EXPECT_EQ(q[k].attempts, 3);
    }
    EXPECT(!serve_is_busy(r.serve));
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

/* Dies on every run that has the bad rows, as a model does that they crash. */
static void play_with_poison(struct rig *r, int32_t poison, uint32_t *crashes)
{
    for (int turns = 0; turns < 100; turns++) {
        struct exec_block run;
        serve_flush(r->serve);
        if (!exec_claim(&r->worker, &run))
            return;
        const struct block_tensor_shm *x = &rig_block(r, run.block)->in[0];
        const int32_t *rows = (const void *)(segment_in_ro(&r->worker_map, 0, run.block) + x->off);
        bool is_bad = false;
        for (size_t e = 0; e < x->bytes / sizeof *rows; e++)
            is_bad |= rows[e] == poison;
        if (is_bad) {
            rig_die(r, true);
            ++*crashes;
        } else {
            EXPECT(exec_run(&r->worker, &run));
            (void)serve_collect(r->serve);
        }
    }
    FAIL("it never ends");
}

TEST(the_request_that_kills_is_found_and_its_mates_succeed)
{
    for (int bad = 0; bad < 4; bad++) {
        struct rig r;
        struct req q[4];
        uint32_t crashes = 0;
        rig_init(&r, NULL);
        start(&r, q, 4);
        play_with_poison(&r, 100 * (bad + 1), &crashes);
        for (int k = 0; k < 4; k++) {
            if (k == bad)
                EXPECT_ERR(q[k], ERR_BACKEND, "crashed 3 times on this request; it is quarantined");
            else
                EXPECT_OK(q[k]);
        }
        EXPECT_EQ(crashes, CRASH_KILLS_MAX);
        EXPECT_EQ(q[bad].attempts, CRASH_KILLS_MAX);
        EXPECT(!serve_is_busy(r.serve));
        EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
        rig_done(&r);
    }
}

TEST(a_quarantined_request_is_refused_when_it_comes_again)
{
    struct rig r;
    struct req q[4], again, other, mate;
    uint32_t crashes = 0;
    rig_init(&r, NULL);
    start(&r, q, 4);
    play_with_poison(&r, 300, &crashes);
    EXPECT_ERR(q[2], ERR_BACKEND, "");
    req_make(&r, &mate, 1, 1, 77);
    req_submit(&mate);
    req_make(&r, &again, 1, 1, 300); /* other place in the block, other request id: the same values */
    req_submit(&again);
    EXPECT_ERR(again, ERR_REJECTED, "this input killed workers of model 'm' 3 times and is quarantined");
    EXPECT(str_contains(str_c(again.remedy), STR("10 minutes")));
    req_make(&r, &other, 1, 1, 301);
    req_submit(&other);
    rig_settle(&r);
    EXPECT_OK(mate);
    EXPECT_OK(other);
    EXPECT_EQ(crashes, CRASH_KILLS_MAX);
    rig_done(&r);
}

TEST(a_quarantine_ends)
{
    struct rig r;
    struct req q, again;
    uint32_t crashes = 0;
    rig_init(&r, NULL);
    start(&r, &q, 1);
    play_with_poison(&r, 100, &crashes);
    EXPECT_ERR(q, ERR_BACKEND, "quarantined");
    rig_pass_ms(QUARANTINE_NS / NS_PER_MS);
    req_make(&r, &again, 1, 1, 100);
    req_submit(&again);
    rig_settle(&r); /* the model was mended meanwhile */
    EXPECT_OK(again);
    rig_done(&r);
}

TEST(two_requests_that_kill_are_both_found)
{
    struct rig r;
    struct req q[4];
    uint32_t crashes = 0;
    rig_init(&r, NULL);
    for (int k = 0; k < 4; k++) {
        req_make(&r, &q[k], 1, 1, k % 2 ? 100 * k : 66);
        req_submit(&q[k]);
    }
    play_with_poison(&r, 66, &crashes);
    EXPECT_ERR(q[0], ERR_BACKEND, "quarantined");
    EXPECT_OK(q[1]);
    EXPECT_ERR(q[2], ERR_BACKEND, "quarantined");
    EXPECT_OK(q[3]);
    rig_done(&r);
}

TEST(deaths_that_are_no_crashes_never_quarantine)
{
    struct rig r;
    struct req q[2];
    rig_init(&r, NULL);
    start(&r, q, 2);
    for (int n = 0; n < 10; n++) {
        (void)rig_claim(&r);
        rig_die(&r, false);
        EXPECT_OPEN(q[0]);
    }
    EXPECT(rig_work(&r));
    EXPECT_EQ(r.state.rows, 2); /* nor do they part the batch */
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(q[0]);
    EXPECT_OK(q[1]);
    rig_done(&r);
}

TEST(a_kill_from_outside_does_not_count_as_the_third_crash)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    start(&r, &q, 1);
    for (int n = 0; n < 2; n++) {
        (void)rig_claim(&r);
        rig_die(&r, true);
    }
    for (int n = 0; n < 3; n++) {
        (void)rig_claim(&r);
        rig_die(&r, false);
    }
    EXPECT_OPEN(q);
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}

/* The one that runs alone is given up; the crash of its run says nothing against the next. */
TEST(a_crash_of_a_given_up_run_is_not_blamed_on_a_mate)
{
    struct rig r;
    struct req q[2];
    rig_init(&r, NULL);
    start(&r, q, 2);
    for (int n = 0; n < 2; n++) {
        (void)rig_claim(&r);
        rig_die(&r, true);
    }
    (void)rig_claim(&r);
    req_cancel(&q[0]);
    EXPECT_EQ(r.cancels, 1);
    rig_die(&r, true);
    EXPECT_OPEN(q[1]);
    rig_settle(&r);
    EXPECT_OK(q[1]);
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(cancels_while_requests_run_one_by_one)
{
    struct rig r;
    struct req q[5];
    rig_init(&r, &(struct rig_opt){.max_batch = 5});
    start(&r, q, 5);
    for (int n = 0; n < 2; n++) {
        (void)rig_claim(&r);
        rig_die(&r, true);
    }
    req_cancel(&q[0]); /* open: the next takes its place */
    struct exec_block run = rig_claim(&r);
    req_cancel(&q[3]); /* not its turn yet */
    EXPECT_EQ(r.cancels, 0);
    req_cancel(&q[1]); /* running */
    EXPECT_EQ(r.cancels, 1);
    req_cancel(&q[4]);
    EXPECT_EQ(r.cancels, 1); /* it was asked already */
    EXPECT(exec_run(&r.worker, &run));
    rig_settle(&r);
    EXPECT_OK(q[2]);
    for (int k = 0; k < 5; k++)
        EXPECT_EQ(q[k].done, 1);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(a_deadline_between_two_crashes_ends_the_request)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    start(&r, &q, 1);
    (void)rig_claim(&r);
    rig_die(&r, true);
    rig_pass_ms(RIG_TIMEOUT_MS);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(q, ERR_TIMEOUT, "");
    EXPECT(!rig_work(&r));
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

/* Batches without rows are alone from the start. */
TEST(a_model_without_rows_recovers_too)
{
    struct rig r;
    struct req a, b;
    uint32_t crashes = 0;
    rig_init(&r, &(struct rig_opt){.no_batch_dim = true});
    req_make(&r, &a, 2, 2, 60);
    req_make(&r, &b, 3, 2, 500);
    req_submit(&a);
    req_submit(&b);
    play_with_poison(&r, 61, &crashes);
    EXPECT_ERR(a, ERR_BACKEND, "quarantined");
    EXPECT_OK(b);
    EXPECT_EQ(crashes, CRASH_KILLS_MAX);
    rig_done(&r);
}

TEST(texts_run_again_too)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES});
    req_make_texts(&r, &a, (const char *[]){"one", "two", NULL});
    req_make_texts(&r, &b, (const char *[]){"three", NULL});
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    for (int n = 0; n < 2; n++) {
        (void)rig_claim(&r);
        rig_die(&r, true);
    }
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(a.batch_rows, 2);
    rig_done(&r);
}

TEST(request_ids_of_a_lone_run_are_its_own)
{
    struct rig r;
    struct req q[6];
    rig_init(&r, &(struct rig_opt){.max_batch = 6});
    start(&r, q, 6);
    struct exec_block run = rig_claim(&r);
    struct block_shm *b = rig_block(&r, run.block);
    EXPECT_EQ(b->ids_len, LANE_IDS_MAX);
    EXPECT_CSTR(b->ids[0], q[0].id);
    EXPECT_CSTR(b->ids[3], q[3].id);
    rig_die(&r, true);
    (void)rig_claim(&r);
    rig_die(&r, true);
    EXPECT(rig_work(&r));
    (void)serve_collect(r.serve);
    (void)rig_claim(&r);
    EXPECT_EQ(b->ids_len, 1);
    EXPECT_CSTR(b->ids[0], q[1].id);
    rig_die(&r, false);
    rig_settle(&r);
    for (int k = 0; k < 6; k++)
        EXPECT_OK(q[k]);
    rig_done(&r);
}

/* ---- an edge that starts again over the same segment ---- */

static void restart_edge(struct rig *r)
{
    struct err err;
    r->serve = serve_free(r->serve);
    r->serve = rig_thread(r, 0);
    if (serve_model(r->serve, STR("m"), STR(""), &r->model, &err))
        FAIL("%s", err.text);
}

TEST(a_new_edge_takes_over_what_the_old_one_left)
{
    struct rig r;
    struct req running, finished, open, filling, q[LANE_BLOCKS];
    struct exec alive;
    rig_init(&r, NULL);
    start(&r, &finished, 1);
    EXPECT(rig_work(&r));
    alive = r.worker;
    alive.pid = (uint32_t)getpid();
    start(&r, &running, 1);
    struct exec_block run;
    EXPECT(exec_claim(&alive, &run));
    start(&r, &open, 1);
    req_make(&r, &filling, 1, 3, 1);
    req_submit(&filling);
    restart_edge(&r);
    req_forget(&running);
    req_forget(&finished);
    req_forget(&open);
    req_forget(&filling);
    EXPECT_EQ(__builtin_popcount(r.model->lane.orphans), 1);
    EXPECT(!rig_work(&r)); /* nobody waits for the open one any more */
    EXPECT(serve_is_busy(r.serve));
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(__builtin_popcount(r.model->lane.orphans), 1); /* its worker lives */

    for (int k = 0; k < LANE_BLOCKS; k++) {
        req_make(&r, &q[k], 4, 1, 10 * k);
        req_submit(&q[k]);
    }
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), 1);
    EXPECT(exec_run(&alive, &run)); /* ends its run: for nobody */
    EXPECT(!serve_collect(r.serve));
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(r.model->lane.orphans, 0);
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), 0);
    rig_settle(&r);
    for (int k = 0; k < LANE_BLOCKS; k++)
        EXPECT_OK(q[k]);
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(an_orphan_whose_worker_died_unseen_is_freed)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    start(&r, &q, 1);
    (void)rig_claim(&r); /* its pid is nobody's */
    restart_edge(&r);
    req_forget(&q);
    EXPECT_EQ(__builtin_popcount(r.model->lane.orphans), 1);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_EQ(r.model->lane.orphans, 0);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(news_of_a_death_free_the_orphan)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    start(&r, &q, 1);
    (void)rig_claim(&r);
    restart_edge(&r);
    req_forget(&q);
    rig_die(&r, true);
    EXPECT_EQ(r.model->lane.orphans, 0);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(an_answer_to_the_old_edge_does_not_reach_the_new_ones_requests)
{
    struct rig r;
    struct req old, q;
    rig_init(&r, NULL);
    start(&r, &old, 1);
    struct exec_block run = rig_claim(&r);
    struct exec late = r.worker;
    restart_edge(&r);
    req_forget(&old);
    serve_tick(r.serve, rig_now_ns); /* taken for dead */
    r.worker.pid++;
    start(&r, &q, 1);
    EXPECT_EQ(rig_claim(&r).block, run.block);
    EXPECT(!exec_run(&late, &run));
    EXPECT(!serve_collect(r.serve));
    rig_die(&r, false);
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}
