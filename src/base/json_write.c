/* The writer: text goes straight into the buf; a failed buf makes every later call do nothing. */
#include "base/check.h"
#include "base/json_int.h"
#include "base/utf8.h"

#define LEVELS_MAX 127

void jw_init(struct json_writer *w, struct buf *out)
{
    *w = (struct json_writer){.out = out};
}

static void begin_value(struct json_writer *w)
{
    uint64_t bit = UINT64_C(1) << (w->depth % 64), *word = &w->has_item[w->depth / 64];
    if (w->after_key)
        w->after_key = false;
    else if (w->depth > 0 && (*word & bit) != 0)
        buf_char(w->out, ',');
    *word |= bit;
}

static void open_bracket(struct json_writer *w, char c)
{
    begin_value(w);
    CHECK(w->depth < LEVELS_MAX);
    w->depth++;
    w->has_item[w->depth / 64] &= ~(UINT64_C(1) << (w->depth % 64));
    buf_char(w->out, c);
}

static void close_bracket(struct json_writer *w, char c)
{
    CHECK(w->depth > 0 && !w->after_key);
    w->depth--;
    buf_char(w->out, c);
}

void jw_object(struct json_writer *w)
{
    open_bracket(w, '{');
}

void jw_object_end(struct json_writer *w)
{
    close_bracket(w, '}');
}

void jw_array(struct json_writer *w)
{
    open_bracket(w, '[');
}

void jw_array_end(struct json_writer *w)
{
    close_bracket(w, ']');
}

static void put_escape(struct buf *out, unsigned char c)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *hit = c ? strchr(plain, c) : NULL;
    if (hit) {
        buf_char(out, '\\');
        buf_char(out, letters[hit - plain]);
    } else {
        buf_printf(out, "\\u%04x", c);
    }
}

static void put_valid(struct buf *out, struct str s)
{
    const char *p = s.p, *end = s.p + s.n;
    bool high = false;
    while (p < end) {
        const char *stop = json_plain_run(p, end, &high);
        buf_add(out, p, (size_t)(stop - p));
        if (stop < end)
            put_escape(out, (unsigned char)*stop);
        p = stop + 1;
    }
}

static void put_string(struct buf *out, struct str s)
{
    buf_char(out, '"');
    while (s.n > 0) {
        size_t valid = utf8_check(s);
        put_valid(out, (struct str){s.p, valid});
        if (valid == s.n)
            break;
        buf_c(out, "\xEF\xBF\xBD"); /* U+FFFD */
        s.p += valid + 1;
        s.n -= valid + 1;
    }
    buf_char(out, '"');
}

void jw_key_str(struct json_writer *w, struct str key)
{
    begin_value(w);
    put_string(w->out, key);
    buf_char(w->out, ':');
    w->after_key = true;
}

void jw_key(struct json_writer *w, const char *key)
{
    jw_key_str(w, str_c(key));
}

void jw_str(struct json_writer *w, struct str s)
{
    begin_value(w);
    put_string(w->out, s);
}

void jw_c(struct json_writer *w, const char *s)
{
    jw_str(w, str_c(s));
}

void jw_u64(struct json_writer *w, uint64_t v)
{
    begin_value(w);
    buf_u64(w->out, v);
}

void jw_i64(struct json_writer *w, int64_t v)
{
    begin_value(w);
    buf_i64(w->out, v);
}

void jw_f64(struct json_writer *w, double v)
{
    char text[NUM_FLOAT_MAX];
    begin_value(w);
    buf_add(w->out, text, num_format_f64(v, text));
}

void jw_f32(struct json_writer *w, float v)
{
    char text[NUM_FLOAT_MAX];
    begin_value(w);
    buf_add(w->out, text, num_format_f32(v, text));
}

void jw_bool(struct json_writer *w, bool v)
{
    begin_value(w);
    buf_c(w->out, v ? "true" : "false");
}

void jw_null(struct json_writer *w)
{
    begin_value(w);
    buf_c(w->out, "null");
}

void jw_raw(struct json_writer *w, struct str json)
{
    begin_value(w);
    buf_str(w->out, json);
}

/* --- arrays of numbers ------------------------------------------------------------------------------------------------------ */

#define LOAD(type, p)                                                                                                  \
    __extension__({                                                                                                    \
        type load_v_;                                                                                                  \
        memcpy(&load_v_, (p), sizeof load_v_);                                                                         \
        load_v_;                                                                                                       \
    })

static size_t element_size(enum json_num type)
{
    switch (type) {
    case JSON_F64:
    case JSON_I64:
    case JSON_U64:
        return 8;
    case JSON_F32:
    case JSON_I32:
    case JSON_U32:
        return 4;
    case JSON_F16:
    case JSON_BF16:
    case JSON_I16:
    case JSON_U16:
        return 2;
    case JSON_I8:
    case JSON_U8:
    case JSON_BOOL8:
        return 1;
    }
    return 0;
}

static size_t format_bool(bool v, char *out)
{
    memcpy(out, v ? "true" : "false", 5);
    return v ? 4 : 5;
}

static size_t format_element(enum json_num type, const unsigned char *p, char *out)
{
    switch (type) {
    case JSON_F32:
        return num_format_f32(LOAD(float, p), out);
    case JSON_F64:
        return num_format_f64(LOAD(double, p), out);
    case JSON_F16:
        return num_format_f32(f16_to_f32(LOAD(uint16_t, p)), out);
    case JSON_BF16:
        return num_format_f32(bf16_to_f32(LOAD(uint16_t, p)), out);
    case JSON_I8:
        return num_format_i64(LOAD(int8_t, p), out);
    case JSON_I16:
        return num_format_i64(LOAD(int16_t, p), out);
    case JSON_I32:
        return num_format_i64(LOAD(int32_t, p), out);
    case JSON_I64:
        return num_format_i64(LOAD(int64_t, p), out);
    case JSON_U8:
        return num_format_u64(*p, out);
    case JSON_U16:
        return num_format_u64(LOAD(uint16_t, p), out);
    case JSON_U32:
        return num_format_u64(LOAD(uint32_t, p), out);
    case JSON_U64:
        return num_format_u64(LOAD(uint64_t, p), out);
    case JSON_BOOL8:
        return format_bool(*p != 0, out);
    }
    return 0;
}

/* Room is asked for some numbers at a time: rarely enough to be cheap, and never far beyond what is needed. */
#define NUMBERS_AT_ONCE 64

void jw_numbers(struct json_writer *w, enum json_num type, const void *data, size_t count)
{
    const unsigned char *p = data;
    size_t size = element_size(type);
    struct buf *out = w->out;
    jw_array(w);
    for (size_t done = 0; done < count;) {
        size_t n = count - done < NUMBERS_AT_ONCE ? count - done : NUMBERS_AT_ONCE;
        if (!buf_reserve(out, n * (NUM_FLOAT_MAX + 1)))
            return;
        char *o = out->p + out->len;
        for (size_t i = 0; i < n; i++, p += size) {
            if (done + i > 0)
                *o++ = ',';
            o += format_element(type, p, o);
        }
        out->len = (size_t)(o - out->p);
        done += n;
    }
    jw_array_end(w);
}

void jw_numbers_nested(struct json_writer *w, enum json_num type, const void *data, const int64_t *dims, int ndim)
{
    const unsigned char *p = data;
    size_t size = element_size(type);
    CHECK(ndim >= 0 && ndim <= JSON_SHAPE_MAX);
    if (ndim == 0) {
        char text[NUM_FLOAT_MAX];
        begin_value(w);
        buf_add(w->out, text, format_element(type, p, text));
        return;
    }
    int64_t index[JSON_SHAPE_MAX] = {0};
    int level = 0;
    for (;;) { /* an odometer over all dimensions but the last, which is written as a run */
        if (level == ndim - 1) {
            jw_numbers(w, type, p, (size_t)dims[level]);
            p += (size_t)dims[level] * size;
        } else if (index[level] == 0) {
            jw_array(w);
        }
        while (level == ndim - 1 || index[level] == dims[level]) {
            if (level < ndim - 1)
                jw_array_end(w);
            if (level == 0 || w->out->failed)
                return;
            level--;
        }
        index[level]++;
        level++;
        if (level < ndim - 1)
            index[level] = 0;
    }
}

void jw_kv_str(struct json_writer *w, const char *key, struct str v)
{
    jw_key(w, key);
    jw_str(w, v);
}

void jw_kv_c(struct json_writer *w, const char *key, const char *v)
{
    jw_key(w, key);
    jw_c(w, v);
}

void jw_kv_u64(struct json_writer *w, const char *key, uint64_t v)
{
    jw_key(w, key);
    jw_u64(w, v);
}

void jw_kv_i64(struct json_writer *w, const char *key, int64_t v)
{
    jw_key(w, key);
    jw_i64(w, v);
}

void jw_kv_f64(struct json_writer *w, const char *key, double v)
{
    jw_key(w, key);
    jw_f64(w, v);
}

void jw_kv_bool(struct json_writer *w, const char *key, bool v)
{
    jw_key(w, key);
    jw_bool(w, v);
}
