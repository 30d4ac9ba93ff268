/* "number, number, number" at one level of nesting: the hot path of arrays, compiled once for each kind of element that is frequent. Brackets, literals and
 * errors are not its business (json_numbers.c). */
#include <math.h>

#include "base/json_int.h"

/* --- one element ------------------------------------------------------------------------------------------------------------ */

/* double to float by "round to odd": the lost bits stay visible in the lowest one, so that a second rounding, to 16 bits, is exact. */
static float odd_f32(double v)
{
    float f = (float)v;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((double)f != v && !isinf(f) && (u & 1) == 0) {
        bool above = fabs((double)f) > fabs(v);
        u = above ? u - 1 : u + 1;
        memcpy(&f, &u, sizeof f);
    }
    return f;
}

static const int64_t int_min[] = {
    [JSON_I8] = INT8_MIN, [JSON_I16] = INT16_MIN, [JSON_I32] = INT32_MIN, [JSON_I64] = INT64_MIN, [JSON_BOOL8] = 0};
static const uint64_t int_max[] = {[JSON_I8] = INT8_MAX,    [JSON_I16] = INT16_MAX,  [JSON_I32] = INT32_MAX,
                                   [JSON_I64] = INT64_MAX,  [JSON_U8] = UINT8_MAX,   [JSON_U16] = UINT16_MAX,
                                   [JSON_U32] = UINT32_MAX, [JSON_U64] = UINT64_MAX, [JSON_BOOL8] = 1};
static const uint8_t element_size[] = {
    [JSON_F32] = 4, [JSON_F64] = 8, [JSON_F16] = 2, [JSON_BF16] = 2, [JSON_I8] = 1,  [JSON_I16] = 2,  [JSON_I32] = 4,
    [JSON_I64] = 8, [JSON_U8] = 1,  [JSON_U16] = 2, [JSON_U32] = 4,  [JSON_U64] = 8, [JSON_BOOL8] = 1};

size_t json_element_size(enum json_num type)
{
    return element_size[type];
}

bool json_is_float(enum json_num type)
{
    return type == JSON_F32 || type == JSON_F64 || type == JSON_F16 || type == JSON_BF16;
}

void json_put_float(enum json_num type, double v, unsigned char *out)
{
    float f = (float)v;
    uint16_t h = type == JSON_F16 ? f32_to_f16(odd_f32(v)) : type == JSON_BF16 ? f32_to_bf16(odd_f32(v)) : 0;
    if (type == JSON_F32)
        memcpy(out, &f, sizeof f);
    else if (type == JSON_F64)
        memcpy(out, &v, sizeof v);
    else
        memcpy(out, &h, sizeof h);
}

static bool half_in_range(enum json_num type, const unsigned char *out)
{
    uint16_t h, infinity = type == JSON_F16 ? 0x7C00 : 0x7F80;
    memcpy(&h, out, sizeof h);
    return (h & 0x7FFF) < infinity;
}

/* Whole numbers of up to 18 digits; anything else goes through the decimal scanner. */
static inline const char *scan_int(const char *p, const char *end, bool *negative, uint64_t *magnitude)
{
    const char *start = p;
    *negative = *p == '-';
    p += *negative;
    const char *first = p, *limit = p + 18;
    uint64_t v = 0;
    while (num_is_digit(*p) && p < limit)
        v = v * 10 + (uint64_t)(*p++ - '0');
    bool plain = p > first && p <= end && (*first != '0' || p == first + 1);
    if (UNLIKELY(!plain || num_is_digit(*p) || *p == '.' || (*p | 0x20) == 'e')) {
        struct num_decimal d;
        p = num_scan(start, end, &d);
        if (!p || !json_whole(&d, magnitude))
            return NULL;
        *negative = d.negative;
        return p;
    }
    *magnitude = v;
    return p;
}

static inline bool int_in_range(enum json_num type, bool negative, uint64_t v)
{
    return negative ? v <= (uint64_t)0 - (uint64_t)int_min[type] : v <= int_max[type];
}

static const char *store_bool(const char *p, const char *end, unsigned char *out)
{
    if (end - p >= 4 && memcmp(p, "true", 4) == 0) {
        *out = 1;
        return p + 4;
    }
    if (end - p >= 5 && memcmp(p, "false", 5) == 0) {
        *out = 0;
        return p + 5;
    }
    bool negative;
    uint64_t v;
    const char *stop = scan_int(p, end, &negative, &v);
    if (!stop || !int_in_range(JSON_BOOL8, negative, v))
        return NULL;
    *out = (unsigned char)v;
    return stop;
}

/* Reads one element at p (p < end). NULL: not an element of this type, or out of its range. */
__attribute__((always_inline)) static inline const char *store(enum json_num type, const char *p, const char *end,
                                                               unsigned char *out)
{
    struct num_decimal d;
    if (type == JSON_F32) {
        const char *stop = num_scan_here(p, end, &d);
        if (UNLIKELY(!stop))
            return NULL;
        float f;
        if (UNLIKELY(!num_easy_f32(&d, &f))) {
            f = num_hard_f32(&d, p, stop);
            stop = isinf(f) ? NULL : stop;
        }
        memcpy(out, &f, sizeof f);
        return stop;
    }
    if (json_is_float(type)) {
        const char *stop = num_scan_here(p, end, &d);
        if (UNLIKELY(!stop))
            return NULL;
        double v;
        if (UNLIKELY(!num_easy_f64(&d, &v))) {
            v = num_hard_f64(&d, p, stop);
            stop = isinf(v) ? NULL : stop;
        }
        json_put_float(type, v, out);
        return UNLIKELY(type != JSON_F64 && !half_in_range(type, out)) ? NULL : stop;
    }
    if (type == JSON_BOOL8)
        return store_bool(p, end, out);
    bool negative;
    uint64_t v;
    const char *stop = scan_int(p, end, &negative, &v);
    if (UNLIKELY(!stop || !int_in_range(type, negative, v)))
        return NULL;
    v = negative ? 0 - v : v;
    memcpy(out, &v, element_size[type]); /* little endian: the low bytes are the value */
    return stop;
}

/* --- runs ------------------------------------------------------------------------------------------------------------------- */

__attribute__((always_inline)) static inline enum json_run_stop run_of(enum json_num type, struct json_run *run)
{
    const char *p = run->at, *end = run->end;
    size_t n = 0, size = element_size[type], max = run->max;
    unsigned char *out = run->out;
    enum json_run_stop stop = JSON_RUN_WANT;
    while (n < max && p < end) {
        const char *next = store(type, p, end, out);
        if (UNLIKELY(!next))
            break;
        out += size;
        n++;
        p = next;
        if (*p != ',' || p >= end) {
            stop = JSON_RUN_AFTER;
            break;
        }
        p++;
        p += *p == ' '; /* Python writes ", " */
    }
    run->at = p < end ? p : end; /* a space behind the end was padding */
    run->n = n;
    return stop;
}

static enum json_run_stop run_f32(struct json_run *run)
{
    return run_of(JSON_F32, run);
}

static enum json_run_stop run_f64(struct json_run *run)
{
    return run_of(JSON_F64, run);
}

static enum json_run_stop run_u8(struct json_run *run)
{
    return run_of(JSON_U8, run);
}

static enum json_run_stop run_i64(struct json_run *run)
{
    return run_of(JSON_I64, run);
}

static enum json_run_stop run_any(enum json_num type, struct json_run *run)
{
    return run_of(type, run);
}

enum json_run_stop json_run_read(enum json_num type, struct json_run *run)
{
    if (type == JSON_F32)
        return run_f32(run);
    if (type == JSON_F64)
        return run_f64(run);
    if (type == JSON_U8)
        return run_u8(run);
    if (type == JSON_I64)
        return run_i64(run);
    return run_any(type, run);
}

enum json_run_stop json_run_count(struct json_run *run)
{
    const char *p = run->at, *end = run->end;
    run->n = 0;
    enum json_run_stop stop = JSON_RUN_WANT;
    while (p < end) {
        const char *next = json_skip_number(p, end);
        if (!next)
            break;
        run->n++;
        p = next;
        if (p >= end || *p != ',') {
            stop = JSON_RUN_AFTER;
            break;
        }
        p++;
        p += p < end && *p == ' ';
    }
    run->at = p;
    return stop;
}
