/* Borrowed text: a pointer and a length, not NUL-terminated. Owns nothing; whoever keeps one copies it (arena_str_dup).
 * All functions are pure and bounded by the lengths given. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
/* For printf: printf("%.*s", STR_F(s)) */
#define STR_F(s) (int)(s).n, (s).p

/* Here, since the length of a constant is known to the compiler then, and a short comparison is one instruction. NULL gives the empty string. */
static inline struct str str_c(const char *cstr)
{
    return (struct str){cstr ? cstr : "", cstr ? strlen(cstr) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_eq_c(struct str a, const char *b)
{
    return str_eq(a, str_c(b));
}

bool str_eq_nocase(struct str a, struct str b); /* ASCII only */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_contains(struct str s, struct str part);
struct str str_trim(struct str s);                       /* spaces and tabs at both ends */
struct str str_sub(struct str s, size_t from, size_t n); /* clipped to s */
ptrdiff_t str_chr(struct str s, char c);                 /* index of the first c, or -1 */
ptrdiff_t str_rchr(struct str s, char c);
/* Cuts s at the first sep: returns what stands before it, moves *rest behind it. Without sep returns all, *rest empty. */
struct str str_cut(struct str s, char sep, struct str *rest);

/* Strict decimal numbers: digits only (one '-' for the signed one), whole string, range checked. False: *out untouched. */
ATTR_MUST_USE bool str_to_u64(struct str s, uint64_t *out);
ATTR_MUST_USE bool str_to_i64(struct str s, int64_t *out);

/* Copies into a fixed buffer with NUL, cutting what does not fit. Returns false when it cut. */
bool str_copy(char *out, size_t out_size, struct str s);

#endif
