/* What the files of the server share. Who does what:
 *
 *   listener.c   accepts, survives the lack of file descriptors
 *   conn.c       a connection's life: reading, dispatching, time limits, closing
 *   conn_open.c  its beginning, and its memory
 *   near.c       more room for the bodies of clients on this machine
 *   send.c       a connection's way out: order of answers, one write, what the socket did not take
 *   answer.c     http_respond*, http_stream_*: heads of answers, gzip
 *   deferred.c   bodies that handlers take from the socket
 *   bodies.c     memory of large bodies
 *   decode.c     large compressed bodies, a step in each loop iteration
 *   server.c     the server: pools, timer, the end of a loop iteration, drain
 *
 * Invariants
 *  [I1] c->queue holds the requests given to the handler (and refusals) whose answers are not complete, in order of arrival. Bytes go to the
 *       socket only for the first of them; answers of the others wait in x->held.
 *  [I2] An exchange is in exactly one place: c->in.x, c->queue, c->finishing, or the pool.
 *  [I3] A connection's memory lives until its handle is closed and its queue is empty: handlers may answer after the client is gone.
 *  [I4] No handler is called, and nothing is closed, from inside http_respond*: a broken connection is put on the dirty list and closed at
 *       the end of the loop iteration. So a handler's call to http_respond never re-enters a handler. */
#ifndef NET_SERVER_INT_H
#define NET_SERVER_INT_H

#include "net/bodies_int.h"
#include "net/deadline_int.h"
#include "net/message_int.h"
#include "net/near.h"

enum deadline_kind { DEADLINE_HEAD, DEADLINE_BODY, DEADLINE_IDLE, DEADLINE_SEND, DEADLINE_LINGER, DEADLINE_KINDS };

enum conn_state {
    CONN_OPEN,
    CONN_LINGER, /* all is sent, write side shut: reads what the client still sends, so that it gets our answer and no reset */
    CONN_CLOSING /* the handle is being closed */
};

struct http_conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    struct server *server;
    struct http_conn *prev, *next; /* all connections of the server; next also links the pool */
    struct http_conn *dirty_next;
    struct http_conn *decoding_next;
    enum conn_state state;
    uint64_t peer; /* http_req.peer of its requests */
    bool is_unix;  /* http_req.is_unix of its requests */
    bool is_near;  /* has room for large bodies, near.h */
    bool is_dirty, is_broken, is_closed;
    bool is_reading;     /* uv_read_start is in force */
    bool is_in_event;    /* inside conn_input: bytes are flushed at its end */
    bool has_more;       /* ... and more input follows the request being dispatched */
    bool is_last;        /* the last answer that will be sent is decided: no further request is read */
    bool is_decoding;    /* on the server's list of those whose body is being decoded; nothing is read meanwhile */
    bool is_eof;         /* the client has shut its write side */
    bool is_fresh;       /* no byte came yet */
    bool expects_large;  /* as its last body was: the next head is read alone, its body where it belongs */
    bool looks_first;    /* its last body was deferred: of the next request's beginning too a copy will do at first */
    bool is_drained;     /* the read that filled its buffer has taken all that is due in this event */
    bool wants_continue; /* 100 Continue is due as soon as earlier answers are out */

    struct message in;
    struct exchange *deferred; /* whose handler is running, with bytes of its body away */
    size_t skip_bytes;         /* away when it was answered */
    size_t seen_bytes;         /* taken as input, and still in the socket before what is away */
    size_t look_bytes;         /* of which the next request's beginning consists, as far as the last one tells */
    struct buf rest;           /* input that must wait because the pipeline is full */
    uint64_t body_progress_at; /* bytes of the body at the last restart of its time limit */

    struct exchange *queue, **queue_end; /* [I1] */
    size_t queue_len;
    size_t queue_body_bytes;
    struct exchange *finishing, **finishing_end; /* answered, bytes not all with the kernel */

    struct buf out;     /* waits to be written */
    struct buf writing; /* owned by write_req while is_writing */
    bool is_writing;
    uv_write_t write_req;
    uv_shutdown_t shutdown_req;
    size_t writing_left;               /* at the last look of the send limit */
    uint64_t queued_total, sent_total; /* bytes given to send.c, bytes handed to the kernel */
    size_t linger_bytes;

    struct deadline read_deadline, send_deadline;
};

struct listener {
    uv_poll_t poll;
    uv_timer_t pause; /* after an error that would repeat at once */
    struct server *server;
    struct listener *next;
    int fd;
    bool is_unix;
    int handles_open;
};

/* A usual head, and little of a body that comes behind it. */
#define HEAD_READ_BYTES 2048u
/* Heads of one client differ by ids and lengths. */
#define LOOK_SPARE_BYTES 128u
/* One byte more would not make reads cheaper: the kernel hands over what one window holds. */
#define READ_BUF_BYTES 65536u

#define SPARE_OUT_MAX 64

struct server {
    uv_loop_t *loop;
    int thread;
    struct server_limits limits;
    http_handler_fn *handler;
    http_defer_fn *may_defer; /* NULL: never */
    server_done_fn *on_done;
    void *arg;
    void (*flush)(void *arg);
    void *flush_arg;
    void (*on_drained)(void *arg);
    void *drained_arg;

    struct listener *listeners;
    int spare_fd;
    struct near_room near_room;
    uint64_t fd_warned_ns;

    struct http_conn *conns, *conn_pool;
    size_t conns_len, conn_pool_len;
    size_t conns_alive; /* memory of connections that is not free yet, [I3] */
    struct exchange *exchange_pool;
    size_t exchange_pool_len;
    struct http_conn *dirty, **dirty_end;
    struct http_conn *decoding, **decoding_end; /* one step of the first in each iteration, decode.c */

    uv_timer_t timer;
    uint64_t timer_due_ns; /* 0 = not armed */
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t decoder; /* runs while there is something to decode */
    int handles_open;
    struct deadline_list deadlines[DEADLINE_KINDS];

    struct body_pool bodies;
    struct buf spare_out[SPARE_OUT_MAX]; /* send.c */
    size_t spare_out_len;
    struct coder coder;
    struct err err;
    struct buf head; /* scratch for the head of an answer */
    char date[40];
    uint64_t date_s;
    uint64_t now_ns; /* of the current event */
    bool is_draining, is_freed;
    bool has_dispatched; /* since the last flush */
    struct server_stats stats;
    char read_buf[READ_BUF_BYTES];
};

/* Only the server's thread writes its counters: no locked instruction is needed. */
#define STAT_ADD(s, field, n)                                                                                          \
    atomic_store_explicit(&(s)->stats.field, atomic_load_explicit(&(s)->stats.field, memory_order_relaxed) + (n),      \
                          memory_order_relaxed)

/* server.c */
void server_arm(struct server *s, enum deadline_kind kind, struct deadline *d);
void server_mark_dirty(struct http_conn *c);
void server_conn_gone(struct server *s); /* a connection closed or was freed: end of drain, end of server */
struct exchange *server_take_exchange(struct server *s);
void server_give_exchange(struct server *s, struct exchange *x);

/* listener.c */
void listener_stop(struct listener *l);

/* conn_open.c */
void conn_open(struct server *s, int fd, bool is_unix); /* takes the fd */
void conn_unlink(struct http_conn *c);
void conn_release_if_unused(struct http_conn *c); /* its memory, [I3] */

/* conn.c */
void conn_start_reading(struct http_conn *c);
void conn_close(struct http_conn *c); /* now; cancels what is in flight */
void conn_tick(struct http_conn *c);  /* dirty work: flush, resume, close */
void conn_expired(struct http_conn *c, enum deadline_kind kind);
void conn_drain(struct http_conn *c);
bool conn_is_idle(const struct http_conn *c);
void conn_update_deadline(struct http_conn *c);

/* decode.c */
void decode_init(struct server *s);
void decode_begin(struct http_conn *c);
void decode_forget(struct http_conn *c);
void conn_decoded(struct http_conn *c, enum message_result r); /* conn.c: it is at its end */

/* send.c */
void send_bytes(struct exchange *x, const uv_buf_t *bufs, size_t n); /* in order, [I1] */
void send_raw(struct http_conn *c, struct str bytes);                /* 100 Continue */
void send_end(struct exchange *x);                                   /* the answer is complete */
void send_flush(struct http_conn *c);
size_t send_backlog(const struct exchange *x);
void send_settle(struct http_conn *c); /* finishes exchanges whose bytes are out */

/* answer.c */
void answer_refusal(struct exchange *x, int status, const struct err *err);

#endif
