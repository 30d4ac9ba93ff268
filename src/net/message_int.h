/* The request side of one connection as a protocol without I/O: bytes in, complete requests out.
 *
 *     m.x = an exchange;                        // whenever it is NULL
 *     switch (message_feed(&m, &in)) ...        // until `in` is empty
 *
 * Bodies with a Content-Length can also be read straight into place: message_room says where. */
#ifndef NET_MESSAGE_INT_H
#define NET_MESSAGE_INT_H

#include "net/bodies_int.h"
#include "net/chunked_int.h"
#include "net/coding_int.h"
#include "net/exchange_int.h"

enum message_result {
    MESSAGE_MORE,     /* all bytes were taken, the request is not complete */
    MESSAGE_CONTINUE, /* the head is complete and the client waits for 100 Continue; call again afterwards */
    MESSAGE_BUSY, /* the request is complete, its body is being decoded: message_decode until it says otherwise, no message_feed before */
    MESSAGE_DONE, /* m->x has a complete request: take it and set m->x */
    MESSAGE_BAD   /* refuse m->x with m->status and m->err, and close: nothing behind can be trusted */
};

enum message_state { MESSAGE_HEAD, MESSAGE_LENGTH, MESSAGE_CHUNKED, MESSAGE_DECODING };

struct message {
    const struct server_limits *limits;
    struct coder *coder;
    struct body_pool *bodies; /* where large bodies get memory; may be NULL */
    struct exchange *x;       /* the request that is being received */
    enum message_state state;
    struct buf partial; /* a head that came in pieces; then scratch space for trailers */
    struct head_scan scan;
    struct chunked chunked;
    struct inflater *inflater; /* MESSAGE_DECODING */
    int status;
    struct err *err; /* filled on MESSAGE_BAD; shared by all connections of a server */
};

void message_init(struct message *m, const struct server_limits *l, struct coder *coder, struct err *err);
void message_done(struct message *m); /* does not free m->x */
enum message_result message_feed(struct message *m, struct str *in);
/* After MESSAGE_BUSY: a step more. */
enum message_result message_decode(struct message *m);

/* Has any byte of a request arrived that is not complete yet? */
bool message_is_partial(const struct message *m);
/* Where the next bytes of the body may be read to, and how many; 0: use a buffer and message_feed. */
size_t message_room(struct message *m, char **at);
/* n bytes were read to where message_room said. */
enum message_result message_took(struct message *m, size_t n);
/* They lie in the socket, all of them, and are to stay there for now: the request is complete, with these bytes away (http.h). */
enum message_result message_defer(struct message *m);

#endif
