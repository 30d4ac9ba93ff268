/* Memory of large request bodies, kept from request to request: its pages are there already, and the allocator need not find it anew. One thread's,
 * and bounded, so that a burst is not paid for ever; what was used last is used first. */
#ifndef NET_BODIES_INT_H
#define NET_BODIES_INT_H

#include "base/buf.h"

#define BODY_POOL_MAX 64
/* Kept by one thread at most. */
#define BODY_POOL_BYTES ((size_t)4 << 20)

struct body_pool {
    struct buf kept[BODY_POOL_MAX]; /* oldest first */
    size_t len, bytes;
};

/* An empty body that is to hold n bytes gets memory that suffices, if some is kept. */
void body_pool_take(struct body_pool *p, struct buf *body, size_t n);
/* Takes the body's memory, and leaves it empty. */
void body_pool_give(struct body_pool *p, struct buf *body);
void body_pool_done(struct body_pool *p);

#endif
