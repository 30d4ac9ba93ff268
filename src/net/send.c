#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "net/deferred_int.h"

/* Answers that wait to leave together; a larger one goes out at once with what waits, uncopied. */
#define CORK_BYTES_MAX 65536u
#define KEEP_BYTES     16384u
#define BUFS_MAX       32
/* Answers up to this size always wait for the end of the loop iteration. Those of a batch are then made one after the other and written one after the other, which
 * is kinder to caches and to clients' cores, that sleep less in between; and one plain write of a copy costs less than one of several pieces. */
#define SMALL_BYTES_MAX 4096u

static size_t total_of(const uv_buf_t *bufs, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += bufs[i].len;
    return total;
}

/* Closed at the end of the loop iteration, [I4]. */
static void break_conn(struct http_conn *c)
{
    c->is_broken = true;
    server_mark_dirty(c);
}

/* Connections have a buffer only while something waits in it; the few in use stay in the caches. */
static void take_buf(struct http_conn *c)
{
    struct server *s = c->server;
    if (!c->out.p && s->spare_out_len > 0)
        c->out = s->spare_out[--s->spare_out_len];
}

static void give_buf(struct http_conn *c)
{
    struct server *s = c->server;
    bool is_kept = c->out.cap > 0 && c->out.cap <= KEEP_BYTES && !c->out.failed && s->spare_out_len < SPARE_OUT_MAX;
    if (!is_kept) {
        buf_done(&c->out);
        return;
    }
    s->spare_out[s->spare_out_len++] = c->out;
    buf_init(&c->out, c->out.max_bytes);
}

static void append(struct http_conn *c, const uv_buf_t *bufs, size_t n)
{
    take_buf(c);
    for (size_t i = 0; i < n; i++)
        buf_add(&c->out, bufs[i].base, bufs[i].len);
    if (c->out.failed)
        break_conn(c);
}

/* ---- Writing ---- */

static void write_now(struct http_conn *c, const uv_buf_t *bufs, size_t n);

static void on_written(uv_write_t *r, int status)
{
    struct http_conn *c = r->data;
    struct server *s = c->server;
    c->is_writing = false;
    if (c->state == CONN_CLOSING)
        return; /* on_closed settles */
    deadline_stop(&c->send_deadline);
    if (status != 0) {
        conn_close(c);
        return;
    }
    s->now_ns = clock_now_ns();
    c->sent_total += c->writing.len;
    STAT_ADD(s, bytes_out, c->writing.len);
    buf_clear(&c->writing);
    buf_shrink(&c->writing, KEEP_BYTES);
    send_settle(c);
    server_mark_dirty(c); /* writes what came meanwhile; reading may go on, or the connection end */
}

/* Hands c->out to libuv, which waits until the socket takes it. */
static void write_later(struct http_conn *c)
{
    CHECK(!c->is_writing && c->writing.len == 0);
    struct buf empty = c->writing;
    c->writing = c->out;
    c->out = empty;
    uv_buf_t b = {.base = c->writing.p, .len = c->writing.len};
    c->write_req.data = c;
    if (uv_write(&c->write_req, &c->uv.stream, &b, 1, on_written) != 0) {
        break_conn(c);
        return;
    }
    c->is_writing = true;
    c->writing_left = b.len;
    server_arm(c->server, DEADLINE_SEND, &c->send_deadline);
}

/* One write for c->out and bufs; only what the socket does not take is copied. */
static void write_now(struct http_conn *c, const uv_buf_t *bufs, size_t n)
{
    uv_buf_t all[BUFS_MAX + 1];
    if (n > BUFS_MAX) {
        append(c, bufs, n);
        n = 0;
    }
    unsigned k = 0;
    if (c->out.len > 0)
        all[k++] = (uv_buf_t){.base = c->out.p, .len = c->out.len};
    for (size_t i = 0; i < n; i++)
        if (bufs[i].len > 0)
            all[k++] = bufs[i];
    if (k == 0 || c->is_broken)
        return;
    int rc = uv_try_write(&c->uv.stream, all, k);
    if (rc < 0 && rc != UV_EAGAIN) {
        break_conn(c);
        return;
    }
    size_t sent = rc > 0 ? (size_t)rc : 0;
    c->sent_total += sent;
    STAT_ADD(c->server, bytes_out, sent);
    size_t from_out = sent < c->out.len ? sent : c->out.len;
    buf_consume(&c->out, from_out);
    sent -= from_out;
    for (size_t i = 0; i < n; i++) {
        size_t gone = sent < bufs[i].len ? sent : bufs[i].len;
        sent -= gone;
        uv_buf_t left = {.base = bufs[i].base + gone, .len = bufs[i].len - gone};
        if (left.len > 0)
            append(c, &left, 1);
    }
    if (c->out.len == 0)
        give_buf(c);
    else if (!c->is_broken)
        write_later(c);
}

void send_flush(struct http_conn *c)
{
    if (c->out.len > 0 && !c->is_writing && c->state == CONN_OPEN)
        write_now(c, NULL, 0);
    send_settle(c);
}

/* Many bytes leave at once when nothing can join them: the only request in flight, or the last one of a read event. */
static void emit(struct http_conn *c, const uv_buf_t *bufs, size_t n)
{
    size_t total = total_of(bufs, n);
    c->queued_total += total; /* also when it is lost: then it never counts as sent */
    if (c->state != CONN_OPEN || c->is_broken)
        return;
    bool may_be_joined = total <= SMALL_BYTES_MAX || (c->is_in_event ? c->has_more : c->queue_len > 1);
    if (c->is_writing || (may_be_joined && c->out.len + total <= CORK_BYTES_MAX)) {
        append(c, bufs, n);
        if (!c->is_in_event)
            server_mark_dirty(c);
    } else {
        write_now(c, bufs, n);
    }
}

void send_raw(struct http_conn *c, struct str bytes)
{
    uv_buf_t b = {.base = (char *)(uintptr_t)bytes.p, .len = bytes.n}; /* libuv's type lacks the const */
    emit(c, &b, 1);
}

/* ---- Order ---- */

void send_bytes(struct exchange *x, const uv_buf_t *bufs, size_t n)
{
    struct http_conn *c = x->req.conn;
    if (x->is_cancelled)
        return;
    x->bytes_out += total_of(bufs, n);
    if (c->queue == x) {
        emit(c, bufs, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        buf_add(&x->held, bufs[i].base, bufs[i].len);
    if (x->held.failed)
        break_conn(c);
}

size_t send_backlog(const struct exchange *x)
{
    const struct http_conn *c = x->req.conn;
    if (c->queue != x)
        return x->held.len;
    return c->out.len + (c->is_writing ? uv_stream_get_write_queue_size(&c->uv.stream) : 0);
}

static void finish_exchange(struct server *s, struct exchange *x, bool is_sent)
{
    if (s->on_done) {
        if (!is_sent || x->is_cancelled) {
            x->status = 499;
            x->bytes_out = 0;
        }
        uint64_t now = clock_now_ns();
        x->req.stage_ns[STAGE_SEND] = now > x->t_answer_ns ? now - x->t_answer_ns : 0;
        s->on_done(&x->req, x->status, x->bytes_out, s->arg);
    }
    server_give_exchange(s, x);
}

void send_settle(struct http_conn *c)
{
    struct exchange *x;
    while ((x = c->finishing) != NULL) {
        bool is_sent = x->end_at <= c->sent_total;
        if (!is_sent && c->state != CONN_CLOSING)
            return;
        c->finishing = x->next;
        if (!c->finishing)
            c->finishing_end = &c->finishing;
        finish_exchange(c->server, x, is_sent);
    }
}

/* The first of the queue is complete: moves it on, and lets the next one speak. */
static void pop_first(struct http_conn *c)
{
    struct exchange *x = c->queue;
    c->queue = x->next;
    if (!c->queue)
        c->queue_end = &c->queue;
    c->queue_len--;
    c->queue_body_bytes -= x->body.len;
    x->end_at = c->queued_total;
    x->next = NULL;
    *c->finishing_end = x;
    c->finishing_end = &x->next;
    struct exchange *next = c->queue;
    if (next && next->held.len > 0) {
        uv_buf_t b = {.base = next->held.p, .len = next->held.len};
        emit(c, &b, 1);
        buf_clear(&next->held);
    }
}

void send_end(struct exchange *x)
{
    struct http_conn *c = x->req.conn;
    x->is_done = true;
    deferred_answered(c, x);
    while (c->queue && c->queue->is_done)
        pop_first(c);
    if (!c->queue && c->wants_continue) {
        c->wants_continue = false;
        send_raw(c, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    send_settle(c);
    if (c->state == CONN_CLOSING) {
        if (c->is_closed && !c->is_dirty)
            conn_tick(c); /* the last answer frees the connection, [I3] */
    } else if (!c->is_in_event) {
        server_mark_dirty(c);
    }
}
