/* A list of chunks, newest first; allocation moves a pointer through the newest one.
 *
 *   head -> | header | handed out ....... at | free ... end |
 *             |
 *             next older chunk -> ...
 *
 * Under AddressSanitizer what is not handed out is poisoned, and a gap follows each allocation, so that an overrun is reported where
 * it happens. */
#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#define GAP            16u
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define GAP            0u
#endif

#define ALIGN           16u
#define CHUNK_BYTES_MAX ((size_t)1 << 20) /* doubling stops here: a large arena then wastes at most one such chunk */
#define KEEP_BYTES_MAX  ((size_t)64 << 10)
#define LARGE_BYTES     ((size_t)64 << 10)

struct arena_chunk {
    _Alignas(ALIGN) struct arena_chunk *next;
    size_t bytes; /* of data */
    char data[];
};

_Static_assert(sizeof(struct arena_chunk) % ALIGN == 0, "data must be aligned");

void arena_init(struct arena *a, size_t chunk_bytes, size_t max_bytes)
{
    CHECK(chunk_bytes > 0 && chunk_bytes <= CHUNK_BYTES_MAX);
    *a = (struct arena){.max_bytes = max_bytes, .chunk_bytes = ROUND_UP(chunk_bytes, ALIGN)};
}

static void free_chunks(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void arena_done(struct arena *a)
{
    free_chunks(a->head);
    a->head = NULL;
    a->at = a->end = NULL;
    a->used_bytes = 0;
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *keep = a->head;
    if (keep == NULL || keep->bytes > KEEP_BYTES_MAX) {
        arena_done(a);
        return;
    }
    free_chunks(keep->next);
    keep->next = NULL;
    a->at = keep->data;
    a->end = keep->data + keep->bytes;
    a->used_bytes = 0;
    POISON(keep->data, keep->bytes);
}

static bool add_chunk(struct arena *a, size_t need_bytes, bool zeroed)
{
    size_t bytes = a->chunk_bytes;
    if (a->head != NULL)
        bytes = a->head->bytes >= CHUNK_BYTES_MAX / 2 ? CHUNK_BYTES_MAX : a->head->bytes * 2;
    if (bytes < need_bytes)
        bytes = need_bytes;
    struct arena_chunk *chunk = zeroed ? calloc(1, sizeof *chunk + bytes) : malloc(sizeof *chunk + bytes);
    if (chunk == NULL)
        return false;
    chunk->next = a->head;
    chunk->bytes = bytes;
    a->head = chunk;
    a->at = chunk->data;
    a->end = chunk->data + bytes;
    POISON(chunk->data, bytes);
    return true;
}

/* What is large and to be zeroed, as a list with room for all that may come, is taken as the system gives it: pages that nobody touches take no memory. */
static void *take(struct arena *a, size_t n, bool zeroed)
{
    bool is_fresh = false;
    if (n > SIZE_MAX / 2)
        return NULL;
    size_t bytes = n == 0 ? ALIGN : ROUND_UP(n, (size_t)ALIGN);
    if (a->used_bytes > a->max_bytes || bytes > a->max_bytes - a->used_bytes)
        return NULL;
    if ((size_t)(a->end - a->at) < bytes + GAP) {
        is_fresh = zeroed && n >= LARGE_BYTES;
        if (!add_chunk(a, bytes + GAP, is_fresh))
            return NULL;
    }
    char *p = a->at;
    a->at += bytes + GAP;
    a->used_bytes += bytes;
    UNPOISON(p, n);
    return zeroed && !is_fresh ? memset(p, 0, n) : p;
}

void *arena_try_alloc(struct arena *a, size_t n)
{
    return take(a, n, false);
}

void *arena_alloc(struct arena *a, size_t n)
{
    void *p = arena_try_alloc(a, n);
    CHECK(p != NULL);
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = take(a, n, true);
    CHECK(p != NULL);
    return p;
}

void *arena_array_(struct arena *a, size_t size, size_t n)
{
    size_t bytes = 0;
    bool has_overflowed = __builtin_mul_overflow(size, n, &bytes);
    CHECK(!has_overflowed);
    return arena_zalloc(a, bytes);
}

char *arena_cstr(struct arena *a, struct str s)
{
    CHECK(s.n < SIZE_MAX);
    char *copy = arena_alloc(a, s.n + 1);
    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

struct str arena_str_dup(struct arena *a, struct str s)
{
    return (struct str){arena_cstr(a, s), s.n};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int wanted = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    CHECK(wanted >= 0);
    size_t n = (size_t)wanted;
    char *text = arena_alloc(a, n + 1);
    (void)vsnprintf(text, n + 1, fmt, again); /* measured above */
    va_end(again);
    return (struct str){text, n};
}
