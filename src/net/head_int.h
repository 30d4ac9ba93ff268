/* The head of an HTTP/1 request: bytes in, meaning out, no I/O.
 *
 * Two readers look at every head: ours, which is strict about each byte and each form of framing, and llhttp. Only what both
 * accept, with the same method, target, version, number of headers and framing, is a request; all else is refused. */
#ifndef NET_HEAD_INT_H
#define NET_HEAD_INT_H

#include "net/http.h"
#include "net/server.h"

enum head_found { HEAD_MORE, HEAD_FOUND, HEAD_BAD_LINE_END, HEAD_TOO_MANY_LINES };

/* Progress of the search for the end of a head; zeroed before the first byte. */
struct head_scan {
    size_t at;    /* bytes looked at; once found: length of the head with its empty line */
    size_t line;  /* where the current line begins */
    size_t lines; /* complete lines, the request line included */
    size_t skip;  /* 2 when an empty line stood before the request line (RFC 9112 2.2), else 0 */
};

/* p, n: all bytes from the head's first one on; may grow between calls. */
enum head_found head_find_end(struct head_scan *s, const char *p, size_t n, size_t lines_max);

enum head_framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED };

struct head {
    enum http_method method;
    int minor;    /* HTTP/1.minor */
    size_t bytes; /* all of it */
    struct str path, query;
    struct http_header *headers;
    size_t headers_len;
    enum head_framing framing;
    uint64_t length; /* FRAMING_LENGTH */
    bool keep_alive, expects_continue;
    /* Headers that the server itself reads; p == NULL: absent. */
    struct str host, content_length, transfer_encoding, content_encoding, content_type, accept_encoding, expect,
        authorization, request_id, traceparent;
    bool has_close, has_keep_alive;
};

/* text: the whole head from the request line to the empty line, in memory that lives as long as *h; header names are lowered
 * in place. lines: as counted by head_find_end. Returns 0, or the status to refuse with. On refusal h has what was
 * understood until then (method, path), for the log. */
int head_parse(struct head *h, char *text, size_t n, size_t lines, struct arena *a, struct err *err);

/* Checks one header or trailer line without its CRLF and splits it; lowers the name in place. line_no is for texts. */
int head_split_line(char *line, size_t n, size_t line_no, struct http_header *out, struct err *err);

#endif
