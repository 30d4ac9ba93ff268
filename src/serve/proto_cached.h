/* Private to serve/proto_*.c: how a call uses its model's cache. */
#ifndef SERVE_PROTO_CACHED_H
#define SERVE_PROTO_CACHED_H

#include "serve/proto_int.h"

struct model_shared;

/* True: the call was answered, or waits for an equal one's answer; do not touch it afterwards. */
bool proto_cached_submit(struct proto_call *c);
/* The call's good answer is about to leave: keeps a copy for those that wait and those that come. */
void proto_cached_keep(struct proto_call *c, struct str content_type, const struct http_header *extra, size_t extra_len,
                       const struct str *parts, size_t parts_len);
/* A call that led others has been answered, and is gone; its flight was closed before. err: why it had no good answer. */
void proto_cached_end(struct model_shared *m, struct cache_flight *f, const struct err *err);

#endif
