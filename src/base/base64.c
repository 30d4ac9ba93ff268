#include "base/base64.h"

size_t base64_bound(size_t text_bytes)
{
    return text_bytes / 4 * 3 + 3;
}

/* 64: not one of them. */
static unsigned value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool base64_decode(struct str text, char *out, size_t *len)
{
    size_t n = 0, at = 0;
    uint32_t bits = 0;
    for (; at < text.n && text.p[at] != '='; at++) {
        unsigned v = value_of(text.p[at]);
        if (v == 64) {
            *len = at;
            return false;
        }
        bits = bits << 6 | v;
        if (at % 4 > 0)
            out[n++] = (char)(unsigned char)(bits >> (6 - at % 4 * 2));
    }
    size_t left = text.n - at, needed = (4 - at % 4) % 4;
    bool is_padded = left == needed && needed < 3 && (left < 2 || text.p[at + 1] == '=');
    bool spare_bits = at % 4 > 0 && (bits & (at % 4 == 2 ? 15u : 3u)) != 0;
    *len = at;
    if (at % 4 == 1 || spare_bits || (left > 0 && !is_padded))
        return false;
    *len = n;
    return true;
}
