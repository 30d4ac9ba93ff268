/* Private to serve/proto_*.c: how a call uses its model's cache. The inputs of such a call are decoded before it is submitted, into memory of its own, and
 * are the key; what is kept are the output tensors. So it does not matter how a request wrote its tensors, nor in which form it wants its answer. */
#ifndef SERVE_PROTO_CACHED_H
#define SERVE_PROTO_CACHED_H

#include "serve/proto_int.h"

struct model_shared;

/* True: the call was answered, or waits for an equal one's results; do not touch it afterwards. */
bool proto_cached_submit(struct proto_call *c);
/* proto_decode into the key: element e, in ascending order, of input k, which are strings. */
ATTR_MUST_USE bool proto_cached_put_bytes(struct proto_call *c, int k, struct str s);
/* The call's results are good: keeps a copy for those that wait and those that come. Before it is answered. */
void proto_cached_keep(struct proto_call *c);
/* The call led others and has no results: true when it was answered with what was kept before it ran. */
bool proto_cached_recall(struct proto_call *c);
/* A call that led others has been answered, and is gone; its flight was closed before. err: why it had no results. */
void proto_cached_end(struct model_shared *m, struct cache_flight *f, const struct err *err);
/* Counts an answer from the cache that leaves now. */
void proto_cached_count(const struct proto_call *c, uint64_t now_ns);

#endif
