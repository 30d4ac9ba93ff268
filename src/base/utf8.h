/* UTF-8 by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/str.h"

/* Index of the first byte that is not valid UTF-8, or s.n when all is. ASCII runs are checked a word at a time. */
size_t utf8_check(struct str s);
/* Bytes of the valid character at the start of s; 0 when there is none. */
size_t utf8_len(struct str s);
/* Writes 1 to 4 bytes, returns how many; cp must be valid. */
size_t utf8_encode(uint32_t cp, char out[4]);

/* The longest length <= max at which s can be cut without splitting a character. Also for text that is not valid UTF-8:
 * never goes back more than 3 bytes. */
size_t utf8_cut(struct str s, size_t max);

#endif
