/* Base64 of RFC 4648, the standard alphabet; padding may be left out. Pure. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/str.h"

/* Bytes that text decodes to at most. */
size_t base64_bound(size_t text_bytes);
/* out has room for base64_bound(text.n). False: *len is where the first character stands that does not belong there. */
ATTR_MUST_USE bool base64_decode(struct str text, char *out, size_t *len);

#endif
