/* One request and its answer. Lives from the request's first byte until the answer's last byte was handed to the kernel, then goes back
 * to its server's pool with its memory, so that the next request on any connection needs no malloc. */
#ifndef NET_EXCHANGE_INT_H
#define NET_EXCHANGE_INT_H

#include "net/head_int.h"

/* Memory beyond this is not the next request's. */
#define EXCHANGE_KEEP_BYTES 16384u

struct exchange {
    struct http_req req;
    struct exchange *next; /* queue of the connection, or the pool */
    struct arena arena;
    struct head head;
    struct buf body;      /* req.body lies here */
    struct buf held;      /* bytes of the answer that wait for earlier answers of the connection */
    bool keep_alive;      /* the connection may go on after this answer */
    bool is_done;         /* the answer is complete */
    bool is_stream;       /* chunked answer under way */
    bool is_broken;       /* a stream that lost bytes: must not end cleanly */
    bool is_cancelled;    /* the client is gone: bytes are dropped */
    bool is_told;         /* on_cancel was called */
    bool was_dispatched;  /* the handler has seen it */
    int status;           /* sent; 0 = none yet */
    uint64_t bytes_out;   /* of the answer, head included */
    uint64_t end_at;      /* the connection's count of bytes sent when the last one is out */
    uint64_t t_answer_ns; /* when the handler answered */
};

/* The request is the first member. */
static inline struct exchange *exchange_of(struct http_req *req)
{
    return (struct exchange *)req;
}

struct exchange *exchange_new(const struct server_limits *l); /* NULL: out of memory */
struct exchange *exchange_free(struct exchange *x);           /* returns NULL */
void exchange_reset(struct exchange *x);                      /* ready for the next request; keeps small memory */

#endif
