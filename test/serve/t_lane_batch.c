/* Batching by policy: waiting for more rows, allowed sizes, several shapes and priorities at once, rows given up. */
#include <string.h>

#include "base/clock.h"
#include "rig.h"

/* ---- the pure part ---- */

TEST(sizes_are_padded_to_the_next)
{
    struct batch_policy p = {.sizes = {2, 4, 8}};
    EXPECT_EQ(batch_padded(&p, 1), 2);
    EXPECT_EQ(batch_padded(&p, 2), 2);
    EXPECT_EQ(batch_padded(&p, 5), 8);
    EXPECT_EQ(batch_padded(&p, 9), 9); /* over the largest */
    struct batch_policy none = {0};
    EXPECT_EQ(batch_padded(&none, 3), 3);
    struct batch_policy all = {.sizes = {1, 2, 3, 4, 5, 6, 7, 8}}; /* no 0 ends it */
    EXPECT_EQ(batch_padded(&all, 8), 8);
    EXPECT_EQ(batch_padded(&all, 9), 9);
}

TEST(most_rows_of_a_block)
{
    struct batch_policy p = {0};
    EXPECT_EQ(batch_cap(&p, 16), 16);
    EXPECT_EQ(batch_cap(&p, 0), 1);
    p.sizes[0] = 4;
    p.sizes[1] = 8;
    p.sizes[2] = 32;
    EXPECT_EQ(batch_cap(&p, 16), 8);
    EXPECT_EQ(batch_cap(&p, 2), 2); /* no size is allowed by the model */
}

TEST(when_a_batch_may_run)
{
    struct batch_policy p = {0};
    EXPECT_EQ(batch_ready_ns(&p, 1, 8, 1000), 0);
    p.delay_ns = 500;
    EXPECT_EQ(batch_ready_ns(&p, 1, 8, 1000), 1500);
    EXPECT_EQ(batch_ready_ns(&p, 8, 8, 1000), 0); /* full */
    p.preferred[0] = 4;
    EXPECT_EQ(batch_ready_ns(&p, 3, 8, 1000), 1500);
    EXPECT_EQ(batch_ready_ns(&p, 4, 8, 1000), 0);
}

/* ---- waiting for more rows ---- */

static void start(struct rig *r, const struct batch_policy *p, struct rig_opt opt)
{
    opt.batch = p;
    rig_init(r, &opt);
}

TEST(a_batch_that_is_not_full_waits_its_delay)
{
    struct rig r;
    struct req a, b;
    start(&r, &(struct batch_policy){.delay_ns = 10 * NS_PER_MS}, (struct rig_opt){0});
    req_make(&r, &a, 1, 1, 5);
    req_submit(&a);
    serve_flush(r.serve);
    EXPECT(!rig_work(&r));
    EXPECT_EQ(r.worker.next_ready_ns, rig_now_ns + 10 * NS_PER_MS); /* until then the worker may sleep */
    rig_pass_ms(9);
    req_make(&r, &b, 1, 1, 6);
    req_submit(&b);
    serve_flush(r.serve);
    EXPECT(!rig_work(&r));
    rig_pass_ms(1); /* counted from the first row */
    EXPECT(rig_work(&r));
    EXPECT_EQ(r.state.rows, 2);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    rig_done(&r);
}

TEST(a_full_batch_does_not_wait)
{
    struct rig r;
    struct req q[4];
    start(&r, &(struct batch_policy){.delay_ns = NS_PER_S}, (struct rig_opt){0});
    for (int k = 0; k < 4; k++) {
        req_make(&r, &q[k], 1, 1, k);
        req_submit(&q[k]);
    }
    rig_settle(&r);
    for (int k = 0; k < 4; k++)
        EXPECT_OK(q[k]);
    rig_done(&r);
}

TEST(a_preferred_size_does_not_wait)
{
    struct rig r;
    struct req q[2];
    start(&r, &(struct batch_policy){.delay_ns = NS_PER_S, .preferred = {2}}, (struct rig_opt){0});
    req_make(&r, &q[0], 1, 1, 5);
    req_submit(&q[0]);
    serve_flush(r.serve);
    EXPECT(!rig_work(&r));
    req_make(&r, &q[1], 1, 1, 6);
    req_submit(&q[1]);
    rig_settle(&r);
    EXPECT_OK(q[0]);
    EXPECT_OK(q[1]);
    rig_done(&r);
}

TEST(a_draining_worker_does_not_wait)
{
    struct rig r;
    struct req q;
    start(&r, &(struct batch_policy){.delay_ns = 30 * NS_PER_S}, (struct rig_opt){0});
    req_make(&r, &q, 1, 1, 5);
    req_submit(&q);
    serve_flush(r.serve);
    r.worker.is_draining = true;
    EXPECT(rig_work(&r));
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}

TEST(a_model_that_must_not_share_does_not_wait)
{
    struct rig r;
    struct req q;
    start(&r, &(struct batch_policy){.delay_ns = NS_PER_S}, (struct rig_opt){.alone = true});
    req_make(&r, &q, 1, 1, 5);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}

/* Nobody comes back to an inline model when a delay is over. */
TEST(inline_models_do_not_wait)
{
    struct rig r;
    struct req q;
    start(&r, &(struct batch_policy){.delay_ns = 5 * NS_PER_MS},
          (struct rig_opt){.backend = "identity", .param = "datatype=INT32"});
    req_make(&r, &q, 1, 1, 5);
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT_OK(q);
    rig_done(&r);
}

TEST(rows_of_a_dead_worker_do_not_wait_again)
{
    struct rig r;
    struct req q;
    start(&r, &(struct batch_policy){.delay_ns = 10 * NS_PER_MS}, (struct rig_opt){0});
    req_make(&r, &q, 1, 1, 5);
    req_submit(&q);
    serve_flush(r.serve);
    rig_pass_ms(10);
    (void)rig_claim(&r);
    rig_die(&r, true);
    EXPECT(rig_work(&r));
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}

/* ---- allowed sizes ---- */

TEST(runs_are_padded)
{
    struct rig r;
    struct req a, b;
    start(&r, &(struct batch_policy){.sizes = {2, 4, 8}}, (struct rig_opt){.max_batch = 8});
    req_make(&r, &a, 2, 3, 5);
    req_make(&r, &b, 1, 3, 50);
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    EXPECT_EQ(rig_block(&r, run.block)->rows, 4);
    const int32_t *x = (const void *)segment_in_ro(&r.worker_map, 0, run.block);
    EXPECT_EQ(memcmp(x + 9, x, 12), 0); /* a copy of the first row: valid for every model */
    EXPECT(exec_run(&r.worker, &run));
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(b);
    rig_done(&r);
}

TEST(a_padded_block_takes_more_rows)
{
    struct rig r;
    struct req a, b;
    start(&r, &(struct batch_policy){.sizes = {4, 8}}, (struct rig_opt){.max_batch = 8});
    req_make(&r, &a, 1, 3, 5);
    req_submit(&a);
    serve_flush(r.serve); /* open, padded to 4 */
    req_make(&r, &b, 5, 3, 50);
    req_submit(&b); /* over the rows that padded it */
    rig_settle(&r);
    EXPECT_EQ(r.state.rows, 8);
    EXPECT_EQ(r.state.runs, 1);
    EXPECT_OK(a);
    EXPECT_OK(b);
    rig_done(&r);
}

TEST(padded_texts)
{
    struct rig r;
    struct req q;
    start(&r, &(struct batch_policy){.sizes = {4}}, (struct rig_opt){.dtype = DT_BYTES});
    req_make_texts(&r, &q, (const char *[]){"one", "two", NULL});
    req_submit(&q);
    rig_settle(&r);
    EXPECT_EQ(r.state.rows, 4);
    EXPECT_OK(q);
    rig_done(&r);
}

TEST(padding_never_leaves_the_block)
{
    struct rig r;
    struct req q;
    start(&r, &(struct batch_policy){.sizes = {64}}, (struct rig_opt){.max_batch = 64, .area = 4096});
    req_make(&r, &q, 1, 200, 5); /* 5 rows fit */
    req_submit(&q);
    rig_settle(&r);
    EXPECT_OK(q);
    EXPECT(r.state.rows <= 5);
    rig_done(&r);
}

/* The rows behind them belong to others. */
TEST(requests_that_run_one_by_one_are_not_padded_over_their_mates)
{
    struct rig r;
    struct req q[3];
    start(&r, &(struct batch_policy){.sizes = {2, 4}}, (struct rig_opt){0});
    for (int k = 0; k < 3; k++) {
        req_make(&r, &q[k], 1, 3, 10 * (k + 1));
        req_submit(&q[k]);
    }
    serve_flush(r.serve);
    for (int n = 0; n < 2; n++) {
        (void)rig_claim(&r);
        rig_die(&r, true);
    }
    rig_settle(&r);
    for (int k = 0; k < 3; k++)
        EXPECT_OK(q[k]);
    rig_done(&r);
}

/* ---- several shapes and priorities ---- */

TEST(shapes_fill_side_by_side)
{
    struct rig r;
    struct req q[12];
    rig_init(&r, NULL);
    for (int k = 0; k < 12; k++) { /* three shapes in turn, four rows of each */
        req_make(&r, &q[k], 1, 1 + (uint32_t)k % 3, 10 * k);
        req_submit(&q[k]);
    }
    rig_settle(&r);
    for (int k = 0; k < 12; k++)
        EXPECT_OK(q[k]);
    EXPECT_EQ(r.state.runs, 3);
    rig_done(&r);
}

TEST(more_shapes_than_places)
{
    struct rig r;
    struct req q[3 * LANE_CURRENT_MAX];
    rig_init(&r, NULL);
    for (uint32_t k = 0; k < ARRAY_LEN(q); k++) {
        req_make(&r, &q[k], 1, 1 + k % (LANE_CURRENT_MAX + 4), 10);
        req_submit(&q[k]);
    }
    rig_settle(&r);
    for (uint32_t k = 0; k < ARRAY_LEN(q); k++)
        EXPECT_OK(q[k]);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(priorities_do_not_mix_and_the_urgent_runs_first)
{
    struct rig r;
    struct req low, high;
    rig_init(&r, NULL);
    req_make(&r, &low, 1, 1, 5);
    req_make(&r, &high, 1, 1, 6);
    low.i->priority = 3;
    high.i->priority = 1;
    req_submit(&low);
    req_submit(&high);
    serve_flush(r.serve);
    EXPECT(rig_work(&r));
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(high);
    EXPECT_OPEN(low);
    rig_settle(&r);
    EXPECT_OK(low);
    rig_done(&r);
}

TEST(the_last_blocks_are_for_the_urgent)
{
    struct rig r;
    struct req low[LANE_BLOCKS], high[LANE_URGENT_RESERVED], last;
    rig_init(&r, &(struct rig_opt){.queue_max = 2 * LANE_BLOCKS});
    for (int k = 0; k < LANE_BLOCKS; k++) {
        req_make(&r, &low[k], 4, 1, k);
        low[k].i->priority = 2;
        req_submit(&low[k]);
    }
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), LANE_URGENT_RESERVED);
    for (int k = 0; k < LANE_URGENT_RESERVED; k++) {
        req_make(&r, &high[k], 4, 1, 1000 + k);
        high[k].i->priority = 1;
        req_submit(&high[k]);
    }
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), LANE_URGENT_RESERVED); /* none of the urgent waits */
    EXPECT_EQ(r.model->lane.unused, 0);
    req_make(&r, &last, 4, 1, 2000);
    last.i->priority = 1;
    req_submit(&last);
    for (int k = 0; k <= LANE_URGENT_RESERVED; k++) /* the urgent, also the one that had to wait */
        EXPECT(rig_work(&r) && serve_collect(r.serve));
    for (int k = 0; k < LANE_URGENT_RESERVED; k++)
        EXPECT_OK(high[k]);
    EXPECT_OK(last);
    rig_settle(&r);
    for (int k = 0; k < LANE_BLOCKS; k++)
        EXPECT_OK(low[k]);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

/* ---- rows that nobody wants any more ---- */

TEST(rows_given_up_before_the_run_do_not_run)
{
    struct rig r;
    struct req q[4];
    rig_init(&r, &(struct rig_opt){.max_batch = 8});
    for (int gone = 0; gone < 4; gone++) {
        for (int k = 0; k < 4; k++) {
            req_make(&r, &q[k], 1 + (uint32_t)k % 2, 3, 100 * k);
            req_submit(&q[k]);
        }
        serve_flush(r.serve);
        req_cancel(&q[gone]);
        rig_settle(&r);
        for (int k = 0; k < 4; k++) {
            if (k == gone)
                EXPECT_ERR(q[k], ERR_CANCELLED, "");
            else
                EXPECT_OK(q[k]);
        }
        EXPECT_EQ(r.state.rows, 6 - q[gone].rows);
    }
    rig_done(&r);
}

TEST(texts_given_up_before_the_run)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES});
    req_make_texts(&r, &a, (const char *[]){"one", "two", NULL});
    req_make_texts(&r, &b, (const char *[]){"three", NULL});
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    req_cancel(&a);
    rig_settle(&r);
    EXPECT_OK(b);
    EXPECT_EQ(r.state.rows, 1);
    rig_done(&r);
}

TEST(room_of_given_up_rows_is_used_again)
{
    struct rig r;
    struct req a, b, c;
    rig_init(&r, NULL);
    req_make(&r, &a, 2, 1, 5);
    req_make(&r, &b, 1, 1, 50);
    req_make(&r, &c, 3, 1, 500);
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    req_cancel(&a);
    req_submit(&c);
    rig_settle(&r);
    EXPECT_OK(b);
    EXPECT_OK(c);
    EXPECT_EQ(r.state.runs, 1);
    EXPECT_EQ(r.state.rows, 4);
    rig_done(&r);
}

TEST(rows_of_an_expired_mate_do_not_run)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 2, 1, 5);
    req_make(&r, &b, 1, 1, 50);
    a.i->deadline_ns = rig_now_ns + 5 * NS_PER_MS;
    req_submit(&a);
    req_submit(&b);
    serve_flush(r.serve);
    rig_pass_ms(5);
    serve_tick(r.serve, rig_now_ns);
    rig_settle(&r);
    EXPECT_ERR(a, ERR_TIMEOUT, "");
    EXPECT_OK(b);
    EXPECT_EQ(r.state.rows, 1);
    rig_done(&r);
}

TEST(a_quarantine_print_does_not_depend_on_given_up_mates)
{
    struct rig r;
    struct req a, bad, again;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 5);
    req_make(&r, &bad, 1, 1, 66);
    req_submit(&a);
    req_submit(&bad);
    serve_flush(r.serve);
    req_cancel(&a); /* its mate's rows move */
    serve_flush(r.serve);
    for (int n = 0; n < CRASH_KILLS_MAX; n++) {
        (void)rig_claim(&r);
        rig_die(&r, true);
    }
    EXPECT_ERR(bad, ERR_BACKEND, "quarantined");
    req_make(&r, &again, 1, 1, 66);
    req_submit(&again);
    EXPECT_ERR(again, ERR_REJECTED, "");
    rig_done(&r);
}
