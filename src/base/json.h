/* JSON (RFC 8259) without a tree: a pull parser over bytes that lie in memory, and a writer into a buf.
 *
 * Reading. The input must have BUF_PAD readable bytes behind it (every buf has). The parser owns nothing, never
 * recurses, and remembers where it is for error texts. A typical object:
 *
 *     struct json_reader r;
 *     json_init(&r, text, JSON_DEPTH_MAX);
 *     struct str key;
 *     json_object(&r);
 *     while (json_key(&r, &key)) {
 *         if (str_eq_c(key, "id")) json_string(&r, arena, &id);
 *         else json_skip(&r, NULL);
 *     }
 *     if (json_end(&r) != ERR_OK) ... r.err has "inputs[0].data: expected a number at byte 81"
 *
 * Errors are sticky: after the first one every call returns false and does nothing, so that code checks once at the end.
 * Accepts NaN, Infinity and -Infinity where a float is read if allow_nan is set (Triton's clients send them).
 * Limits: depth (given, at most JSON_DEPTH_MAX), string length (str_max, default 64 MiB). Duplicate keys: json_key refuses them
 * in objects of up to 64 keys (error names the key); larger objects are the caller's to judge. Invalid UTF-8 and
 * control characters in strings are errors. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define JSON_DEPTH_MAX       100
#define JSON_KEYS_MAX        64  /* of one object, compared to find duplicates */
#define JSON_SEEN_MAX        256 /* the same over all objects open at a time */
#define JSON_KEY_ESCAPED_MAX 256

enum json_type { JSON_NONE, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_reader {
    const char *start, *at, *end;
    struct err err; /* text names path and byte offset, "line 3, column 7" for texts with newlines */
    bool failed;
    bool allow_nan;
    int depth, depth_max;
    size_t str_max;
    /* private: what is known of each open bracket, and the keys met so far in the open objects (to find duplicates) */
    uint32_t seen_len;
    struct json_level {
        struct str key; /* raw, for the path */
        uint32_t items, seen_from;
        bool is_object, is_first;
    } levels[JSON_DEPTH_MAX + 1];
    struct json_seen {
        const char *key; /* raw text behind the opening quote */
        uint32_t len, hash;
    } seen[JSON_SEEN_MAX];
    char key_text[JSON_KEY_ESCAPED_MAX]; /* the last key that had escapes, decoded */
};

void json_init(struct json_reader *r, struct str text, int depth_max);
enum json_type json_peek(struct json_reader *r); /* type of the next value; JSON_NONE at an end or after an error */

bool json_object(struct json_reader *r); /* enters; then json_key until it returns false (which leaves) */
/* The key is borrowed: the input's own bytes when it has no escapes, else decoded in the reader and valid until the next such key (one
 * with escapes and over JSON_KEY_ESCAPED_MAX bytes is refused). */
bool json_key(struct json_reader *r, struct str *key);
bool json_array(struct json_reader *r); /* enters; then json_item until it returns false (which leaves) */
bool json_item(struct json_reader *r);

bool json_null(struct json_reader *r);
bool json_bool(struct json_reader *r, bool *out);
bool json_i64(struct json_reader *r, int64_t *out); /* refuses fractions and what does not fit; 3.0 and 1e3 are taken */
bool json_u64(struct json_reader *r, uint64_t *out);
bool json_f64(struct json_reader *r, double *out);
/* Borrowed from the input when it has no escapes, else decoded into the arena. */
bool json_string(struct json_reader *r, struct arena *a, struct str *out);
/* Skips one value of any kind (checked for syntax). raw, if not NULL, receives its text. */
bool json_skip(struct json_reader *r, struct str *raw);
/* Nothing but white space may follow. Returns r->err.code or ERR_OK. */
enum err_code json_end(struct json_reader *r);
/* Reports an error of meaning at the current place: "inputs[0].shape: must be positive". Returns false. */
bool json_fail(struct json_reader *r, enum err_code code, const char *fmt, ...) ATTR_PRINTF(3, 4);

/* Number arrays, the hot path. Reads the values of the array that comes next, nested to any shape and taken flat in row-major order,
 * into out (capacity max elements). More than max: error naming both numbers. Each element type checks its range: 300 into
 * uint8 is an error that names the element. *count receives how many were read. If shape is not NULL it must have room for
 * JSON_SHAPE_MAX sizes: it receives the nesting's shape, ragged nesting is an error; with NULL ragged nesting is accepted. */
#define JSON_SHAPE_MAX 8
struct json_shape {
    int ndim;
    uint64_t dims[JSON_SHAPE_MAX];
};
enum json_num {
    JSON_F32,
    JSON_F64,
    JSON_F16,
    JSON_BF16,
    JSON_I8,
    JSON_I16,
    JSON_I32,
    JSON_I64,
    JSON_U8,
    JSON_U16,
    JSON_U32,
    JSON_U64,
    JSON_BOOL8
};
bool json_numbers(struct json_reader *r, enum json_num type, void *out, size_t max, size_t *count,
                  struct json_shape *shape);
/* Shape and count of the nested array that comes next without moving (strings count as elements too). */
bool json_measure(struct json_reader *r, struct json_shape *shape, size_t *count);
/* The same, and moves behind the array: json_skip that also counts. raw receives its text. */
bool json_measure_skip(struct json_reader *r, struct json_shape *shape, size_t *count, struct str *raw);

/* Writing. Commas and colons are the writer's work. Strings are escaped; invalid UTF-8 bytes become U+FFFD. */
struct json_writer {
    struct buf *out;
    uint64_t has_item[2]; /* one bit for each level */
    int depth;
    bool after_key;
};

void jw_init(struct json_writer *w, struct buf *out);
void jw_object(struct json_writer *w);
void jw_object_end(struct json_writer *w);
void jw_array(struct json_writer *w);
void jw_array_end(struct json_writer *w);
void jw_key(struct json_writer *w, const char *key); /* a constant, escaped all the same */
void jw_key_str(struct json_writer *w, struct str key);
void jw_str(struct json_writer *w, struct str s);
void jw_c(struct json_writer *w, const char *s);
void jw_u64(struct json_writer *w, uint64_t v);
void jw_i64(struct json_writer *w, int64_t v);
void jw_f64(struct json_writer *w, double v); /* NaN and infinities: bare tokens, as Triton's clients read */
void jw_f32(struct json_writer *w, float v);
void jw_bool(struct json_writer *w, bool v);
void jw_null(struct json_writer *w);
void jw_raw(struct json_writer *w, struct str json); /* trusted JSON text */
/* count numbers, flat, as one array. */
void jw_numbers(struct json_writer *w, enum json_num type, const void *data, size_t count);
/* The same nested by shape (for /predict): dims[0] x dims[1] x ...; ndim 0 writes one scalar. */
void jw_numbers_nested(struct json_writer *w, enum json_num type, const void *data, const int64_t *dims, int ndim);

/* Key and value in one call. */
void jw_kv_str(struct json_writer *w, const char *key, struct str v);
void jw_kv_c(struct json_writer *w, const char *key, const char *v);
void jw_kv_u64(struct json_writer *w, const char *key, uint64_t v);
void jw_kv_i64(struct json_writer *w, const char *key, int64_t v);
void jw_kv_f64(struct json_writer *w, const char *key, double v);
void jw_kv_bool(struct json_writer *w, const char *key, bool v);

#endif
