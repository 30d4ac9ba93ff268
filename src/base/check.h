/* Programmer errors. CHECK stays on in production: a process that has lost its invariants must stop and be restarted by
 * the supervisor, not go on. Failure calls the panic hook (which writes role, pid, place and expression to the crash
 * report segment) and aborts. Never use it for anything that a stranger's bytes, the disk or the kernel can cause. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include "base/attr.h"

#define CHECK(cond) (LIKELY(cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

/* Called once with the failure's text, before abort(); set by the role's start. Must be async-signal-safe. */
extern void (*check_panic_hook)(const char *text);

ATTR_NORETURN void check_failed(const char *expr, const char *file, int line);

#endif
