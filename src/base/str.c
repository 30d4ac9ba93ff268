#include "base/str.h"

#include <string.h>

/* memcmp and memchr must not get NULL even with length 0, and an empty str may have p == NULL. */
static int bytes_cmp(const char *a, const char *b, size_t n)
{
    return n == 0 ? 0 : memcmp(a, b, n);
}

static unsigned char lower(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && bytes_cmp(s.p, prefix.p, prefix.n) == 0;
}

bool str_ends(struct str s, struct str suffix)
{
    if (suffix.n == 0)
        return true;
    return s.n >= suffix.n && bytes_cmp(s.p + (s.n - suffix.n), suffix.p, suffix.n) == 0;
}

bool str_contains(struct str s, struct str part)
{
    if (part.n == 0)
        return true;
    return s.n >= part.n && memmem(s.p, s.n, part.p, part.n) != NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct str str_sub(struct str s, size_t from, size_t n)
{
    if (from >= s.n)
        return (struct str){s.n == 0 ? s.p : s.p + s.n, 0};
    size_t left = s.n - from;
    return (struct str){s.p + from, n < left ? n : left};
}

ptrdiff_t str_chr(struct str s, char c)
{
    const char *at = s.n == 0 ? NULL : memchr(s.p, c, s.n);
    return at == NULL ? -1 : at - s.p;
}

ptrdiff_t str_rchr(struct str s, char c)
{
    const char *at = s.n == 0 ? NULL : memrchr(s.p, c, s.n);
    return at == NULL ? -1 : at - s.p;
}

struct str str_cut(struct str s, char sep, struct str *rest)
{
    ptrdiff_t at = str_chr(s, sep);
    size_t head = at < 0 ? s.n : (size_t)at;
    struct str before = str_sub(s, 0, head);
    *rest = str_sub(s, at < 0 ? s.n : head + 1, s.n); /* after before: rest may be the caller's s */
    return before;
}

bool str_to_u64(struct str s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            return false;
    }
    *out = value;
    return true;
}

bool str_to_i64(struct str s, int64_t *out)
{
    uint64_t size;
    bool negative = s.n > 0 && s.p[0] == '-';
    if (!str_to_u64(negative ? str_sub(s, 1, s.n) : s, &size))
        return false;
    if (size > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *out = negative ? (int64_t)(0 - size) : (int64_t)size; /* wraps to INT64_MIN without a signed overflow */
    return true;
}

bool str_copy(char *out, size_t out_size, struct str s)
{
    if (out_size == 0)
        return false;
    size_t n = s.n < out_size ? s.n : out_size - 1;
    if (n > 0)
        memcpy(out, s.p, n);
    out[n] = '\0';
    return n == s.n;
}
