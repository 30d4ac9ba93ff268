/* A refusal of what a peer sent: the HTTP status to answer with, and the text in struct err. */
#ifndef NET_REFUSE_INT_H
#define NET_REFUSE_INT_H

#include "base/err.h"

/* Fills err and returns status, so that `return refuse(err, 400, ...)` reads well. 0 means "not refused" everywhere. */
int refuse(struct err *err, int status, const char *fmt, ...) ATTR_PRINTF(3, 4);

#endif
