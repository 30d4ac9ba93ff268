/* Memory by lifetime: allocate many, free all at once. For a connection, a request, a configuration snapshot.
 * Not thread-safe; one owner. Allocations are 16-byte aligned and not zeroed unless the name says so.
 * Every arena has a maximum; beyond it arena_try_alloc returns NULL, and arena_alloc aborts (use that one only for sizes
 * that no stranger controls). */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>

#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *head; /* private */
    char *at, *end;           /* private */
    size_t used_bytes;        /* handed out since the last reset */
    size_t max_bytes;
    size_t chunk_bytes;
};

/* chunk_bytes: size of the first chunk (later ones double up to 1 MiB). Allocates nothing until used. */
void arena_init(struct arena *a, size_t chunk_bytes, size_t max_bytes);
void arena_done(struct arena *a);
/* Forgets all allocations but keeps the newest chunk when it is small (<= 64 KiB), so that a keep-alive connection's next request needs
 * no malloc. */
void arena_reset(struct arena *a);

ATTR_MUST_USE void *arena_try_alloc(struct arena *a, size_t n);
ATTR_MUST_USE void *arena_alloc(struct arena *a, size_t n);
ATTR_MUST_USE void *arena_zalloc(struct arena *a, size_t n);
#define arena_new(a, type)      ((type *)arena_zalloc((a), sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_array_((a), sizeof(type), (n)))
void *arena_array_(struct arena *a, size_t size, size_t n); /* zeroed; aborts on overflow */

struct str arena_str_dup(struct arena *a, struct str s); /* copy with a NUL behind it */
char *arena_cstr(struct arena *a, struct str s);         /* copy as C string */
struct str arena_printf(struct arena *a, const char *fmt, ...) ATTR_PRINTF(2, 3);

#endif
