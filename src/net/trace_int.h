/* Request ids and W3C trace context (Trace Context level 1, version 00). */
#ifndef NET_TRACE_INT_H
#define NET_TRACE_INT_H

#include "net/http.h"

/* Fills req->id and req->trace from the client's headers (p == NULL: absent) where they are sane, else with new ones.
 * A new trace takes our request id as its trace id, so that one leads to the other. */
void trace_identify(struct http_req *req, struct str client_id, struct str traceparent);

#endif
