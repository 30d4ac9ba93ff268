/* Classes of bytes in HTTP/1 (RFC 9110, 9112), as tables. */
#ifndef NET_CHARS_INT_H
#define NET_CHARS_INT_H

#include "base/str.h"

/* Lower-case form of a token byte (tchar of RFC 9110 5.6.2); 0 for every byte that no token may hold. */
extern const unsigned char chars_token_lower[256];

static inline bool char_is_token(char c)
{
    return chars_token_lower[(unsigned char)c] != 0;
}

/* field-value: visible bytes, space, tab and obs-text; no control bytes, no DEL. */
static inline bool char_is_value(char c)
{
    unsigned char u = (unsigned char)c;
    return (u >= 0x20 && u != 0x7f) || u == '\t';
}

/* What a request target may hold: visible ASCII. Its structure is target.c's to check. */
static inline bool char_is_target(char c)
{
    return c > 0x20 && c < 0x7f;
}

/* 0 to 15, or -1. */
static inline int char_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

#endif
