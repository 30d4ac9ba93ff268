#include "base/utf8.h"

#include <string.h>

#include "base/check.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

static size_t skip_ascii(const unsigned char *p, size_t at, size_t n)
{
    while (n - at >= 8) {
        uint64_t word;
        memcpy(&word, p + at, 8);
        if (word & HIGH_BITS)
            break;
        at += 8;
    }
    while (at < n && p[at] < 0x80)
        at++;
    return at;
}

/* Length of the valid sequence that starts at p[0] >= 0x80, or 0. The range of the second byte depends on the first: that is where
 * overlong forms, surrogates and values above U+10FFFF are kept out (RFC 3629, section 4). */
static size_t sequence_len(const unsigned char *p, size_t n)
{
    unsigned char lead = p[0], low = 0x80, high = 0xBF;
    size_t len;
    if (lead >= 0xC2 && lead <= 0xDF) {
        len = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        len = 3;
        low = lead == 0xE0 ? 0xA0 : low;
        high = lead == 0xED ? 0x9F : high;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        len = 4;
        low = lead == 0xF0 ? 0x90 : low;
        high = lead == 0xF4 ? 0x8F : high;
    } else {
        return 0;
    }
    if (n < len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

size_t utf8_check(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t at = 0;
    while (at < s.n) {
        at = skip_ascii(p, at, s.n);
        if (at == s.n)
            break;
        size_t len = sequence_len(p + at, s.n - at);
        if (len == 0)
            return at;
        at += len;
    }
    return at;
}

size_t utf8_len(struct str s)
{
    if (s.n == 0)
        return 0;
    return (unsigned char)s.p[0] < 0x80 ? 1 : sequence_len((const unsigned char *)s.p, s.n);
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    CHECK(cp <= 0x10FFFF && !(cp >= 0xD800 && cp <= 0xDFFF));
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

size_t utf8_cut(struct str s, size_t max)
{
    if (s.n <= max)
        return s.n;
    size_t at = max;
    for (int back = 0; back < 3 && at > 0 && ((unsigned char)s.p[at] & 0xC0) == 0x80; back++)
        at--;
    bool found_start = ((unsigned char)s.p[at] & 0xC0) != 0x80;
    return found_start ? at : max; /* a run of continuation bytes is no text: cut anywhere */
}
