/* A request's way when nobody dies: batches, queues, refusals. */
#include "rig.h"

#include <string.h>

#include "base/clock.h"

TEST(one_request_is_answered)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 2, 3, 10);
    req_submit(&q);
    EXPECT_OPEN(q);
    EXPECT(serve_is_busy(r.serve));
    serve_flush(r.serve);
    EXPECT(rig_work(&r));
    EXPECT(!rig_work(&r));
    EXPECT_OPEN(q);
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(q);
    EXPECT_EQ(q.batch_rows, 2);
    EXPECT_EQ(q.attempts, 1);
    EXPECT(!serve_collect(r.serve));
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(nothing_is_seen_by_workers_before_the_flush)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 1, 1, 10);
    req_submit(&q);
    EXPECT(!rig_work(&r));
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}

TEST(requests_of_one_turn_share_a_run)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 3, 10);
    req_make(&r, &b, 2, 3, 500);
    req_submit(&a);
    req_submit(&b);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.runs, 1);
    EXPECT_EQ(r.state.rows, 3);
    EXPECT_EQ(a.batch_rows, 3);
    EXPECT_EQ(b.batch_rows, 3);
    rig_done(&r);
}

TEST(later_rows_join_a_block_that_no_worker_has_claimed)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 3, 10);
    req_submit(&a);
    serve_flush(r.serve);
    req_make(&r, &b, 1, 3, 500);
    req_submit(&b);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.runs, 1);
    rig_done(&r);
}

TEST(later_rows_do_not_join_a_run_in_progress)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 3, 10);
    req_submit(&a);
    serve_flush(r.serve);
    struct exec_block claimed = rig_claim(&r);
    req_make(&r, &b, 1, 3, 500);
    req_submit(&b);
    EXPECT(exec_run(&r.worker, &claimed));
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.runs, 2);
    EXPECT_EQ(a.batch_rows, 1);
    rig_done(&r);
}

TEST(a_model_that_must_not_share_runs_requests_alone)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, &(struct rig_opt){.alone = true});
    req_make(&r, &a, 2, 3, 10);
    req_make(&r, &b, 2, 3, 500);
    req_submit(&a);
    req_submit(&b);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.runs, 2);
    EXPECT_EQ(r.state.rows, 2);
    rig_done(&r);
}

TEST(a_model_without_rows_takes_whole_tensors)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, &(struct rig_opt){.no_batch_dim = true});
    req_make(&r, &a, 5, 3, 10);
    req_make(&r, &b, 2, 2, 500);
    req_submit(&a);
    req_submit(&b);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.runs, 2);
    EXPECT_EQ(r.state.rows, 1);
    rig_done(&r);
}

TEST(different_shapes_do_not_share)
{
    struct rig r;
    struct req a, b, c;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 3, 10);
    req_make(&r, &b, 1, 4, 500);
    req_make(&r, &c, 1, 4, 900);
    req_submit(&a);
    req_submit(&b);
    req_submit(&c);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_OK(c);
    EXPECT_EQ(r.state.runs, 2);
    rig_done(&r);
}

TEST(a_left_out_optional_input_does_not_share_with_a_given_one)
{
    struct rig r;
    struct req a, b, c;
    rig_init(&r, &(struct rig_opt){.has_optional = true});
    req_make(&r, &a, 1, 3, 10);
    req_make(&r, &b, 1, 3, 500);
    req_make(&r, &c, 1, 3, 900);
    a.i->in[1] = (struct infer_tensor){.ndim = 2, .dims = {1, 1}, .dtype = DT_INT32}; /* described, but not given */
    b.i->in[1] = c.i->in[1] = (struct infer_tensor){.ndim = 2, .dims = {1, 1}, .dtype = DT_INT32, .given = true};
    req_submit(&a);
    req_submit(&b);
    req_submit(&c);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_OK(c);
    EXPECT_EQ(r.state.runs, 2);
    rig_done(&r);
}

TEST(a_batch_ends_at_max_batch)
{
    struct rig r;
    struct req q[6];
    rig_init(&r, &(struct rig_opt){.max_batch = 4});
    for (int k = 0; k < 6; k++) {
        req_make(&r, &q[k], 1, 2, 100 * k);
        req_submit(&q[k]);
    }
    EXPECT(rig_work(&r)); /* the full one goes without a flush */
    EXPECT_EQ(r.state.rows, 4);
    rig_settle(&r);
    EXPECT_EQ(r.state.rows, 2);
    for (int k = 0; k < 6; k++)
        EXPECT_OK(q[k]);
    EXPECT_EQ(r.state.runs, 2);
    rig_done(&r);
}

TEST(a_request_with_more_rows_than_max_batch_is_split_and_joined)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, &(struct rig_opt){.max_batch = 4});
    req_make(&r, &a, 1, 2, 10);
    req_make(&r, &b, 9, 2, 500);
    req_submit(&a);
    req_submit(&b);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(b.batch_rows, 4);
    EXPECT_EQ(r.state.runs, 4); /* 1, then 4 + 4 + 1 */
    rig_done(&r);
}

/* Fills every block with a full batch that nobody runs. */
static void fill_blocks(struct rig *r, struct req *q)
{
    for (int k = 0; k < LANE_BLOCKS; k++) {
        req_make(r, &q[k], 4, 1, 100 * k);
        req_submit(&q[k]);
        EXPECT_OPEN(q[k]);
    }
    EXPECT_EQ(atomic_load(&r->shared->load[0].in_flight), LANE_BLOCKS);
}

TEST(requests_wait_when_all_blocks_are_taken)
{
    struct rig r;
    struct req q[LANE_BLOCKS], late[3];
    rig_init(&r, NULL);
    fill_blocks(&r, q);
    for (int k = 0; k < 3; k++) {
        req_make(&r, &late[k], 4, 1, 10000 * (k + 1));
        req_submit(&late[k]);
    }
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), 3);
    rig_settle(&r);
    for (int k = 0; k < LANE_BLOCKS; k++)
        EXPECT_OK(q[k]);
    for (int k = 0; k < 3; k++)
        EXPECT_OK(late[k]);
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), 0);
    EXPECT_EQ(atomic_load(&r.shared->load[0].in_flight), 0);
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(waiting_requests_go_in_order)
{
    struct rig r;
    struct req q[LANE_BLOCKS], first, second;
    rig_init(&r, NULL);
    fill_blocks(&r, q);
    req_make(&r, &first, 4, 1, 10000);
    req_make(&r, &second, 4, 1, 20000);
    req_submit(&first);
    req_submit(&second);
    EXPECT(rig_work(&r)); /* one block becomes free: only the first finds room */
    EXPECT(serve_collect(r.serve));
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), 1);
    req_cancel(&second);
    EXPECT_ERR(second, ERR_CANCELLED, "");
    rig_settle(&r);
    EXPECT_OK(first);
    rig_done(&r);
}

TEST(a_full_queue_refuses)
{
    struct rig r;
    struct req q[LANE_BLOCKS], waits[2], refused, later;
    rig_init(&r, &(struct rig_opt){.queue_max = LANE_BLOCKS + 2});
    fill_blocks(&r, q);
    for (int k = 0; k < 2; k++) {
        req_make(&r, &waits[k], 4, 1, 10000 * (k + 1));
        req_submit(&waits[k]);
        EXPECT_OPEN(waits[k]);
    }
    req_make(&r, &refused, 1, 1, 7);
    req_submit(&refused);
    EXPECT_ERR(refused, ERR_BUSY, "Exceeds maximum queue size: 34 requests wait for model 'm'");
    EXPECT(refused.remedy[0] != '\0');
    rig_settle(&r);
    EXPECT_OK(waits[0]);
    EXPECT_OK(waits[1]);
    req_make(&r, &later, 1, 1, 7);
    req_submit(&later);
    rig_settle(&r);
    EXPECT_OK(later);
    rig_done(&r);
}

/* ---- what is refused at once ---- */

TEST(shape_texts)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.has_optional = true});
    req_make(&r, &q, 1, 3, 0);
    q.i->in[0].ndim = 3;
    q.i->in[0].dims[2] = 5;
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "unexpected shape for input 'x' for model 'm'. Expected [-1,-1], got [1,3,5].");
    req_make(&r, &q, 1, 3, 0);
    q.i->in[0].dims[1] = -3;
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "unexpected shape for input 'x' for model 'm'. Expected [-1,-1], got [1,-3].");
    req_make(&r, &q, 1, 3, 0);
    q.i->in[1] = (struct infer_tensor){.ndim = 2, .dims = {1, 2}, .dtype = DT_INT32, .given = true};
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "unexpected shape for input 'bias' for model 'm'. Expected [-1,1], got [1,2].");
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(type_text)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 1, 3, 0);
    q.i->in[0].dtype = DT_FP32;
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "inference input 'x' data-type is 'FP32', but model 'm' expects 'INT32'");
    rig_done(&r);
}

TEST(missing_input_text)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 1, 3, 0);
    q.i->in[0].given = false;
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID,
               "expected 1 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing required input(s) "
               "['x']. Please provide all required input(s).");
    EXPECT(str_contains(str_c(q.remedy), STR("GET /v2/models/m")));
    rig_done(&r);
}

TEST(numbers_of_rows_must_agree)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.has_optional = true});
    req_make(&r, &q, 2, 3, 0);
    q.i->in[1] = (struct infer_tensor){.ndim = 2, .dims = {3, 1}, .dtype = DT_INT32, .given = true};
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "input 'bias' batch size does not match other inputs for 'm'");
    rig_done(&r);
}

TEST(rows_have_limits)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 0, 3, 0);
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "at least one row");
    req_make(&r, &q, INFER_ROWS_MAX + 1, 1, 0);
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "batch-size must be <= 65536");
    EXPECT(str_contains(str_c(q.remedy), STR("split the 65537 rows")));
    req_make(&r, &q, 1, 3, 0);
    q.i->in[0].dims[1] = INT64_C(1) << 45;
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "too many elements");
    rig_done(&r);
}

TEST(a_request_larger_than_a_block_is_refused_with_both_sizes)
{
    struct rig r;
    struct req q, other;
    rig_init(&r, &(struct rig_opt){.area = 4096});
    req_make(&r, &q, 1, 1025, 0);
    req_submit(&q);
    EXPECT_ERR(q, ERR_TOO_LARGE, "4096 bytes");
    req_make(&r, &other, 1, 200, 3);
    req_submit(&other);
    rig_settle(&r);
    EXPECT_OK(other);
    rig_done(&r);
}

TEST(an_empty_dimension_is_no_error)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 2, 0, 0);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT_EQ(q.got_rows, 2);
    rig_done(&r);
}

/* ---- decoding ---- */

TEST(a_decode_error_ends_only_its_own_request)
{
    struct rig r;
    struct req a, bad, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 3, 10);
    req_make(&r, &bad, 1, 3, 66);
    req_make(&r, &b, 1, 3, 500);
    bad.decode_fails = "inputs[0].data[2]: a number is expected";
    req_submit(&a);
    req_submit(&bad);
    EXPECT_ERR(bad, ERR_INVALID, "inputs[0].data[2]");
    req_submit(&b);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.runs, 1);
    EXPECT_EQ(r.state.rows, 2);
    rig_done(&r);
}

TEST(a_decode_error_alone_frees_its_block)
{
    struct rig r;
    struct req bad;
    rig_init(&r, NULL);
    for (int k = 0; k < 3 * LANE_BLOCKS; k++) {
        req_make(&r, &bad, 1, 3, 66);
        bad.decode_fails = "no";
        req_submit(&bad);
        EXPECT_ERR(bad, ERR_INVALID, "no");
    }
    serve_flush(r.serve);
    EXPECT(!rig_work(&r));
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

/* The open block was taken back to add the bad rows: it must open again. */
TEST(a_decode_error_does_not_strand_rows_that_were_open)
{
    struct rig r;
    struct req a, bad;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 3, 10);
    req_submit(&a);
    serve_flush(r.serve);
    req_make(&r, &bad, 1, 3, 66);
    bad.decode_fails = "no";
    req_submit(&bad);
    EXPECT_ERR(bad, ERR_INVALID, "no");
    rig_settle(&r);
    EXPECT_OK(a);
    rig_done(&r);
}

/* ---- strings ---- */

TEST(texts_go_in_and_out)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES});
    req_make_texts(&r, &a, (const char *[]){"one", "", "three", NULL});
    req_make_texts(&r, &b, (const char *[]){"a somewhat longer text", NULL});
    req_submit(&a);
    req_submit(&b);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.runs, 1);
    rig_done(&r);
}

TEST(texts_that_do_not_fit_a_shared_block_get_their_own)
{
    struct rig r;
    struct req a, b;
    char big[3000];
    memset(big, 'z', sizeof big);
    big[sizeof big - 1] = '\0';
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES, .area = 4096});
    req_make_texts(&r, &a, (const char *[]){big, NULL});
    req_make_texts(&r, &b, (const char *[]){big + 1, NULL});
    req_submit(&a);
    req_submit(&b);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.runs, 2);
    rig_done(&r);
}

/* What was promised but not used is room for others. */
TEST(texts_share_a_block_by_what_they_use)
{
    struct rig r;
    struct req a, b;
    char big[3000];
    memset(big, 'z', sizeof big);
    big[sizeof big - 1] = '\0';
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES, .area = 4096});
    req_make_texts(&r, &a, (const char *[]){big, NULL});
    req_make_texts(&r, &b, (const char *[]){big + 1, NULL});
    a.texts[0] = b.texts[0] = "short";
    req_submit(&a);
    req_submit(&b);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.runs, 1);
    rig_done(&r);
}

TEST(more_text_than_promised_is_refused)
{
    struct rig r;
    struct req q, other;
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES});
    req_make_texts(&r, &q, (const char *[]){"four", NULL});
    q.texts[0] = "fours";
    req_make_texts(&r, &other, (const char *[]){"intact", NULL});
    req_submit(&other);
    req_submit(&q);
    EXPECT_ERR(q, ERR_INTERNAL, "does not fit");
    rig_settle(&r);
    EXPECT_OK(other);
    rig_done(&r);
}

static enum err_code put_outside(struct infer *i, struct err *err)
{
    EXPECT(!infer_put_bytes(i, 0, 1, STR("x"))); /* one row only */
    EXPECT(!infer_put_bytes(i, 0, UINT32_MAX, STR("x")));
    EXPECT(infer_put_bytes(i, 0, 0, (struct str){NULL, 0}));
    return err_set(err, ERR_INVALID, "seen");
}

TEST(elements_outside_the_tensor_are_refused)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES, .max_batch = 1});
    req_make_texts(&r, &q, (const char *[]){"x", NULL});
    q.i->decode = put_outside;
    req_submit(&q);
    EXPECT_ERR(q, ERR_INVALID, "seen");
    rig_done(&r);
}

/* ---- inline ---- */

TEST(inline_models_answer_in_the_flush)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, &(struct rig_opt){.backend = "identity", .param = "datatype=INT32"});
    req_make(&r, &a, 1, 3, 10);
    req_make(&r, &b, 2, 3, 500);
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    EXPECT_OK(a);
    EXPECT_OK(b);
    EXPECT_EQ(a.batch_rows, 3);
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(inline_models_take_more_requests_than_blocks)
{
    struct rig r;
    static struct req q[LANE_BLOCKS + 4];
    rig_init(&r, &(struct rig_opt){.backend = "identity", .param = "datatype=INT32", .max_batch = 2});
    for (int k = 0; k < LANE_BLOCKS + 4; k++) {
        req_make(&r, &q[k], 2, 3, 10 * k);
        req_submit(&q[k]);
    }
    serve_flush(r.serve);
    for (int k = 0; k < LANE_BLOCKS + 4; k++)
        EXPECT_OK(q[k]);
    rig_done(&r);
}

TEST(inline_delay_takes_its_time)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.backend = "delay", .param = "datatype=INT32", .is_real_time = true});
    uint64_t start = clock_now_ns();
    req_make(&r, &q, 1, 3, 10);
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT_OK(q);
    EXPECT(clock_now_ns() - start >= 10 * NS_PER_MS);
    rig_done(&r);
}

TEST(an_inline_model_that_lies_is_a_backend_error)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.backend = "identity", .param = "datatype=INT32"});
    r.shared->desc->outputs[0].dtype = DT_FP32; /* promises what identity does not give */
    req_make(&r, &q, 1, 3, 10);
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT_ERR(q, ERR_BACKEND, "another data type");
    rig_done(&r);
}
