/* Names of the models that the repository has, whether they are loaded or not: what /v2/repository/index lists beside those that are served. One list
 * for the process; any thread. Empty where everything that the repository has is loaded. */
#ifndef SERVE_KNOWN_H
#define SERVE_KNOWN_H

#include "base/buf.h"

/* The master's news, a part of the list: {"first": true, "last": true, "names": [...]}. The last part puts the new list in the old one's place. */
void known_take(struct str json);
/* Appends the names, each with a NUL behind it. */
void known_names(struct buf *out);
#define KNOWN_BYTES_MAX ((size_t)1 << 20)

#endif
