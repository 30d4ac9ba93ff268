#include <limits.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "net/deferred_int.h"
#include "net/trace_int.h"

/* Bodies of unanswered requests of one connection beyond which no further request is begun: pipelining must not multiply the limit of a
 * body. */
#define PIPELINE_BODY_BYTES ((size_t)1 << 20)
/* Answers that the client has not taken beyond which no further request is begun. */
#define BACKLOG_BYTES ((size_t)256 << 10)
/* Unread input that a refused client may send until we stop listening to it. */
#define LINGER_BYTES_MAX ((size_t)8 << 20)
/* Progress of a body that earns a new time limit: one byte now and then is not progress. */
#define BODY_PROGRESS_BYTES 1024u

static void settle(struct http_conn *c);

/* ---- Closing ---- */

static void drop_partial(struct http_conn *c)
{
    if (c->in.x) {
        server_give_exchange(c->server, c->in.x);
        c->in.x = NULL;
    }
}

/* on_cancel may answer at once, which changes the queue: so the walk starts anew after each call. */
static void cancel_all(struct http_conn *c)
{
    for (struct exchange *x = c->queue; x; x = x->next)
        x->is_cancelled = true;
    struct exchange *x = c->queue;
    while (x) {
        if (x->is_done || x->is_told) {
            x = x->next;
            continue;
        }
        x->is_told = true;
        if (x->req.on_cancel)
            x->req.on_cancel(&x->req, x->req.on_cancel_arg);
        x = c->queue;
    }
}

static void on_closed(uv_handle_t *h)
{
    struct http_conn *c = h->data;
    c->is_closed = true;
    conn_unlink(c);
    send_settle(c);
    conn_release_if_unused(c);
}

void conn_close(struct http_conn *c)
{
    if (c->state == CONN_CLOSING)
        return;
    c->state = CONN_CLOSING;
    c->is_reading = false;
    deadline_stop(&c->read_deadline);
    deadline_stop(&c->send_deadline);
    decode_forget(c);
    drop_partial(c);
    uv_close(&c->uv.handle, on_closed);
    cancel_all(c);
}

static void on_shut(uv_shutdown_t *r, int status)
{
    (void)r;
    (void)status; /* the linger limit closes in any case */
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);
static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf);

void conn_start_reading(struct http_conn *c)
{
    if (c->is_reading || c->is_eof)
        return;
    c->is_drained = false;
    if (uv_read_start(&c->uv.stream, on_alloc, on_read) != 0) {
        c->is_broken = true;
        server_mark_dirty(c);
        return;
    }
    c->is_reading = true;
}

static void stop_reading(struct http_conn *c)
{
    (void)uv_read_stop(&c->uv.stream); /* always succeeds */
    c->is_reading = false;
}

/* Closing a socket with unread input makes the kernel send a reset, which can overtake our last answer. */
static void linger(struct http_conn *c)
{
    c->state = CONN_LINGER;
    deadline_stop(&c->read_deadline);
    if (c->is_eof || uv_shutdown(&c->shutdown_req, &c->uv.stream, on_shut) != 0) {
        conn_close(c);
        return;
    }
    server_arm(c->server, DEADLINE_LINGER, &c->read_deadline);
    conn_start_reading(c);
}

/* ---- Time limits ---- */

bool conn_is_idle(const struct http_conn *c)
{
    return !c->in.x && !c->queue && !c->is_writing && c->out.len == 0 && c->rest.len == 0;
}

/* Restarts the limit of a body only when the client made progress since the last start. */
static void update_body_deadline(struct http_conn *c)
{
    struct deadline *d = &c->read_deadline;
    bool is_on = deadline_is_on(d) && d->kind == DEADLINE_BODY;
    uint64_t have = c->in.x->body.len;
    if (is_on && have >= c->body_progress_at && have - c->body_progress_at < BODY_PROGRESS_BYTES)
        return;
    c->body_progress_at = have;
    server_arm(c->server, DEADLINE_BODY, d);
}

void conn_update_deadline(struct http_conn *c)
{
    struct deadline *d = &c->read_deadline;
    if (c->state != CONN_OPEN)
        return;
    if (c->is_decoding) {
        deadline_stop(d); /* it is up to us */
        return;
    }
    if (c->in.x && c->in.state != MESSAGE_HEAD) {
        update_body_deadline(c);
    } else if (c->in.x || c->is_fresh) { /* the whole head within one limit, however it trickles */
        if (!deadline_is_on(d) || d->kind != DEADLINE_HEAD)
            server_arm(c->server, DEADLINE_HEAD, d);
    } else if (conn_is_idle(c)) {
        server_arm(c->server, DEADLINE_IDLE, d);
    } else {
        deadline_stop(d); /* a handler works; requests have deadlines of their own */
    }
}

/* ---- Requests ---- */

static void enqueue(struct http_conn *c, struct exchange *x)
{
    x->next = NULL;
    *c->queue_end = x;
    c->queue_end = &x->next;
    c->queue_len++;
    c->queue_body_bytes += x->body.len;
    c->wants_continue = false;
}

static void refuse_request(struct http_conn *c, int status)
{
    struct server *s = c->server;
    struct exchange *x = c->in.x;
    c->in.x = NULL;
    c->is_last = true;
    c->has_more = false;
    x->keep_alive = false;
    x->req.t_ready_ns = s->now_ns;
    if (x->req.id[0] == '\0')
        trace_identify(&x->req, (struct str){0}, (struct str){0});
    if (status == 408)
        STAT_ADD(s, timeouts, 1);
    else
        STAT_ADD(s, bad_requests, 1);
    enqueue(c, x);
    c->linger_bytes = 1; /* whatever the client still sends is unread */
    answer_refusal(x, status, &s->err);
}

static void dispatch(struct http_conn *c, bool has_more)
{
    struct server *s = c->server;
    struct exchange *x = c->in.x;
    c->in.x = NULL;
    x->req.t_ready_ns = s->now_ns;
    x->req.stage_ns[STAGE_RECEIVE] = x->req.t_ready_ns - x->req.t_start_ns;
    x->req.peer = c->peer;
    x->req.is_unix = c->is_unix;
    x->was_dispatched = true;
    enqueue(c, x);
    c->is_last = c->is_last || !x->keep_alive;
    c->has_more = has_more && !c->is_last;
    s->has_dispatched = true;
    STAT_ADD(s, requests, 1);
    c->expects_large = x->body.len >= DEFERRED_BYTES_MIN;
    c->looks_first = x->req.body_away > 0;
    deferred_begin(c, x);
    s->handler(&x->req, s->arg);
    deferred_end(c);
}

static void say_continue(struct http_conn *c)
{
    if (c->queue)
        c->wants_continue = true; /* earlier answers go first */
    else
        send_raw(c, STR("HTTP/1.1 100 Continue\r\n\r\n"));
}

static bool is_full(const struct http_conn *c)
{
    return c->queue_len >= c->server->limits.pipeline_max || c->queue_body_bytes > PIPELINE_BODY_BYTES ||
           c->out.len + c->writing.len > BACKLOG_BYTES;
}

static bool may_read_on(const struct http_conn *c)
{
    return c->state == CONN_OPEN && !c->is_last && !c->is_broken;
}

static bool begin_request(struct http_conn *c)
{
    struct exchange *x = server_take_exchange(c->server);
    if (!x)
        return false;
    c->in.x = x;
    c->is_fresh = false;
    x->req.conn = c;
    x->req.thread = c->server->thread;
    x->req.t_start_ns = c->server->now_ns;
    return true;
}

static void act(struct http_conn *c, enum message_result r, bool has_more)
{
    if (r != MESSAGE_MORE && !(c->in.x && c->in.x->req.body_away > 0))
        deferred_leave(c);
    switch (r) {
    case MESSAGE_MORE:
        break;
    case MESSAGE_CONTINUE:
        say_continue(c);
        break;
    case MESSAGE_BUSY:
        stop_reading(c);
        decode_begin(c);
        break;
    case MESSAGE_DONE:
        dispatch(c, has_more);
        break;
    case MESSAGE_BAD:
        refuse_request(c, c->in.status);
        break;
    }
}

/* Parses input and dispatches what is complete. Answers that handlers give meanwhile leave together at the end. */
static void take_input(struct http_conn *c, struct str in)
{
    c->is_in_event = true;
    while (in.n > 0 && may_read_on(c)) {
        if (c->is_decoding || (!c->in.x && is_full(c))) {
            buf_str(&c->rest, in);
            stop_reading(c);
            in.n = 0;
        } else if (!c->in.x && !begin_request(c)) {
            c->is_broken = true; /* out of memory: this connection pays */
        } else {
            enum message_result r = message_feed(&c->in, &in);
            act(c, r, in.n > 0);
        }
    }
    if (in.n == 0 && may_read_on(c) && !c->is_decoding && deferred_is_possible(c))
        act(c, message_defer(&c->in), false);
    deferred_leave(c);
    c->linger_bytes += in.n; /* behind the last request */
    c->is_in_event = c->has_more = false;
    settle(c);
}

/* After whatever changed: sends, and decides what the connection does next. Only from loop callbacks, [I4]. */
static void settle(struct http_conn *c)
{
    if (c->state != CONN_OPEN)
        return;
    if (!c->is_broken)
        send_flush(c);
    if (c->is_broken) {
        conn_close(c);
        return;
    }
    bool is_sent = !c->queue && !c->is_writing && c->out.len == 0;
    bool is_over = c->is_last || c->is_eof || (c->server->is_draining && conn_is_idle(c) && !c->is_fresh);
    if (!is_sent || !is_over)
        conn_update_deadline(c);
    else if (c->linger_bytes > 0)
        linger(c);
    else
        conn_close(c);
}

/* ---- Events ---- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct http_conn *c = h->data;
    char *at = c->server->read_buf;
    size_t room = 0;
    if (c->is_drained) { /* libuv reads on after a full buffer; what may have come meanwhile is the next iteration's */
        c->is_drained = false;
        *buf = uv_buf_init(NULL, 0);
        return;
    }
    if (c->looks_first && !c->in.x && may_read_on(c) && deferred_look(c)) {
        *buf = uv_buf_init(NULL, 0); /* nothing is left for libuv to read: on_read goes on */
        return;
    }
    if (may_read_on(c))
        room = c->in.x ? message_room(&c->in, &at) : c->expects_large ? HEAD_READ_BYTES : 0;
    if (room == 0)
        room = READ_BUF_BYTES;
    *buf = uv_buf_init(at, (unsigned)(room < INT_MAX ? room : INT_MAX));
}

static void discard(struct http_conn *c, size_t n)
{
    c->linger_bytes += n;
    if (c->linger_bytes > LINGER_BYTES_MAX)
        conn_close(c);
}

static bool has_cancellable(const struct http_conn *c)
{
    for (const struct exchange *x = c->queue; x; x = x->next)
        if (!x->is_done && x->req.on_cancel)
            return true;
    return false;
}

/* The client has shut its write side. It may still read (nc -N, HTTP/1.0 clients), so work that cannot be cancelled is answered;
 * work that can be is not worth finishing for a client that most likely is gone. */
static void on_eof(struct http_conn *c)
{
    c->is_eof = true;
    c->is_fresh = false;
    stop_reading(c);
    drop_partial(c);
    if (c->state == CONN_LINGER || has_cancellable(c))
        conn_close(c);
    else
        settle(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct http_conn *c = stream->data;
    struct server *s = c->server;
    bool was_seen = n == UV_ENOBUFS && c->seen_bytes > 0;
    if ((n == 0 || n == UV_ENOBUFS) && !was_seen)
        return; /* EAGAIN; or we want no more now */
    s->now_ns = clock_now_ns();
    if (was_seen) {
        take_input(c, (struct str){s->read_buf, c->seen_bytes});
    } else if (n == UV_EOF) {
        on_eof(c);
    } else if (n < 0) {
        conn_close(c);
    } else {
        STAT_ADD(s, bytes_in, (uint64_t)n);
        if (!may_read_on(c)) {
            discard(c, (size_t)n);
        } else if (buf->base == s->read_buf) {
            take_input(c, (struct str){buf->base, (size_t)n});
        } else {
            c->is_in_event = true;
            act(c, message_took(&c->in, (size_t)n), false);
            c->is_in_event = false;
            settle(c);
        }
        c->is_drained = (size_t)n == buf->len && !c->in.x && c->is_reading;
    }
}

void conn_expired(struct http_conn *c, enum deadline_kind kind)
{
    struct server *s = c->server;
    switch (kind) {
    case DEADLINE_HEAD:
    case DEADLINE_BODY:
        if (!c->in.x) { /* connected and said nothing */
            conn_close(c);
            return;
        }
        (void)err_set(&s->err, ERR_TIMEOUT, "the request %s did not arrive in time",
                      kind == DEADLINE_HEAD ? "head" : "body");
        refuse_request(c, 408);
        settle(c);
        return;
    case DEADLINE_SEND:
        if (uv_stream_get_write_queue_size(&c->uv.stream) < c->writing_left) { /* slow, but it reads */
            c->writing_left = uv_stream_get_write_queue_size(&c->uv.stream);
            server_arm(s, DEADLINE_SEND, &c->send_deadline);
            return;
        }
        STAT_ADD(s, timeouts, 1);
        conn_close(c);
        return;
    case DEADLINE_IDLE:
    case DEADLINE_LINGER:
    case DEADLINE_KINDS:
        conn_close(c);
        return;
    }
}

static void resume(struct http_conn *c)
{
    if (c->is_reading || c->is_decoding || !may_read_on(c) || is_full(c))
        return;
    if (c->rest.len > 0) {
        struct buf rest = c->rest; /* taken out, because the pipeline may fill up again while it is parsed */
        buf_init(&c->rest, rest.max_bytes);
        take_input(c, buf_view(&rest));
        buf_done(&rest);
    }
    if (may_read_on(c) && c->rest.len == 0 && !c->is_decoding)
        conn_start_reading(c);
}

void conn_decoded(struct http_conn *c, enum message_result r)
{
    c->is_in_event = true;
    act(c, r, c->rest.len > 0);
    c->is_in_event = c->has_more = false;
    settle(c);
    if (c->state == CONN_OPEN)
        resume(c);
}

void conn_tick(struct http_conn *c)
{
    settle(c);
    if (c->state == CONN_OPEN)
        resume(c);
    conn_release_if_unused(c);
}

void conn_drain(struct http_conn *c)
{
    if (c->state != CONN_OPEN || !conn_is_idle(c))
        return;
    /* A request that has arrived but was not read yet is still answered. */
    uv_os_fd_t fd;
    char byte;
    if (uv_fileno(&c->uv.handle, &fd) == 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
        return;
    conn_close(c);
}
