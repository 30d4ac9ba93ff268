/* Private to base: what the files of the JSON reader share. `at` pointers are always checked against r->end: the bytes behind it may be
 * anything (a binary tensor follows the JSON in some requests). */
#ifndef BASE_JSON_INT_H
#define BASE_JSON_INT_H

#include "base/json.h"
#include "base/num_int.h"

/* Fails at the given place: "path: text at byte N (line L, column C)". Returns false. Keeps the first error. */
bool json_error(struct json_reader *r, const char *place, const char *fmt, ...) ATTR_PRINTF(3, 4);

/* First byte of p..end that ends a plain run inside a string: a quote, a backslash, a control character; or end. Sets *high when a byte
 * above 127 may have been among them. */
const char *json_plain_run(const char *p, const char *end, bool *high);

/* p stands behind the opening quote. Checks the string and returns the closing quote, or NULL after an error. */
const char *json_scan_string(struct json_reader *r, const char *p, bool *has_escape);
/* Decodes the text of a checked string; out has room for n bytes (escapes only shrink). Returns the length. */
size_t json_decode_string(const char *p, size_t n, char *out);

/* Behind a number, literal or string; NULL: malformed (not reported). */
const char *json_skip_number(const char *p, const char *end);
/* Behind true, false, null and, if nan is set, NaN, Infinity, -Infinity; NULL: none of them. */
const char *json_skip_literal(const char *p, const char *end, bool nan);

/* The whole number that d stands for, as sign and magnitude; false when it has a fraction or is over 64 bits. */
bool json_whole(const struct num_decimal *d, uint64_t *magnitude);

/* json_runs.c: elements of one array, as far as they are plain. */
enum json_run_stop {
    JSON_RUN_AFTER, /* behind an element: a separator comes next */
    JSON_RUN_WANT   /* behind a comma: an element comes next that the run does not read */
};

struct json_run {
    const char *at, *end; /* at: moves behind what was read */
    unsigned char *out;   /* of max elements; json_run_count needs neither */
    size_t max, n;        /* n: elements that were read */
};

enum json_run_stop json_run_read(enum json_num type, struct json_run *run);
enum json_run_stop json_run_count(struct json_run *run); /* any scalar counts, nothing is stored */
bool json_is_float(enum json_num type);
size_t json_element_size(enum json_num type);                          /* bytes */
void json_put_float(enum json_num type, double v, unsigned char *out); /* v may be NaN or infinite */

static inline const char *json_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

#endif
