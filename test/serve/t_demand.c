/* Models on demand as one edge thread sees them: who is given out, who waits and for how long, and when a model lets go. */
#include "rig.h"

#include <string.h>

#include "base/clock.h"
#include "net/http.h"

static struct served *ask(struct rig *r)
{
    struct served *m = NULL;
    struct err err;
    return serve_model(r->serve, STR("m"), STR(""), &m, &err) ? NULL : m;
}

/* What a step of an ensemble in work gets. */
static struct served *ask_as_step(struct rig *r)
{
    struct served *m = NULL;
    struct err err;
    return serve_step_model(r->serve, STR("m"), STR(""), &m, &err) ? NULL : m;
}

static int yields; /* calls of the hook */

static void on_yielded(void *arg, struct model_shared *m)
{
    struct rig *r = arg;
    EXPECT(m == r->shared);
    yields++;
}

static void init(struct rig *r)
{
    rig_init(r, NULL);
    r->serve->hooks.yielded = on_yielded;
    yields = 0;
}

TEST(an_unloaded_model_is_awaited_and_not_given_out)
{
    struct rig r;
    init(&r);
    EXPECT(serve_awaited(r.serve) == NULL);
    rig_tell(&r, SERVED_UNLOADED, "");
    EXPECT(ask(&r) == NULL);
    EXPECT(serve_awaited(r.serve) == r.model);
    EXPECT(served_info(r.model)->desc != NULL); /* what it looked like when it was loaded */
    serve_set_caller(r.serve, NULL);
    EXPECT(serve_awaited(r.serve) == NULL); /* another request is handled */
    rig_tell(&r, SERVED_FAILED, "broken");
    EXPECT(ask(&r) == NULL);
    EXPECT(serve_awaited(r.serve) == NULL); /* waiting would not help */
    rig_tell(&r, SERVED_READY, "");
    EXPECT(ask(&r) == r.model);
    rig_done(&r);
}

TEST(an_idle_model_lets_go_at_once)
{
    struct rig r;
    init(&r);
    EXPECT_EQ(serve_yield(r.model, false), SERVE_YIELD_DONE);
    EXPECT(ask(&r) == NULL);
    EXPECT(ask_as_step(&r) == NULL);
    rig_tell(&r, SERVED_READY, "");
    EXPECT_EQ(serve_yield(r.model, true), SERVE_YIELD_DONE);
    EXPECT_EQ(yields, 0); /* the result said so */
    rig_done(&r);
}

TEST(a_model_with_requests_serves_on)
{
    struct rig r;
    struct req q, later;
    init(&r);
    req_make(&r, &q, 1, 1, 10);
    req_submit(&q);
    EXPECT_EQ(serve_yield(r.model, false), SERVE_YIELD_BUSY);
    EXPECT(ask(&r) == r.model);
    rig_settle(&r);
    EXPECT_OK(q);
    req_make(&r, &later, 1, 1, 10);
    req_submit(&later);
    rig_settle(&r);
    EXPECT_OK(later);
    rig_done(&r);
}

TEST(a_drained_model_answers_what_it_has_and_takes_nothing_new)
{
    struct rig r;
    struct req q;
    init(&r);
    req_make(&r, &q, 1, 1, 10);
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT_EQ(serve_yield(r.model, true), SERVE_YIELD_LATER);
    EXPECT(ask(&r) == NULL);
    EXPECT(serve_awaited(r.serve) == r.model);
    EXPECT(ask_as_step(&r) == r.model); /* it has begun, and is to end */
    EXPECT(!serve_collect(r.serve));
    EXPECT_EQ(yields, 0);
    EXPECT(serve_is_busy(r.serve));
    EXPECT(rig_work(&r));
    EXPECT(serve_collect(r.serve));
    EXPECT_OK(q);
    (void)serve_collect(r.serve);
    EXPECT_EQ(yields, 1);
    EXPECT(ask_as_step(&r) == NULL);
    (void)serve_collect(r.serve);
    EXPECT_EQ(yields, 1);
    rig_tell(&r, SERVED_READY, "");
    EXPECT(ask(&r) == r.model);
    rig_done(&r);
}

TEST(a_cancelled_request_holds_no_drain)
{
    struct rig r;
    struct req q;
    init(&r);
    req_make(&r, &q, 1, 1, 10);
    req_submit(&q);
    EXPECT_EQ(serve_yield(r.model, true), SERVE_YIELD_LATER);
    req_cancel(&q);
    (void)serve_collect(r.serve);
    EXPECT_EQ(yields, 1);
    rig_done(&r);
}

/* ---- waiting ---- */

static struct {
    struct http_req *req;
    uint64_t deadline_ns;
    int calls;
} parked;

static bool on_park(void *arg, struct http_req *req, struct model_shared *m, uint64_t deadline_ns, struct err *err)
{
    (void)arg;
    (void)m;
    (void)err;
    parked.req = req;
    parked.deadline_ns = deadline_ns;
    parked.calls++;
    return true;
}

/* The deadline that a body is given, in ms from the request's arrival. */
static uint64_t limit_of(struct rig *r, const char *body)
{
    char text[512] = {0};
    struct arena a;
    struct err err = {0};
    arena_init(&a, 1024, 1 << 16);
    size_t n = strlen(body);
    EXPECT(n + BUF_PAD < sizeof text);
    memcpy(text, body, n);
    struct http_req req = {.arena = &a, .method = HTTP_POST_, .t_ready_ns = 5 * NS_PER_S, .body = {text, n}};
    rig_tell(r, SERVED_UNLOADED, "");
    EXPECT(ask(r) == NULL);
    EXPECT(serve_defer(r->serve, &req, &err));
    EXPECT(parked.req == &req);
    arena_done(&a);
    return (parked.deadline_ns - req.t_ready_ns) / NS_PER_MS;
}

TEST(a_request_waits_within_its_own_time_limit)
{
    struct rig r;
    init(&r);
    r.serve->hooks.park = on_park;
    EXPECT_EQ(limit_of(&r, "{\"inputs\": []}"), RIG_TIMEOUT_MS);
    EXPECT_EQ(limit_of(&r, "{\"parameters\": {\"timeout\": 250000}, \"inputs\": []}"), 250);
    EXPECT_EQ(limit_of(&r, "{\"inputs\": [[1,2]], \"parameters\": {\"a\": {}, \"timeout\": 7000}}"), 7);
    EXPECT_EQ(limit_of(&r, "{\"parameters\": {\"timeout\": 99999999999999}}"), RIG_TIMEOUT_MS);
    EXPECT_EQ(limit_of(&r, "{\"parameters\": {\"timeout\": \"x\"}}"), RIG_TIMEOUT_MS);
    EXPECT_EQ(limit_of(&r, "not JSON"), RIG_TIMEOUT_MS);
    EXPECT_EQ(limit_of(&r, ""), RIG_TIMEOUT_MS);
    rig_done(&r);
}

TEST(only_the_error_of_an_unloaded_model_lets_a_request_wait)
{
    struct rig r;
    struct err err = {0}, why = {0};
    struct http_req req = {.method = HTTP_GET_};
    init(&r);
    r.serve->hooks.park = on_park;
    parked.calls = 0;
    EXPECT(!serve_defer(r.serve, &req, &err)); /* nothing was asked for */
    EXPECT(ask(&r) == r.model);
    EXPECT(!serve_defer(r.serve, &req, &err));
    rig_tell(&r, SERVED_UNLOADED, "");
    err_set(&why, ERR_UNAVAILABLE, "too late");
    serve_set_refusal(r.serve, &why);
    EXPECT(ask(&r) == NULL);
    EXPECT(!serve_defer(r.serve, &req, &err)); /* it has waited in vain */
    EXPECT_CSTR(err.text, "too late");
    EXPECT_EQ(parked.calls, 0);
    rig_done(&r);
}
