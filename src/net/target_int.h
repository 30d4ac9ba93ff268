/* Request targets (RFC 9112 3.2) and Host. Everything that two readers could take for two different things is refused. */
#ifndef NET_TARGET_INT_H
#define NET_TARGET_INT_H

#include "net/http.h"

/* name[:port], IPv4[:port] or [IPv6][:port]; no user, no fragment, no spaces, not empty. */
bool target_host_is_valid(struct str host);
/* Splits and decodes. host: value of the Host header (p == NULL: none). path is decoded into the arena, query borrowed.
 * Returns 0, or the status to refuse with. */
int target_parse(enum http_method method, struct str target, struct str host, struct arena *a, struct str *path,
                 struct str *query, struct err *err);
/* Decodes %XX (and '+' as space when plus_is_space) once into the arena. False: an invalid escape. */
bool target_decode(struct str s, bool plus_is_space, struct arena *a, struct str *out);

#endif
