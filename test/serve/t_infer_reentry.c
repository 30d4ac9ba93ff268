/* done() belongs to protocols: it submits the connection's next request, closes other connections, both while serve walks its lists. */
#include "base/clock.h"
#include "rig.h"

static void submit_other(struct req *q)
{
    struct req *next = q->other;
    req_make(q->rig, next, 1, 1, q->first + 1);
    next->on_done = q->got_len == 0 ? NULL : next->on_done;
    req_submit(next);
}

static void cancel_other(struct req *q)
{
    if (q->other->i)
        req_cancel(q->other);
}

TEST(done_submits_the_next_request)
{
    struct rig r;
    struct req a, next;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 10);
    a.on_done = submit_other;
    a.other = &next;
    req_submit(&a);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_OK(next);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(done_submits_the_next_request_inline)
{
    struct rig r;
    struct req a, next;
    rig_init(&r, &(struct rig_opt){.backend = "identity", .param = "datatype=INT32"});
    req_make(&r, &a, 1, 1, 10);
    a.on_done = submit_other;
    a.other = &next;
    req_submit(&a);
    serve_flush(r.serve); /* the outer flush takes it along */
    EXPECT_OK(a);
    EXPECT_OK(next);
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

/* Another inline model, beside "m". */
static struct served *add_inline(struct rig *r, const char *name)
{
    struct err err;
    struct served *made;
    const struct serve_state ready = {.state = SERVED_READY, .reason = "", .instances = 1, .instances_ready = 1};
    struct backend_param param = {"datatype", "INT32"};
    struct model_shared *m = model_shared_new(1);
    m->id = r->shared->id + 1;
    m->is_inline = true;
    m->threads_draining = 1;
    m->limits = r->shared->limits;
    m->backend = r->shared->backend;
    m->desc = model_desc_copy(r->shared->desc);
    (void)str_copy(m->name, sizeof m->name, str_c(name));
    (void)str_copy(m->version, sizeof m->version, STR("1"));
    if (m->backend->load(&(struct backend_load){.name = name, .params = &param, .params_len = 1}, &m->instances[0],
                         &err) ||
        serve_update(r->serve, m, &ready, &err) || serve_model(r->serve, str_c(name), STR(""), &made, &err))
        FAIL("%s", err.text);
    (void)model_shared_unref(m);
    return made;
}

static struct served *first_model;

static void submit_to_first(struct req *q)
{
    req_make(q->rig, q->other, 1, 1, 30);
    q->other->i->model = first_model;
    req_submit(q->other);
}

/* An ensemble of inline models does so: nobody would look at the second request before the next tick. */
TEST(done_submits_to_a_model_that_has_had_its_turn)
{
    struct rig r;
    struct req early, a, next;
    rig_init(&r, &(struct rig_opt){.backend = "identity", .param = "datatype=INT32"});
    first_model = add_inline(&r, "b");
    req_make(&r, &early, 1, 1, 10);
    early.i->model = first_model;
    req_make(&r, &a, 1, 1, 20);
    a.on_done = submit_to_first;
    a.other = &next;
    req_submit(&early);
    req_submit(&a);
    serve_flush(r.serve);
    EXPECT_OK(early);
    EXPECT_OK(a);
    EXPECT_OK(next);
    rig_done(&r);
}

/* Of many models a turn looks at those that have work, so each must leave that list and come back to it. */
TEST(a_model_is_awake_while_it_has_work)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    for (int turn = 0; turn < 3; turn++) {
        EXPECT(!r.model->is_awake && !r.serve->awake_first);
        req_make(&r, &q, 1, 1, turn);
        req_submit(&q);
        EXPECT(r.model->is_awake);
        serve_flush(r.serve);
        (void)serve_collect(r.serve); /* nothing has run */
        EXPECT(r.model->is_awake);
        rig_settle(&r);
        (void)serve_collect(r.serve);
        EXPECT_OK(q);
    }
    EXPECT(!r.model->is_awake && !r.serve->awake_first && !r.serve->awake_last);
    rig_done(&r);
}

static struct rig *chain_rig;
static int chain_left;

static void submit_again(struct req *q)
{
    if (--chain_left == 0)
        return;
    req_make(chain_rig, q, 1, 1, chain_left);
    q->on_done = submit_again;
    req_submit(q);
}

/* A pipelining client must not grow the stack. */
TEST(a_long_chain_of_submits_from_done_inline)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.backend = "identity", .param = "datatype=INT32"});
    chain_rig = &r;
    chain_left = 5000;
    req_make(&r, &q, 1, 1, 0);
    q.on_done = submit_again;
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT_EQ(chain_left, 0);
    EXPECT_OK(q);
    rig_done(&r);
}

TEST(done_cancels_a_mate_of_its_batch)
{
    struct rig r;
    struct req q[3];
    for (int canceller = 0; canceller < 3; canceller++) {
        for (int victim = 0; victim < 3; victim++) {
            if (victim == canceller)
                continue;
            rig_init(&r, NULL);
            for (int k = 0; k < 3; k++) {
                req_make(&r, &q[k], 1, 1, 10 * k);
                req_submit(&q[k]);
            }
            q[canceller].on_done = cancel_other;
            q[canceller].other = &q[victim];
            rig_settle(&r);
            for (int k = 0; k < 3; k++)
                EXPECT_EQ(q[k].done, 1);
            EXPECT_OK(q[canceller]);
            EXPECT_EQ(q[victim].code, victim < canceller ? ERR_OK : ERR_CANCELLED);
            EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
            rig_done(&r);
        }
    }
}

TEST(done_cancels_a_request_of_another_finished_block)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    req_make(&r, &a, 4, 1, 10);
    req_make(&r, &b, 4, 1, 20);
    a.on_done = cancel_other;
    a.other = &b;
    req_submit(&a);
    req_submit(&b);
    EXPECT(rig_work(&r));
    EXPECT(rig_work(&r));
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(a);
    EXPECT_ERR(b, ERR_CANCELLED, "");
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(done_cancels_a_waiting_request)
{
    struct rig r;
    struct req q[LANE_BLOCKS], waiting, after;
    rig_init(&r, NULL);
    for (int k = 0; k < LANE_BLOCKS; k++) {
        req_make(&r, &q[k], 4, 1, k);
        req_submit(&q[k]);
    }
    req_make(&r, &waiting, 4, 1, 500);
    req_make(&r, &after, 4, 1, 600);
    req_submit(&waiting);
    req_submit(&after);
    q[0].on_done = cancel_other;
    q[0].other = &waiting;
    rig_settle(&r);
    EXPECT_ERR(waiting, ERR_CANCELLED, "");
    EXPECT_OK(after);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(a_timeout_cancels_others)
{
    struct rig r;
    struct req q[3];
    rig_init(&r, NULL);
    for (int k = 0; k < 3; k++) {
        req_make(&r, &q[k], 1, 1, k);
        q[k].i->deadline_ns = rig_now_ns + 10 * NS_PER_MS;
        q[k].on_done = cancel_other;
        q[k].other = &q[(k + 1) % 3];
        req_submit(&q[k]);
    }
    serve_flush(r.serve);
    rig_pass_ms(10);
    serve_tick(r.serve, rig_now_ns);
    EXPECT_ERR(q[0], ERR_TIMEOUT, "");
    EXPECT_ERR(q[1], ERR_CANCELLED, "");
    EXPECT_ERR(q[2], ERR_CANCELLED, "");
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(a_cancel_submits_the_next)
{
    struct rig r;
    struct req a, next;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 10);
    a.on_done = submit_other;
    a.other = &next;
    req_submit(&a);
    serve_flush(r.serve);
    req_cancel(&a);
    EXPECT_ERR(a, ERR_CANCELLED, "");
    rig_settle(&r);
    EXPECT_OK(next);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(a_decode_error_submits_the_next)
{
    struct rig r;
    struct req a, next;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 10);
    a.decode_fails = "no";
    a.on_done = submit_other;
    a.other = &next;
    req_submit(&a);
    EXPECT_ERR(a, ERR_INVALID, "no");
    rig_settle(&r);
    EXPECT_OK(next);
    rig_done(&r);
}

TEST(a_refusal_of_a_waiting_request_submits_the_next)
{
    struct rig r;
    struct req q[LANE_BLOCKS], waiting, next;
    rig_init(&r, NULL);
    for (int k = 0; k < LANE_BLOCKS; k++) {
        req_make(&r, &q[k], 4, 1, k);
        req_submit(&q[k]);
    }
    req_make(&r, &waiting, 1, 1, 10);
    waiting.decode_fails = "no";
    waiting.on_done = submit_other;
    waiting.other = &next;
    req_submit(&waiting);
    rig_settle(&r);
    EXPECT_ERR(waiting, ERR_INVALID, "no");
    EXPECT_OK(next);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(a_quarantine_cancels_the_mates)
{
    struct rig r;
    struct req q[3];
    rig_init(&r, NULL);
    for (int k = 0; k < 3; k++) {
        req_make(&r, &q[k], 1, 1, k);
        req_submit(&q[k]);
    }
    q[0].on_done = cancel_other;
    q[0].other = &q[1];
    serve_flush(r.serve);
    for (int n = 0; n < CRASH_KILLS_MAX; n++) {
        (void)rig_claim(&r);
        rig_die(&r, true);
    }
    EXPECT_ERR(q[0], ERR_BACKEND, "quarantined");
    EXPECT_ERR(q[1], ERR_CANCELLED, "");
    rig_settle(&r);
    EXPECT_OK(q[2]);
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

static void submit_and_cancel(struct req *q)
{
    struct req *next = q->other;
    req_make(q->rig, next, 1, 1, 5);
    req_submit(next);
    req_cancel(next);
}

TEST(failing_a_model_cancels_and_submits)
{
    struct rig r;
    struct req a, b, c, next;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 1);
    req_make(&r, &b, 1, 1, 2);
    req_make(&r, &c, 4, 1, 3);
    a.on_done = cancel_other;
    a.other = &b;
    req_submit(&a);
    req_submit(&b);
    req_submit(&c);
    serve_flush(r.serve);
    c.on_done = submit_other;
    c.other = &next;
    rig_tell(&r, SERVED_FAILED, "broken");
    EXPECT_ERR(a, ERR_UNAVAILABLE, "broken");
    EXPECT_ERR(b, ERR_CANCELLED, "");
    EXPECT_ERR(c, ERR_UNAVAILABLE, "broken");
    EXPECT_ERR(next, ERR_UNAVAILABLE, "broken");
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(done_submits_and_cancels_at_once)
{
    struct rig r;
    struct req a, next;
    rig_init(&r, NULL);
    req_make(&r, &a, 1, 1, 10);
    a.on_done = submit_and_cancel;
    a.other = &next;
    req_submit(&a);
    rig_settle(&r);
    EXPECT_OK(a);
    EXPECT_ERR(next, ERR_CANCELLED, "");
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}
