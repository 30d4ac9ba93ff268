/* A request with more rows than a run takes becomes parts that run like requests of their own, on several instances at once, and one answer. Only for models whose
 * rows may share runs and that have no strings; others run such a request in one large run. */
#ifndef SERVE_SPLIT_H
#define SERVE_SPLIT_H

#include "serve/infer.h"

bool split_is_due(const struct infer *i);
/* Takes over an admitted request: decodes it once, submits its parts, ends it with the joined outputs, or the first error. */
void split_submit(struct infer *whole);
/* Cancels the parts; the whole ends when the last part has. */
void split_cancel(struct infer *whole);

#endif
