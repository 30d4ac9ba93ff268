/* Bodies whose end a handler takes straight from the socket (http.h, body_away): the kernel's copy is then the only one. A body is deferred only when
 * all of it has arrived, so that nobody ever waits for a client, and only for the time of the handler's call: what the handler left is fetched when it
 * returns, or thrown away when it has answered. */
#ifndef NET_DEFERRED_INT_H
#define NET_DEFERRED_INT_H

#include "net/server_int.h"

/* Less is not worth a look into the socket. */
#define DEFERRED_BYTES_MIN ((size_t)16 << 10)

/* Copies the beginning of what the socket has into the server's read buffer and leaves it there, so that one read brings it and the body behind it:
 * c->seen_bytes. False: nothing is there, or an end. Who takes it as input without deferring calls leave before anything is answered. */
bool deferred_look(struct http_conn *c);
void deferred_leave(struct http_conn *c);
/* The connection's request lacks nothing but bytes of its body that the kernel has. */
bool deferred_is_possible(struct http_conn *c);
/* Around the handler's call. */
void deferred_begin(struct http_conn *c, struct exchange *x);
void deferred_end(struct http_conn *c);
/* The request was answered. */
void deferred_answered(struct http_conn *c, struct exchange *x);
/* Nobody looks at the exchange's body any more: its memory may be used anew. */
void deferred_forget(struct exchange *x);

#endif
