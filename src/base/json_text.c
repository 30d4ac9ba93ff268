/* Strings, numbers and literals of JSON: scanning without moving the reader. */
#include "base/json_int.h"
#include "base/utf8.h"

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

/* High bit of the first byte equal to b (the bits of later bytes are not reliable). */
static uint64_t find_byte(uint64_t w, unsigned char b)
{
    uint64_t t = w ^ EACH_BYTE(b);
    return (t - EACH_BYTE(1)) & ~t & EACH_BYTE(0x80);
}

const char *json_plain_run(const char *p, const char *end, bool *high)
{
    uint64_t seen = 0;
    while (end - p >= 8) {
        uint64_t w = num_load8(p);
        uint64_t stop = find_byte(w, '"') | find_byte(w, '\\') | ((w - EACH_BYTE(0x20)) & ~w & EACH_BYTE(0x80));
        seen |= w;
        if (stop != 0) {
            *high = *high || (seen & EACH_BYTE(0x80)) != 0;
            return p + __builtin_ctzll(stop) / 8;
        }
        p += 8;
    }
    for (; p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20; p++)
        seen |= (unsigned char)*p;
    *high = *high || (seen & EACH_BYTE(0x80)) != 0;
    return p;
}

/* Four hex digits, or -1. */
static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int c = (unsigned char)p[i], d = num_is_digit(p[i]) ? c - '0' : (c | 0x20) - 'a' + 10;
        if (d < 0 || d > 15 || (!num_is_digit(p[i]) && d < 10))
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* p stands at a backslash. Returns the byte behind the escape, NULL after an error. */
static const char *scan_escape(struct json_reader *r, const char *p)
{
    if (r->end - p >= 2 && p[1] != 'u' && p[1] != '\0' && strchr("\"\\/bfnrt", p[1]))
        return p + 2;
    int unit = r->end - p >= 2 && p[1] == 'u' ? hex4(p + 2, r->end) : -1;
    if (unit < 0) {
        json_error(r, p, "unknown escape in a string");
        return NULL;
    }
    if (unit < 0xD800 || unit > 0xDFFF)
        return p + 6;
    int second = unit < 0xDC00 && r->end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, r->end) : -1;
    if (second < 0xDC00 || second > 0xDFFF) {
        json_error(r, p, "half of a surrogate pair in a string");
        return NULL;
    }
    return p + 12;
}

const char *json_scan_string(struct json_reader *r, const char *p, bool *has_escape)
{
    const char *first = p;
    bool high = false;
    *has_escape = false;
    for (;;) {
        p = json_plain_run(p, r->end, &high);
        if (p >= r->end) {
            json_error(r, first - 1, "a string without its closing quote");
            return NULL;
        }
        if (*p == '"')
            break;
        if (*p != '\\') {
            json_error(r, p, "control character 0x%02x in a string (write it as an escape)", (unsigned)*p);
            return NULL;
        }
        *has_escape = true;
        if (!(p = scan_escape(r, p)))
            return NULL;
    }
    size_t n = (size_t)(p - first);
    if (n > r->str_max) {
        json_error(r, first - 1, "a string of %zu bytes, at most %zu are allowed", n, r->str_max);
        return NULL;
    }
    size_t valid = high ? utf8_check((struct str){first, n}) : n;
    if (valid != n) {
        json_error(r, first + valid, "invalid UTF-8 in a string");
        return NULL;
    }
    return p;
}

size_t json_decode_string(const char *p, size_t n, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *end = p + n;
    char *o = out;
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((escape ? escape : end) - p);
        memcpy(o, p, plain);
        o += plain;
        if (!escape)
            break;
        p = escape + 2;
        if (escape[1] != 'u') {
            *o++ = to[strchr(from, escape[1]) - from];
            continue;
        }
        uint32_t cp = (uint32_t)hex4(p, end);
        p += 4;
        if (cp >= 0xD800 && cp <= 0xDBFF) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + ((uint32_t)hex4(p + 2, end) - 0xDC00);
            p += 6;
        }
        char bytes[4];
        size_t len = utf8_encode(cp, bytes);
        memcpy(o, bytes, len);
        o += len;
    }
    return (size_t)(o - out);
}

/* May read up to 8 bytes behind end (padding) but never returns more than end. */
static const char *skip_digits(const char *p, const char *end)
{
    while (p < end) {
        uint64_t non = num_nondigits(num_load8(p));
        if (non != 0) {
            p += __builtin_ctzll(non) / 8;
            break;
        }
        p += 8;
    }
    return p < end ? p : end;
}

const char *json_skip_number(const char *p, const char *end)
{
    p += p < end && *p == '-';
    if (p >= end || !num_is_digit(*p))
        return NULL;
    const char *first = p++;
    while (p < end && num_is_digit(*p))
        p++;
    if (*first == '0' && p > first + 1)
        return NULL;
    if (p < end && *p == '.') {
        const char *frac = p + 1;
        if ((p = skip_digits(frac, end)) == frac)
            return NULL;
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        p += p < end && (*p == '-' || *p == '+');
        const char *exponent = p;
        if ((p = skip_digits(exponent, end)) == exponent)
            return NULL;
    }
    return p;
}

const char *json_skip_literal(const char *p, const char *end, bool nan)
{
    static const struct str words[] = {{"true", 4}, {"false", 5},    {"null", 4},
                                       {"NaN", 3},  {"Infinity", 8}, {"-Infinity", 9}};
    size_t left = (size_t)(end - p);
    for (size_t i = 0; i < (nan ? ARRAY_LEN(words) : 3); i++)
        if (left >= words[i].n && memcmp(p, words[i].p, words[i].n) == 0)
            return p + words[i].n;
    return NULL;
}

bool json_whole(const struct num_decimal *d, uint64_t *magnitude)
{
    uint64_t v = d->mant;
    int e = d->exp10;
    if (v == 0) {
        *magnitude = 0;
        return true;
    }
    if (d->cut || e > 19)
        return false;
    for (; e < 0 && v % 10 == 0; e++)
        v /= 10;
    if (e < 0 || __builtin_mul_overflow(v, num_pow10_u64[e], &v))
        return false;
    *magnitude = v;
    return true;
}
