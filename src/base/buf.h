/* Growable bytes with a maximum given at init. A failed append sets `failed` and changes nothing else; further appends
 * are ignored, so that a writer checks once at the end. Always has 64 readable zero bytes behind `len` after buf_pad, for
 * readers that look ahead. Not thread-safe. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/str.h"

#define BUF_PAD 64

struct buf {
    char *p;
    size_t len, cap;
    size_t max_bytes;
    bool failed;
};

void buf_init(struct buf *b, size_t max_bytes);    /* allocates nothing */
void buf_done(struct buf *b);                      /* frees; the buf may be used again */
void buf_clear(struct buf *b);                     /* len 0, failed false, memory kept */
void buf_shrink(struct buf *b, size_t keep_bytes); /* after clear: gives memory back when cap is above keep_bytes */

/* Makes room for n more bytes (beside BUF_PAD). False: over the maximum or out of memory; failed is set. */
ATTR_MUST_USE bool buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_c(struct buf *b, const char *cstr);
void buf_char(struct buf *b, char c);
void buf_u64(struct buf *b, uint64_t v); /* decimal */
void buf_i64(struct buf *b, int64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) ATTR_PRINTF(2, 3);
void buf_consume(struct buf *b, size_t n); /* drops n bytes at the front */
void buf_pad(struct buf *b);               /* writes the zero bytes behind len (not counted in len) */
struct str buf_view(const struct buf *b);

#endif
