/* Requests with more rows than a run takes: parts, and one answer. */
#include <string.h>

#include "base/clock.h"
#include "rig.h"

TEST(parts_run_on_several_workers_and_end_in_any_order)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    struct exec second = r.worker, third = r.worker;
    second.pid += 1000;
    third.pid += 2000;
    req_make(&r, &q, 10, 3, 5);
    req_submit(&q);
    serve_flush(r.serve);
    struct exec_block a = rig_claim(&r), b, c;
    EXPECT(exec_claim(&second, &b));
    EXPECT(exec_claim(&third, &c));
    EXPECT(exec_run(&third, &c));
    EXPECT(serve_collect(r.serve));
    EXPECT(exec_run(&second, &b));
    EXPECT(serve_collect(r.serve));
    EXPECT_OPEN(q);
    EXPECT(exec_run(&r.worker, &a));
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(q);
    EXPECT_EQ(q.attempts, 1);
    EXPECT(!serve_is_busy(r.serve));
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(the_last_part_shares_its_run)
{
    struct rig r;
    struct req q, other;
    rig_init(&r, NULL);
    req_make(&r, &q, 5, 3, 5);
    req_make(&r, &other, 3, 3, 500);
    req_submit(&q);
    req_submit(&other);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_OK(other);
    EXPECT_EQ(r.state.runs, 2);
    rig_done(&r);
}

TEST(more_parts_than_blocks_and_places_in_the_queue)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.queue_max = 2, .max_batch = 2});
    req_make(&r, &q, 2 * LANE_BLOCKS + 21, 1, 5);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(inline_requests_are_split_too)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.backend = "identity", .param = "datatype=INT32", .max_batch = 4});
    req_make(&r, &q, 33, 3, 5);
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT_OK(q);
    rig_done(&r);
}

TEST(what_may_not_share_or_has_texts_is_not_split)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.alone = true});
    req_make(&r, &q, 9, 3, 5);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_EQ(r.state.runs, 1);
    rig_done(&r);
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES, .max_batch = 2});
    req_make_texts(&r, &q, (const char *[]){"one", "two", "three", NULL});
    req_submit(&q);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_EQ(q.batch_rows, 3);
    rig_done(&r);
}

TEST(a_split_request_that_does_not_decode)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 9, 3, 5);
    q.decode_fails = "inputs[0].data[4]: no number";
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "no number");
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(a_split_request_larger_than_the_memory_of_a_block)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.area = 4096});
    req_make(&r, &q, 10, 103, 5);
    req_submit(&q);
    EXPECT_ERR(q, ERR_TOO_LARGE, "4120 bytes, more than the limit of 4096");
    rig_done(&r);
}

static enum err_code look_at_alignment(struct infer *i, struct err *err)
{
    for (uint32_t k = 0; k < i->model->info.desc->inputs_len; k++)
        EXPECT_EQ((uintptr_t)i->in[k].data % 8, 0);
    return err_set(err, ERR_INVALID, "seen");
}

/* Decoders write elements with their own size. */
TEST(inputs_of_a_split_request_are_aligned)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.has_optional = true});
    req_make(&r, &q, 9, 3, 5);
    q.i->in[1] = (struct infer_tensor){.ndim = 2, .dims = {9, 1}, .dtype = DT_INT32, .given = true};
    q.i->decode = look_at_alignment;
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "seen");
    rig_done(&r);
}

TEST(optional_inputs_of_a_split_request)
{
    struct rig r;
    struct req q, left_out;
    rig_init(&r, &(struct rig_opt){.has_optional = true});
    req_make(&r, &q, 9, 3, 5);
    q.i->in[1] = (struct infer_tensor){.ndim = 2, .dims = {9, 1}, .dtype = DT_INT32, .given = true};
    req_make(&r, &left_out, 9, 3, 50);
    req_submit(&q);
    req_submit(&left_out);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_OK(left_out);
    rig_done(&r);
}

/* ---- ends before the end ---- */

TEST(cancel_of_a_split_request)
{
    struct rig r;
    struct req q, mate;
    rig_init(&r, NULL);
    req_make(&r, &q, 9, 3, 5);
    req_make(&r, &mate, 1, 3, 500);
    req_submit(&q);
    req_submit(&mate);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    req_cancel(&q);
    EXPECT_ERR(q, ERR_CANCELLED, "client went away");
    EXPECT_EQ(r.cancels, 1);
    EXPECT(exec_run(&r.worker, &run));
    rig_settle(&r);
    EXPECT_OK(mate);
    EXPECT(!serve_is_busy(r.serve));
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(cancel_of_a_split_request_while_parts_wait)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 4 * LANE_BLOCKS + 30, 1, 5);
    req_submit(&q);
    EXPECT(atomic_load(&r.shared->load[0].queued) > 0);
    EXPECT(rig_work(&r));
    req_cancel(&q);
    EXPECT_ERR(q, ERR_CANCELLED, "");
    rig_settle(&r);
    EXPECT(!serve_is_busy(r.serve));
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), 0);
    EXPECT_EQ(r.model->rows, 0);
    rig_done(&r);
}

TEST(deadline_of_a_split_request)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 9, 3, 5);
    q.i->deadline_ns = rig_now_ns + 20 * NS_PER_MS;
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT(rig_work(&r));
    rig_pass_ms(20);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(q, ERR_TIMEOUT, "within 20 ms");
    (void)serve_collect(r.serve);
    EXPECT(!serve_is_busy(r.serve));
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(a_part_that_fails_fails_the_whole_once)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 9, 3, 5);
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT(rig_work(&r));
    r.state.fail = ERR_BACKEND;
    EXPECT(rig_work(&r));
    r.state.fail = ERR_OK;
    rig_settle(&r);
    EXPECT_ERR(q, ERR_BACKEND, "the test's model refuses");
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(parts_of_a_dead_worker_run_again)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 9, 3, 5);
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT(rig_work(&r));
    (void)rig_claim(&r);
    rig_die(&r, true);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_EQ(q.attempts, 2);
    rig_done(&r);
}

TEST(a_part_that_kills_is_quarantined_with_its_whole)
{
    struct rig r;
    struct req q, again;
    rig_init(&r, NULL);
    req_make(&r, &q, 9, 1, 5);
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT(rig_work(&r)); /* the first 4 rows are harmless */
    for (int n = 0; n < CRASH_KILLS_MAX; n++) {
        struct exec_block run = rig_claim(&r);
        EXPECT_EQ(run.block, 1);
        rig_die(&r, true);
    }
    rig_settle(&r);
    EXPECT_ERR(q, ERR_BACKEND, "quarantined");
    req_make(&r, &again, 9, 1, 5);
    req_submit(&again);
    rig_settle(&r);
    EXPECT_ERR(again, ERR_REJECTED, "quarantined");
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(a_model_that_fails_ends_a_split_request_once)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 4 * LANE_BLOCKS + 30, 1, 5);
    req_submit(&q);
    rig_tell(&r, SERVED_FAILED, "broken");
    EXPECT_ERR(q, ERR_UNAVAILABLE, "broken");
    EXPECT(!serve_is_busy(r.serve));
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(a_retired_model_finishes_split_requests)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 4 * LANE_BLOCKS + 30, 1, 5);
    req_submit(&q);
    serve_retire(r.serve, r.shared->id);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_EQ(r.drains, 1);
    rig_done(&r);
}

/* ---- parts whose outputs do not fit together ---- */

static uint32_t twisted;

static void other_width_each_time(struct backend_run *run)
{
    run->out[0].dims[1] = 1 + twisted++ % 2;
    run->out[0].bytes = sizeof(int32_t) * (size_t)(run->out[0].dims[0] * run->out[0].dims[1]);
}

TEST(parts_with_outputs_of_different_shapes)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    r.state.twist = other_width_each_time;
    req_make(&r, &q, 9, 3, 5);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_ERR(q, ERR_BACKEND, "output 'y' has another shape in another part of the request");
    rig_done(&r);
}

static void wide(struct backend_run *run)
{
    run->out[0].data = run->out_base;
    run->out[0].dims[1] = (int64_t)(run->out_cap / 16);
    run->out[0].bytes = run->out_cap / 4 * (size_t)run->out[0].dims[0];
}

TEST(an_answer_larger_than_the_limit)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    r.state.twist = wide;
    req_make(&r, &q, 9, 3, 5);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_ERR(q, ERR_TOO_LARGE, "the answer to 9 rows needs");
    rig_done(&r);
}

TEST(a_wild_worker_does_not_harm_a_split_request)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    memset(r.worker_map.shm, 0xFF, r.worker_map.shm->control_bytes);
    r.worker_map = (struct segment_map){0};
    req_make(&r, &q, 5000, 200, 5); /* 4 MB: more than a block has */
    req_submit(&q);
    EXPECT_ERR(q, ERR_TOO_LARGE, "more than the limit of 1048576");
    rig_done(&r);
}

static void submit_other(struct req *q)
{
    req_make(q->rig, q->other, 9, 1, 50);
    req_submit(q->other);
}

TEST(done_of_a_split_request_submits_the_next)
{
    struct rig r;
    struct req q, next;
    rig_init(&r, NULL);
    req_make(&r, &q, 9, 3, 5);
    q.on_done = submit_other;
    q.other = &next;
    req_submit(&q);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_OK(next);
    rig_done(&r);
}

/* ---- requests that run whole ---- */

/* Rows of 1 ms; 16 are as good as 4 within what measuring shows, 32 are not. */
static const struct model_measure measures[] = {
    {.rows = 1, .ns = 2 * NS_PER_MS},
    {.rows = 2, .ns = 3 * NS_PER_MS},
    {.rows = 4, .ns = 4 * NS_PER_MS},
    {.rows = 8, .ns = 8200 * NS_PER_US},
    {.rows = 16, .ns = 16700 * NS_PER_US},
    {.rows = 32, .ns = 40 * NS_PER_MS},
    {.rows = 0},
};

/* A row costs a tenth more in runs of 8 than of 4, and half as much again in runs of 16; but the engine takes little of it. */
static const struct model_measure quick[] = {
    {.rows = 4, .ns = 40 * NS_PER_US},
    {.rows = 8, .ns = 88 * NS_PER_US},
    {.rows = 16, .ns = 240 * NS_PER_US},
    {.rows = 0},
};

/* Runs that a request of so many rows makes. */
static uint32_t runs_of(const struct rig_opt *opt, uint32_t rows, int instances, bool is_busy)
{
    struct rig r;
    struct req q, before;
    rig_init(&r, opt);
    r.model->info.instances_ready = instances;
    req_make(&r, &before, 1, 2, 7); /* of another shape */
    if (is_busy)
        req_submit(&before);
    req_make(&r, &q, rows, 1, 5);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_OK(q);
    uint32_t runs = r.state.runs - is_busy;
    if (!is_busy)
        req_submit(&before); /* frees it */
    rig_settle(&r);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
    return runs;
}

TEST(requests_run_whole_up_to_the_size_that_is_no_slower)
{
    struct rig_opt opt = {.measures = measures};
    EXPECT_EQ(runs_of(&opt, 4, 1, false), 1);
    EXPECT_EQ(runs_of(&opt, 5, 1, false), 1);
    EXPECT_EQ(runs_of(&opt, 16, 1, false), 1);
    EXPECT_EQ(runs_of(&opt, 17, 1, false), 5);
    EXPECT_EQ(runs_of(&(struct rig_opt){0}, 5, 1, false), 2); /* nothing was measured */
    EXPECT_EQ(runs_of(&(struct rig_opt){.measures = measures, .max_batch = 3}, 4, 1, false), 2); /* not of this size */
    struct batch_policy sizes = {.sizes = {2, 4}};
    EXPECT_EQ(runs_of(&(struct rig_opt){.measures = measures, .batch = &sizes}, 5, 1, false), 2);
}

TEST(what_a_run_costs_beside_the_engine_counts_for_running_whole)
{
    struct rig_opt opt = {.measures = quick};
    EXPECT_EQ(runs_of(&opt, 8, 1, false), 1);
    EXPECT_EQ(runs_of(&opt, 9, 1, false), 3);
}

TEST(parts_are_shared_out_when_several_instances_are_idle)
{
    struct rig_opt opt = {.measures = measures};
    EXPECT_EQ(runs_of(&opt, 16, 2, false), 4);
    EXPECT_EQ(runs_of(&opt, 16, 2, true), 1);
}

TEST(rows_of_others_do_not_join_a_request_that_runs_whole)
{
    struct rig r;
    struct req q, other;
    rig_init(&r, &(struct rig_opt){.measures = measures});
    req_make(&r, &other, 2, 1, 500);
    req_make(&r, &q, 16, 1, 5);
    req_submit(&other);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_OK(other);
    EXPECT_EQ(q.batch_rows, 16);
    EXPECT_EQ(other.batch_rows, 2);
    rig_done(&r);
}
