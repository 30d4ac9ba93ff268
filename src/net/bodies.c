#include "net/bodies_int.h"

#include <string.h>

#include "base/check.h"

static struct buf remove_at(struct body_pool *p, size_t i)
{
    struct buf b = p->kept[i];
    p->len--;
    p->bytes -= b.cap;
    memmove(&p->kept[i], &p->kept[i + 1], (p->len - i) * sizeof p->kept[0]);
    return b;
}

void body_pool_take(struct body_pool *p, struct buf *body, size_t n)
{
    CHECK(body->len == 0);
    if (n > body->max_bytes || body->cap >= n + BUF_PAD)
        return;
    for (size_t i = p->len; i-- > 0;) {
        if (p->kept[i].cap < n + BUF_PAD)
            continue;
        size_t max_bytes = body->max_bytes;
        buf_done(body);
        *body = remove_at(p, i);
        body->max_bytes = max_bytes;
        return;
    }
}

void body_pool_give(struct body_pool *p, struct buf *body)
{
    struct buf b = *body;
    *body = (struct buf){.max_bytes = b.max_bytes};
    buf_clear(&b);
    while (p->len > 0 && b.cap <= BODY_POOL_BYTES && (p->len == BODY_POOL_MAX || p->bytes + b.cap > BODY_POOL_BYTES)) {
        struct buf oldest = remove_at(p, 0);
        buf_done(&oldest);
    }
    if (b.cap > BODY_POOL_BYTES) {
        buf_done(&b);
        return;
    }
    p->kept[p->len++] = b;
    p->bytes += b.cap;
}

void body_pool_done(struct body_pool *p)
{
    while (p->len > 0) {
        struct buf b = remove_at(p, p->len - 1);
        buf_done(&b);
    }
}
