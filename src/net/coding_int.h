/* Content codings: gzip and deflate of request bodies, gzip of answers. One coder per server, kept between requests so that zlib's
 * tables are allocated once. Not thread-safe. */
#ifndef NET_CODING_INT_H
#define NET_CODING_INT_H

#include <zlib.h>

#include "net/http.h"

struct coder {
    z_stream inflater, deflater; /* private */
    bool has_inflater, has_deflater;
    struct buf out;
};

void coder_init(struct coder *c, size_t body_bytes_max);
void coder_done(struct coder *c);

/* Replaces body by its decoded form; coding is the value of Content-Encoding (p == NULL or "identity": nothing to do). The limit of
 * coder_init holds while inflating, so that a bomb costs no more than a body of that size. Returns 0, or the status to refuse with. */
int coder_decode(struct coder *c, struct str coding, struct buf *body, struct err *err);

/* May the answer be gzip, by the value of Accept-Encoding (RFC 9110 12.5.3, q values honoured)? */
bool coding_accepts_gzip(struct str accept_encoding);
/* Is it text by its type, so that gzip pays? */
bool coding_is_text(struct str content_type);
/* Compresses parts into c->out, level 1. False when it does not pay or fails; then send the parts as they are. */
bool coder_gzip(struct coder *c, const struct str *parts, size_t parts_len, size_t total, struct str *out);

#endif
