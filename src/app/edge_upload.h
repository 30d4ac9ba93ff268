/* Loading a model with a configuration and files that the request brings. */
#ifndef APP_EDGE_UPLOAD_H
#define APP_EDGE_UPLOAD_H

#include "app/edge_int.h"

/* Reads the body's parameters aside and asks the master then, or calls l->done with what is wrong. The request stays unanswered until l->done. */
void edge_upload(struct edge_thread *t, struct edge_load *l, const struct http_req *req);

#endif
