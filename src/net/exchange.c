#include "net/exchange_int.h"

#include <stdlib.h>

/* A request's arena holds the head, its header table and what handlers make of the body. */
#define ARENA_CHUNK_BYTES 8192u
/* An answer that waits behind an unanswered request; the handler decides its size, this is the last line of defence. */
#define HELD_BYTES_MAX ((size_t)256 << 20)

struct exchange *exchange_new(const struct server_limits *l)
{
    struct exchange *x = calloc(1, sizeof(*x));
    if (!x)
        return NULL;
    arena_init(&x->arena, ARENA_CHUNK_BYTES, 4 * l->head_bytes_max + 2 * l->body_bytes_max + ((size_t)16 << 20));
    buf_init(&x->body, l->body_bytes_max);
    buf_init(&x->held, HELD_BYTES_MAX);
    x->req.arena = &x->arena;
    return x;
}

struct exchange *exchange_free(struct exchange *x)
{
    if (!x)
        return NULL;
    arena_done(&x->arena);
    buf_done(&x->body);
    buf_done(&x->held);
    free(x);
    return NULL;
}

void exchange_reset(struct exchange *x)
{
    arena_reset(&x->arena);
    buf_clear(&x->body);
    buf_shrink(&x->body, EXCHANGE_KEEP_BYTES);
    buf_clear(&x->held);
    buf_shrink(&x->held, EXCHANGE_KEEP_BYTES);
    struct exchange empty = {.arena = x->arena, .body = x->body, .held = x->held};
    *x = empty;
    x->req.arena = &x->arena;
}
