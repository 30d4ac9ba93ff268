/* Is a model's answer worth keeping? Now and then a request whose answer is in the cache runs all the same, and both are compared: a model that draws
 * random numbers or remembers earlier requests shows, and the log says so. */
#ifndef SERVE_CACHE_CHECK_H
#define SERVE_CACHE_CHECK_H

#include "serve/infer.h"

/* Index of the first output of len that differs, or -1. Floating-point numbers may, by what other rows in the same run explain. */
int cache_check_differs(const struct infer *kept, const struct infer *ran, uint32_t len);

#endif
