/* The REST protocols over infer.h: /predict, the Open Inference Protocol v2, /openapi.json, and samples.
 * Everything on the edge thread that owns the `struct serve` given as the routes' arg. */
#ifndef SERVE_PROTO_H
#define SERVE_PROTO_H

#include "net/router.h"
#include "serve/infer.h"

/* For router_new or router_add with arg = the thread's struct serve *. */
const struct route *proto_routes(size_t *len);

/* {"predict": body, "infer": body, "curl": line} for a model that has been ready: bodies that the model takes as they are; null when the
 * inputs would be too large to show. The curl line is for the address that the reader reached. */
void proto_sample(const struct served_info *m, const char *address, struct json_writer *w);
/* A line for a shell, ready to copy, that sends the sample to http://ADDRESS/predict; for a large input raw bytes to .../infer. */
void proto_curl(const struct served_info *m, const char *address, struct buf *out);

/* For server_defer_bodies: tensors as bytes go from the socket straight into their batch. */
bool proto_may_defer(const struct http_req *req);

/* For router_error_form of "/predict". */
struct str proto_predict_error(struct http_req *req, int status, const struct err *err);

/* The answer has left: its trace is complete. Only with req->trace_record. */
void proto_trace_sent(const struct http_req *req);

/* A page of another site, shown by a browser on this machine, must not be able to steer us: answers 403 and returns true then. */
ATTR_MUST_USE bool proto_refuse_foreign(struct http_req *req);

#endif
