/* A server and its clients in one thread: every wait turns the server's loop, so tests are deterministic. */
#ifndef TEST_NET_RIG_H
#define TEST_NET_RIG_H

#include "net/server.h"

#define RIG_LATER_MAX 128

struct rig {
    uv_loop_t loop;
    struct server *server;
    struct server_limits limits;
    int port;
    char unix_path[108];
    struct http_req *later[RIG_LATER_MAX]; /* requests to /later and /cancel that wait for rig_answer */
    int later_len;
    int cancelled, done, drained, flushed, requests;
    int last_status;
    bool fetched; /* the last http_body_copy */
    bool defers;  /* set before rig_start: bodies may be deferred */
    size_t away;  /* of the last request's body */
    size_t look;  /* what handlers say that they read of a body's beginning */
    int reset_fd; /* the client's end, which /reset-* resets while the handler runs */
    uint64_t last_bytes_out;
    char last_path[64];
    struct buf in; /* what rig_read read */
};

/* Handlers: /hello "hello\n"; /echo the body; /later and /cancel wait (the latter notes cancellation); /big/N N bytes; /stream three
 * chunks; /copy and /backwards the body, by http_body_copy; /reset-copy, /reset-later: while the client resets, /steal-: while the socket loses bytes; anything else 404. Set limits between rig_init and rig_start. */
void rig_init(struct rig *r);
void rig_start(struct rig *r);
void rig_stop(struct rig *r); /* checks that nothing is left over */
void rig_turn(struct rig *r, int ms);
void rig_text(struct http_req *req, int status, struct str text); /* for handlers: answers */
int rig_connect(struct rig *r);                                   /* TCP */
int rig_connect_unix(struct rig *r);                              /* UNIX socket */
void rig_write(struct rig *r, int fd, struct str bytes);          /* all of it, turning the loop */
void rig_send(struct rig *r, int fd, const char *text);
/* Reads until r->in holds n times `text` (then true) or the connection ends or `ms` pass (false). r->in starts empty. */
bool rig_expect(struct rig *r, int fd, const char *text, int n, int ms);
/* Reads until the end of the connection; false when it does not end within ms. */
bool rig_read_all(struct rig *r, int fd, int ms);
void rig_answer(struct rig *r, int i, const char *text); /* answers r->later[i] */
int rig_count(const struct rig *r, const char *text);    /* occurrences in r->in */

#endif
