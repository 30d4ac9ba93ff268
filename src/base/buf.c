#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define FIRST_BYTES 256u

void buf_init(struct buf *b, size_t max_bytes)
{
    CHECK(max_bytes <= SIZE_MAX / 4); /* so that doubling and padding cannot overflow */
    *b = (struct buf){.max_bytes = max_bytes};
}

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max_bytes = b->max_bytes};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

void buf_shrink(struct buf *b, size_t keep_bytes)
{
    CHECK(b->len == 0);
    if (b->cap > keep_bytes)
        buf_done(b);
}

static bool fail(struct buf *b)
{
    b->failed = true;
    return false;
}

/* Doubles, so that n appends cost O(n), but never beyond what the maximum can use. */
static bool grow(struct buf *b, size_t need)
{
    size_t cap = b->cap < FIRST_BYTES ? FIRST_BYTES : b->cap * 2;
    if (cap > b->max_bytes + BUF_PAD)
        cap = b->max_bytes + BUF_PAD;
    if (cap < need)
        cap = need;
    char *p = realloc(b->p, cap);
    if (p == NULL)
        return false;
    b->p = p;
    b->cap = cap;
    return true;
}

bool buf_reserve(struct buf *b, size_t n)
{
    if (b->failed)
        return false;
    if (b->len > b->max_bytes || n > b->max_bytes - b->len)
        return fail(b);
    size_t need = b->len + n + BUF_PAD;
    if (need > b->cap && !grow(b, need))
        return fail(b);
    return true;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0 || !buf_reserve(b, n))
        return;
    memcpy(b->p + b->len, p, n);
    b->len += n;
}

void buf_str(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}

void buf_c(struct buf *b, const char *cstr)
{
    buf_add(b, cstr, strlen(cstr));
}

void buf_char(struct buf *b, char c)
{
    if (!buf_reserve(b, 1))
        return;
    b->p[b->len++] = c;
}

/* Digits and sign in one append, so that one that fails leaves no part of a number. */
static void add_decimal(struct buf *b, uint64_t size, bool negative)
{
    char text[21];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + size % 10);
        size /= 10;
    } while (size > 0);
    if (negative)
        text[--at] = '-';
    buf_add(b, text + at, sizeof text - at);
}

void buf_u64(struct buf *b, uint64_t v)
{
    add_decimal(b, v, false);
}

void buf_i64(struct buf *b, int64_t v)
{
    add_decimal(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    if (b->failed)
        return;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    size_t room = b->cap - b->len;
    int wanted = vsnprintf(room == 0 ? NULL : b->p + b->len, room, fmt, args);
    va_end(args);
    CHECK(wanted >= 0);
    size_t n = (size_t)wanted;
    size_t had = b->cap;
    if (buf_reserve(b, n)) { /* leaves BUF_PAD bytes beside n: the NUL fits */
        if (b->cap != had || n >= room)
            (void)vsnprintf(b->p + b->len, n + 1, fmt, again);
        b->len += n;
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t n)
{
    CHECK(n <= b->len);
    if (n == 0)
        return;
    b->len -= n;
    if (b->len > 0)
        memmove(b->p, b->p + n, b->len);
}

void buf_pad(struct buf *b)
{
    if (b->cap == 0) {
        bool has_room = grow(b, BUF_PAD);
        CHECK(has_room);
    }
    CHECK(b->cap - b->len >= BUF_PAD);
    memset(b->p + b->len, 0, BUF_PAD);
}

struct str buf_view(const struct buf *b)
{
    return (struct str){b->p == NULL ? "" : b->p, b->len};
}
