#include "net/server.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "net/deferred_int.h"

/* Kept for reuse; beyond that memory goes back: a burst of requests must not be paid for ever. */
#define EXCHANGE_POOL_MAX 512u
#define HEAD_SCRATCH_MAX  ((size_t)256 << 10)
#define LINGER_NS         (2 * NS_PER_S)
/* The timer may be late by this much, so that it is not armed anew for each connection. */
#define TIMER_SLACK_NS (10 * NS_PER_MS)

void server_limits_default(struct server_limits *l)
{
    *l = (struct server_limits){
        .head_bytes_max = (size_t)64 << 10,
        .headers_max = 100,
        .body_bytes_max = (size_t)64 << 20,
        .connections_max = 10000,
        .pipeline_max = 64,
        .head_timeout_ns = 10 * NS_PER_S,
        .body_timeout_ns = 30 * NS_PER_S,
        .idle_timeout_ns = 75 * NS_PER_S,
        .send_timeout_ns = 30 * NS_PER_S,
    };
}

/* ---- Time limits ---- */

static void on_timer(uv_timer_t *t);

static void arm_timer(struct server *s, uint64_t due_ns)
{
    uint64_t now = clock_now_ns();
    uint64_t wait_ms = due_ns > now ? (due_ns - now) / NS_PER_MS + 1 : 1;
    s->timer_due_ns = due_ns;
    uv_update_time(s->loop);
    (void)uv_timer_start(&s->timer, on_timer, wait_ms, 0); /* fails only for a closing handle */
}

void server_arm(struct server *s, enum deadline_kind kind, struct deadline *d)
{
    deadline_start(&s->deadlines[kind], d, s->now_ns);
    if (s->timer_due_ns == 0 || d->at_ns + TIMER_SLACK_NS < s->timer_due_ns)
        arm_timer(s, d->at_ns);
}

static struct http_conn *conn_of(struct deadline *d, enum deadline_kind kind)
{
    size_t offset =
        kind == DEADLINE_SEND ? offsetof(struct http_conn, send_deadline) : offsetof(struct http_conn, read_deadline);
    return (struct http_conn *)(void *)((char *)d - offset);
}

static void on_timer(uv_timer_t *t)
{
    struct server *s = t->data;
    s->now_ns = clock_now_ns();
    s->timer_due_ns = 0;
    uint64_t next = UINT64_MAX;
    for (enum deadline_kind kind = 0; kind < DEADLINE_KINDS; kind++) {
        struct deadline *d;
        while ((d = deadline_expired(&s->deadlines[kind], s->now_ns)) != NULL) {
            deadline_stop(d);
            conn_expired(conn_of(d, kind), kind);
        }
    }
    for (enum deadline_kind kind = 0; kind < DEADLINE_KINDS; kind++) {
        struct deadline *d = deadline_first(&s->deadlines[kind]);
        if (d && d->at_ns < next)
            next = d->at_ns;
    }
    if (next != UINT64_MAX)
        arm_timer(s, next);
}

/* ---- Pools ---- */

struct exchange *server_take_exchange(struct server *s)
{
    struct exchange *x = s->exchange_pool;
    if (!x)
        return exchange_new(&s->limits);
    s->exchange_pool = x->next;
    s->exchange_pool_len--;
    x->next = NULL;
    return x;
}

void server_give_exchange(struct server *s, struct exchange *x)
{
    if (s->exchange_pool_len >= EXCHANGE_POOL_MAX) {
        exchange_free(x);
        return;
    }
    deferred_forget(x);
    if (x->body.cap > EXCHANGE_KEEP_BYTES)
        body_pool_give(&s->bodies, &x->body);
    exchange_reset(x);
    x->next = s->exchange_pool;
    s->exchange_pool = x;
    s->exchange_pool_len++;
}

/* ---- The end of a loop iteration ---- */

void server_mark_dirty(struct http_conn *c)
{
    if (c->is_dirty || c->state == CONN_CLOSING)
        return;
    c->is_dirty = true;
    c->dirty_next = NULL;
    *c->server->dirty_end = c;
    c->server->dirty_end = &c->dirty_next;
}

static void flush_batches(struct server *s)
{
    if (!s->has_dispatched)
        return;
    s->has_dispatched = false;
    if (s->flush)
        s->flush(s->flush_arg);
}

/* Connections that wait for work: those whose answers are to leave together, that may read on, or that broke. Resumed ones may dispatch
 * requests, whose answers may make others dirty: until nothing is left, since the loop may block next. */
static void finish_iteration(struct server *s)
{
    flush_batches(s);
    while (s->dirty) {
        struct http_conn *c = s->dirty;
        s->dirty = c->dirty_next;
        if (!s->dirty)
            s->dirty_end = &s->dirty;
        c->is_dirty = false;
        conn_tick(c);
        if (!s->dirty)
            flush_batches(s);
    }
}

static void on_prepare(uv_prepare_t *h)
{
    finish_iteration(h->data);
}

static void on_check(uv_check_t *h)
{
    finish_iteration(h->data);
}

void server_on_flush(struct server *s, void (*flush)(void *arg), void *arg)
{
    s->flush = flush;
    s->flush_arg = arg;
}

void server_defer_bodies(struct server *s, http_defer_fn *may_defer)
{
    s->may_defer = may_defer;
}

/* ---- Life ---- */

static void init_own_handles(struct server *s)
{
    /* None of these can fail: they only fill the structures. */
    (void)uv_timer_init(s->loop, &s->timer);
    (void)uv_prepare_init(s->loop, &s->prepare);
    (void)uv_check_init(s->loop, &s->check);
    s->timer.data = s->prepare.data = s->check.data = s;
    (void)uv_prepare_start(&s->prepare, on_prepare);
    (void)uv_check_start(&s->check, on_check);
    /* Only listeners and connections keep the loop alive. */
    uv_unref((uv_handle_t *)&s->timer);
    uv_unref((uv_handle_t *)&s->prepare);
    uv_unref((uv_handle_t *)&s->check);
    decode_init(s);
    s->handles_open = 4;
}

struct server *server_new(uv_loop_t *loop, int thread, const struct server_limits *limits, http_handler_fn *handler,
                          server_done_fn *on_done, void *arg)
{
    struct server *s = calloc(1, sizeof(*s));
    CHECK(s != NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* libuv writes with write(2); a client that is gone must not end the process */
    s->loop = loop;
    s->thread = thread;
    s->limits = *limits;
    s->handler = handler;
    s->on_done = on_done;
    s->arg = arg;
    s->dirty_end = &s->dirty;
    s->now_ns = clock_now_ns();
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    s->near_room = near_room_allowed();
    coder_init(&s->coder, limits->body_bytes_max);
    buf_init(&s->head, HEAD_SCRATCH_MAX);
    const uint64_t limit_ns[DEADLINE_KINDS] = {
        [DEADLINE_HEAD] = limits->head_timeout_ns,
        [DEADLINE_BODY] = limits->body_timeout_ns,
        [DEADLINE_IDLE] = limits->idle_timeout_ns,
        [DEADLINE_SEND] = limits->send_timeout_ns,
        [DEADLINE_LINGER] = LINGER_NS,
    };
    for (int kind = 0; kind < DEADLINE_KINDS; kind++)
        deadline_list_init(&s->deadlines[kind], kind, limit_ns[kind]);
    init_own_handles(s);
    return s;
}

const struct server_stats *server_stats(const struct server *s)
{
    return &s->stats;
}

static void stop_listening(struct server *s)
{
    struct listener *l = s->listeners;
    s->listeners = NULL;
    while (l) {
        struct listener *next = l->next; /* closing is asynchronous, but the list is ours no longer */
        listener_stop(l);
        l = next;
    }
}

void server_drain(struct server *s, void (*on_drained)(void *arg), void *arg)
{
    if (s->is_draining)
        return;
    s->is_draining = true;
    s->on_drained = on_drained;
    s->drained_arg = arg;
    s->now_ns = clock_now_ns();
    stop_listening(s);
    for (struct http_conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        conn_drain(c);
    }
    server_conn_gone(s);
}

static void release(struct server *s)
{
    while (s->exchange_pool) {
        struct exchange *x = s->exchange_pool;
        s->exchange_pool = x->next;
        exchange_free(x);
    }
    while (s->conn_pool) {
        struct http_conn *c = s->conn_pool;
        s->conn_pool = c->next;
        free(c);
    }
    while (s->spare_out_len > 0)
        buf_done(&s->spare_out[--s->spare_out_len]);
    body_pool_done(&s->bodies);
    coder_done(&s->coder);
    buf_done(&s->head);
    if (s->spare_fd >= 0)
        (void)close(s->spare_fd);
    free(s);
}

void server_conn_gone(struct server *s)
{
    if (s->is_draining && s->conns_len == 0 && s->on_drained && !s->is_freed) {
        void (*on_drained)(void *arg) = s->on_drained;
        s->on_drained = NULL;
        on_drained(s->drained_arg); /* may call server_free */
        return;
    }
    if (s->is_freed && s->handles_open == 0 && s->conns_alive == 0)
        release(s);
}

static void on_own_closed(uv_handle_t *h)
{
    struct server *s = h->data;
    s->handles_open--;
    server_conn_gone(s);
}

void server_free(struct server *s)
{
    if (!s)
        return;
    CHECK(!s->is_freed);
    s->is_freed = true;
    s->on_drained = NULL;
    stop_listening(s);
    for (struct http_conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        conn_close(c);
    }
    /* No iteration of ours will end any more. */
    for (struct http_conn *c = s->dirty; c; c = c->dirty_next)
        c->is_dirty = false;
    s->dirty = NULL;
    s->dirty_end = &s->dirty;
    uv_close((uv_handle_t *)&s->timer, on_own_closed);
    uv_close((uv_handle_t *)&s->prepare, on_own_closed);
    uv_close((uv_handle_t *)&s->check, on_own_closed);
    uv_close((uv_handle_t *)&s->decoder, on_own_closed);
}
