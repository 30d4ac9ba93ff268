/* Decoder of the chunked transfer coding (RFC 9112 7.1), strict: CRLF everywhere, hex digits only, no spaces, extensions and
 * trailers bounded, checked and dropped. Bytes in, body out, no I/O. */
#ifndef NET_CHUNKED_INT_H
#define NET_CHUNKED_INT_H

#include "net/server.h"

enum chunked_state {
    CHUNKED_SIZE,
    CHUNKED_EXTENSION,
    CHUNKED_SIZE_LF,
    CHUNKED_DATA,
    CHUNKED_DATA_CR,
    CHUNKED_DATA_LF,
    CHUNKED_TRAILER,
    CHUNKED_DONE
};

struct chunked { /* zeroed before the first byte */
    enum chunked_state state;
    int digits;             /* of the size being read */
    uint64_t left;          /* bytes of the chunk still to come */
    uint32_t chunks;        /* read so far */
    size_t extension_bytes; /* of the whole body */
    char extension_at;      /* 'n' name, 'v' value of an extension; 'N', 'V': its first byte must come */
    size_t trailer_bytes, trailers;
};

/* Takes from *in (moving it) until it is empty or the body is complete; body bytes are appended to out, line is scratch space that
 * holds a cut trailer line between calls. Returns 0, or the status to refuse with. */
int chunked_feed(struct chunked *c, struct str *in, struct buf *out, struct buf *line, const struct server_limits *l,
                 struct err *err);

#endif
