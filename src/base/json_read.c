/* The pull parser. State is one struct json_level per open bracket; nothing recurses. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/json_int.h"

#define STR_MAX_DEFAULT (UINT64_C(64) << 20)

void json_init(struct json_reader *r, struct str text, int depth_max)
{
    CHECK(depth_max > 0 && depth_max <= JSON_DEPTH_MAX);
    r->start = r->at = text.p;
    r->end = text.p + text.n;
    r->err.code = ERR_OK;
    r->err.text[0] = r->err.remedy[0] = '\0';
    r->failed = r->allow_nan = false;
    r->depth = 0;
    r->depth_max = depth_max;
    r->str_max = STR_MAX_DEFAULT;
    r->seen_len = 0;
}

/* A piece of a key for an error text, cut between characters. */
static int key_piece(struct str key)
{
    size_t n = key.n < 48 ? key.n : 48;
    while (n > 0 && n < key.n && (key.p[n] & 0xC0) == 0x80)
        n--;
    return (int)n;
}

/* "inputs[0].data" */
static void write_path(const struct json_reader *r, char *out, size_t out_size)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 1; i <= r->depth && at + 80 < out_size; i++) {
        const struct json_level *lv = &r->levels[i];
        int n = 0;
        if (!lv->is_object && lv->items > 0)
            n = snprintf(out + at, out_size - at, "[%u]", lv->items - 1);
        else if (lv->is_object && lv->key.n > 0)
            n = snprintf(out + at, out_size - at, "%s%.*s", at ? "." : "", key_piece(lv->key), lv->key.p);
        at += n > 0 ? (size_t)n : 0;
    }
}

ATTR_PRINTF(4, 0)
static void fail(struct json_reader *r, enum err_code code, const char *place, const char *fmt, va_list args)
{
    char path[200], text[240];
    write_path(r, path, sizeof path);
    (void)vsnprintf(text, sizeof text, fmt, args); /* a long text is cut */
    r->failed = true;
    const char *colon = path[0] ? ": " : "";
    if (!place) {
        err_set(&r->err, code, "%s%s%s", path, colon, text);
        return;
    }
    size_t byte = (size_t)(place - r->start), lines = 0;
    const char *line = r->start;
    for (const char *p; (p = memchr(line, '\n', (size_t)(place - line))); line = p + 1)
        lines++;
    if (lines > 0)
        err_set(&r->err, code, "%s%s%s at byte %zu (line %zu, column %zu)", path, colon, text, byte, lines + 1,
                (size_t)(place - line) + 1);
    else
        err_set(&r->err, code, "%s%s%s at byte %zu", path, colon, text, byte);
}

bool json_error(struct json_reader *r, const char *place, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (!r->failed)
        fail(r, ERR_INVALID, place, fmt, args);
    va_end(args);
    return false;
}

bool json_fail(struct json_reader *r, enum err_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (!r->failed)
        fail(r, code, NULL, fmt, args);
    va_end(args);
    return false;
}

static bool expected(struct json_reader *r, const char *what)
{
    if (r->at >= r->end)
        return json_error(r, r->at, "expected %s, but the text ends", what);
    unsigned char c = (unsigned char)*r->at;
    if (c > 0x20 && c < 0x7F)
        return json_error(r, r->at, "expected %s, found '%c'", what, c);
    return json_error(r, r->at, "expected %s, found byte 0x%02x", what, c);
}

/* To the next byte that is not white space: true when there is one. */
static bool advance(struct json_reader *r)
{
    if (r->failed)
        return false;
    r->at = json_space(r->at, r->end);
    return r->at < r->end;
}

static bool next_is(struct json_reader *r, char c)
{
    return advance(r) && *r->at == c;
}

enum json_type json_peek(struct json_reader *r)
{
    if (!advance(r))
        return JSON_NONE;
    switch (*r->at) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    case 'N':
    case 'I':
        return r->allow_nan ? JSON_NUMBER : JSON_NONE;
    default:
        return *r->at == '-' || num_is_digit(*r->at) ? JSON_NUMBER : JSON_NONE;
    }
}

static bool enter(struct json_reader *r, char bracket, const char *what)
{
    if (!next_is(r, bracket))
        return !r->failed && expected(r, what);
    if (r->depth >= r->depth_max)
        return json_error(r, r->at, "nested deeper than %d levels", r->depth_max);
    r->at++;
    r->levels[++r->depth] =
        (struct json_level){.is_object = bracket == '{', .is_first = true, .seen_from = r->seen_len};
    return true;
}

bool json_object(struct json_reader *r)
{
    return enter(r, '{', "an object");
}

bool json_array(struct json_reader *r)
{
    return enter(r, '[', "an array");
}

/* The comma or bracket before an item. False: the bracket closed (left), or an error. */
static bool next_item(struct json_reader *r, char bracket, const char *what)
{
    struct json_level *lv = &r->levels[r->depth];
    if (next_is(r, bracket)) {
        r->at++;
        r->seen_len = lv->seen_from;
        r->depth--;
        return false;
    }
    if (r->failed)
        return false;
    bool is_first = lv->is_first;
    lv->is_first = false;
    if (is_first)
        return true;
    if (!next_is(r, ','))
        return expected(r, what);
    r->at++;
    if (next_is(r, bracket))
        return json_error(r, r->at, "a comma before '%c'", bracket);
    return true;
}

bool json_item(struct json_reader *r)
{
    if (r->failed)
        return false;
    CHECK(r->depth > 0 && !r->levels[r->depth].is_object);
    if (!next_item(r, ']', "',' or ']'"))
        return false;
    r->levels[r->depth].items++;
    return true;
}

/* Is the key that lies raw at s the same text as `key` (decoded)? */
static bool same_key(const struct json_seen *s, struct str key)
{
    char text[JSON_KEY_ESCAPED_MAX];
    struct str old = {s->key, s->len};
    if (memchr(s->key, '\\', s->len)) {
        if (s->len > sizeof text)
            return false;
        old = (struct str){text, json_decode_string(s->key, s->len, text)};
    }
    return str_eq(old, key);
}

static bool remember_key(struct json_reader *r, struct str raw, struct str key)
{
    const struct json_level *lv = &r->levels[r->depth];
    if (r->seen_len - lv->seen_from >= JSON_KEYS_MAX || r->seen_len >= JSON_SEEN_MAX || raw.n > UINT32_MAX)
        return true;
    uint32_t hash = (uint32_t)hash64(key.p, key.n, 0);
    for (uint32_t i = lv->seen_from; i < r->seen_len; i++)
        if (r->seen[i].hash == hash && same_key(&r->seen[i], key))
            return json_error(r, raw.p - 1, "the key \"%.*s\" stands here twice", key_piece(raw), raw.p);
    r->seen[r->seen_len++] = (struct json_seen){raw.p, (uint32_t)raw.n, hash};
    return true;
}

bool json_key(struct json_reader *r, struct str *key)
{
    if (r->failed)
        return false;
    struct json_level *lv = &r->levels[r->depth];
    CHECK(r->depth > 0 && lv->is_object);
    lv->key = (struct str){NULL, 0};
    if (!next_item(r, '}', "',' or '}'"))
        return false;
    if (!next_is(r, '"'))
        return expected(r, "a key in double quotes");
    bool has_escape;
    const char *first = ++r->at, *quote = json_scan_string(r, first, &has_escape);
    if (!quote)
        return false;
    struct str raw = {first, (size_t)(quote - first)}, text = raw;
    if (has_escape) {
        if (raw.n > sizeof r->key_text)
            return json_error(r, first - 1, "a key with escapes and over %zu bytes", sizeof r->key_text);
        text = (struct str){r->key_text, json_decode_string(raw.p, raw.n, r->key_text)};
    }
    r->at = quote + 1;
    if (!remember_key(r, raw, text))
        return false;
    if (!next_is(r, ':'))
        return expected(r, "':' behind the key");
    r->at++;
    lv->key = raw;
    lv->items++;
    *key = text;
    return true;
}

static bool literal(struct json_reader *r, const char *word, size_t n)
{
    if (!advance(r) || (size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
        return false;
    r->at += n;
    return true;
}

bool json_null(struct json_reader *r)
{
    return literal(r, "null", 4) || (!r->failed && expected(r, "null"));
}

bool json_bool(struct json_reader *r, bool *out)
{
    bool is_true = literal(r, "true", 4);
    if (!is_true && !literal(r, "false", 5))
        return !r->failed && expected(r, "true or false");
    *out = is_true;
    return true;
}

/* A whole number; what names it in errors. */
static bool whole(struct json_reader *r, const char *what, bool *negative, uint64_t *magnitude)
{
    struct num_decimal d;
    const char *stop = advance(r) ? num_scan(r->at, r->end, &d) : NULL;
    if (!stop)
        return !r->failed && expected(r, what);
    if (!json_whole(&d, magnitude))
        return json_error(r, r->at, "expected %s, found %.*s", what, (int)(stop - r->at < 40 ? stop - r->at : 40),
                          r->at);
    *negative = d.negative && *magnitude != 0;
    r->at = stop;
    return true;
}

bool json_i64(struct json_reader *r, int64_t *out)
{
    bool negative = false;
    uint64_t v = 0;
    const char *place = r->at;
    if (!whole(r, "a whole number of 64 bits", &negative, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + negative)
        return json_error(r, json_space(place, r->end), "a number outside the range of 64 bits");
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool json_u64(struct json_reader *r, uint64_t *out)
{
    bool negative = false;
    uint64_t v = 0;
    const char *place = r->at;
    if (!whole(r, "a whole number, not negative, of 64 bits", &negative, &v))
        return false;
    if (negative)
        return json_error(r, json_space(place, r->end), "a negative number where none is allowed");
    *out = v;
    return true;
}

bool json_f64(struct json_reader *r, double *out)
{
    if (!advance(r))
        return !r->failed && expected(r, "a number");
    double v;
    const char *stop = num_parse_f64(r->at, r->end, &v);
    if (stop && isinf(v))
        return json_error(r, r->at, "a number outside the range of a double");
    if (!stop && r->allow_nan && (*r->at == 'N' || *r->at == 'I' || *r->at == '-')) {
        v = *r->at == 'N' ? (double)NAN : *r->at == '-' ? -(double)INFINITY : (double)INFINITY;
        stop = json_skip_literal(r->at, r->end, true);
    }
    if (!stop)
        return expected(r, "a number");
    r->at = stop;
    *out = v;
    return true;
}

bool json_string(struct json_reader *r, struct arena *a, struct str *out)
{
    if (!next_is(r, '"'))
        return !r->failed && expected(r, "a string");
    bool has_escape;
    const char *first = r->at + 1, *quote = json_scan_string(r, first, &has_escape);
    if (!quote)
        return false;
    struct str text = {first, (size_t)(quote - first)};
    if (has_escape) {
        char *copy = arena_try_alloc(a, text.n);
        if (!copy)
            return json_fail(r, ERR_TOO_LARGE, "a string of %zu bytes does not fit in this request's memory", text.n);
        text = (struct str){copy, json_decode_string(first, text.n, copy)};
    }
    r->at = quote + 1;
    *out = text;
    return true;
}

enum err_code json_end(struct json_reader *r)
{
    if (advance(r))
        expected(r, "nothing behind the value");
    return r->failed ? r->err.code : ERR_OK;
}
