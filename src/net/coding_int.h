/* Content codings: gzip and deflate of request bodies, gzip of answers. One coder per server, kept between requests so that zlib's
 * tables are allocated once. A large body is decoded in steps, so that others are served between them. Not thread-safe. */
#ifndef NET_CODING_INT_H
#define NET_CODING_INT_H

#include <zlib.h>

#include "net/http.h"

/* Of input and of output in one step: about a millisecond. */
#define CODER_STEP_BYTES ((size_t)256 << 10)
#define CODER_MORE       (-1)

struct inflater; /* one body that is being decoded */

struct coder {
    z_stream deflater; /* private */
    bool has_deflater;
    size_t body_bytes_max;
    struct inflater *spare;
    struct buf out;
};

void coder_init(struct coder *c, size_t body_bytes_max);
void coder_done(struct coder *c);

/* Replaces body by its decoded form; coding is the value of Content-Encoding (p == NULL or "identity": nothing to do). The limit of
 * coder_init holds while inflating, so that a bomb costs no more than a body of that size. Returns 0, the status to refuse with, or
 * CODER_MORE: that was the first step, go on with coder_decode_more, whose *at is NULL again at the end. The body lies still meanwhile. */
int coder_decode(struct coder *c, struct str coding, struct buf *body, struct inflater **at, struct err *err);
int coder_decode_more(struct coder *c, struct inflater **at, struct buf *body, struct err *err);
/* Gives up what is in work; NULL: nothing is. */
void coder_forget(struct coder *c, struct inflater **at);

/* May the answer be gzip, by the value of Accept-Encoding (RFC 9110 12.5.3, q values honoured)? */
bool coding_accepts_gzip(struct str accept_encoding);
/* Is it text by its type, so that gzip pays? */
bool coding_is_text(struct str content_type);
/* Compresses parts into c->out, level 1. False when it does not pay or fails; then send the parts as they are. */
bool coder_gzip(struct coder *c, const struct str *parts, size_t parts_len, size_t total, struct str *out);

#endif
