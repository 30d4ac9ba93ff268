/* Arrays of numbers, the hot path. Two layers: run_* read "number, number, number" at one level of nesting, compiled once for each
 * kind of element; walk() handles brackets, white space, literals and errors between the runs. */
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

static bool is_float(enum json_num type)
{
    return type == JSON_F32 || type == JSON_F64 || type == JSON_F16 || type == JSON_BF16;
}

/* Stores a floating-point value that may be NaN or infinite. */
static void put_float(enum json_num type, double v, unsigned char *out)
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
    if (is_float(type)) {
        const char *stop = num_scan_here(p, end, &d);
        if (UNLIKELY(!stop))
            return NULL;
        double v;
        if (UNLIKELY(!num_easy_f64(&d, &v))) {
            v = num_hard_f64(&d, p, stop);
            stop = isinf(v) ? NULL : stop;
        }
        put_float(type, v, out);
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

enum run_stop {
    RUN_AFTER, /* behind an element: a separator comes next */
    RUN_WANT   /* behind a comma: an element comes next that the run does not read */
};

struct run {
    const char *at, *end;
    unsigned char *out;
    size_t max, n;
};

__attribute__((always_inline)) static inline enum run_stop run_of(enum json_num type, struct run *run)
{
    const char *p = run->at, *end = run->end;
    size_t n = 0, size = element_size[type], max = run->max;
    unsigned char *out = run->out;
    enum run_stop stop = RUN_WANT;
    while (n < max && p < end) {
        const char *next = store(type, p, end, out);
        if (UNLIKELY(!next))
            break;
        out += size;
        n++;
        p = next;
        if (*p != ',' || p >= end) {
            stop = RUN_AFTER;
            break;
        }
        p++;
        p += *p == ' '; /* Python writes ", " */
    }
    run->at = p < end ? p : end; /* a space behind the end was padding */
    run->n = n;
    return stop;
}

static enum run_stop run_f32(struct run *run)
{
    return run_of(JSON_F32, run);
}

static enum run_stop run_f64(struct run *run)
{
    return run_of(JSON_F64, run);
}

static enum run_stop run_u8(struct run *run)
{
    return run_of(JSON_U8, run);
}

static enum run_stop run_i64(struct run *run)
{
    return run_of(JSON_I64, run);
}

static enum run_stop run_any(enum json_num type, struct run *run)
{
    return run_of(type, run);
}

static enum run_stop run_read(enum json_num type, struct run *run)
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

/* For json_measure: any scalar counts, nothing is stored. */
static enum run_stop run_count(struct run *run)
{
    const char *p = run->at, *end = run->end;
    run->n = 0;
    enum run_stop stop = RUN_WANT;
    while (p < end) {
        const char *next = json_skip_number(p, end);
        if (!next)
            break;
        run->n++;
        p = next;
        if (p >= end || *p != ',') {
            stop = RUN_AFTER;
            break;
        }
        p++;
        p += p < end && *p == ' ';
    }
    run->at = p;
    return stop;
}

/* --- nesting ---------------------------------------------------------------------------------------------------------------- */

struct walk {
    struct json_reader *r;
    const char *at;
    enum json_num type;
    unsigned char *out; /* NULL: only measure */
    size_t max, count;
    struct json_shape *shape;
    int level;      /* open brackets */
    int leaf_level; /* at which elements stand; 0 = none met yet */
    int deepest;
    bool is_closed[JSON_SHAPE_MAX + 1]; /* some array of this level has closed, so that its size is known */
    uint64_t items[JSON_DEPTH_MAX + 1];
};

static bool fail_at(struct walk *w, const char *text)
{
    return json_error(w->r, w->at, "element %zu: %s", w->count, text);
}

static bool open_level(struct walk *w)
{
    if (w->r->depth + w->level >= w->r->depth_max)
        return json_error(w->r, w->at, "nested deeper than %d levels", w->r->depth_max);
    if (w->shape && w->level >= JSON_SHAPE_MAX)
        return json_error(w->r, w->at, "an array of more than %d dimensions", JSON_SHAPE_MAX);
    if (w->shape && w->leaf_level != 0 && w->level >= w->leaf_level)
        return fail_at(w, "ragged nesting: an array where an element is expected");
    w->items[w->level]++;
    w->items[++w->level] = 0;
    if (w->level > w->deepest)
        w->deepest = w->level;
    w->at++;
    return true;
}

static bool close_level(struct walk *w)
{
    uint64_t n = w->items[w->level];
    if (w->shape) {
        uint64_t *dim = &w->shape->dims[w->level - 1];
        if (w->is_closed[w->level] && *dim != n)
            return json_error(w->r, w->at, "ragged nesting: an array of %llu elements, those before it have %llu",
                              (unsigned long long)n, (unsigned long long)*dim);
        w->is_closed[w->level] = true;
        *dim = n;
    }
    w->level--;
    w->at++;
    return true;
}

static bool add_elements(struct walk *w, size_t n)
{
    if (w->shape && n > 0) {
        if (w->leaf_level == 0 && w->level < w->deepest)
            return fail_at(w, "ragged nesting: an element where an array is expected");
        if (w->leaf_level != 0 && w->leaf_level != w->level)
            return fail_at(w, "ragged nesting: elements at different depths");
        w->leaf_level = w->level;
    }
    w->items[w->level] += n;
    w->count += n;
    return true;
}

static bool too_many(struct walk *w)
{
    struct json_reader *r = w->r;
    size_t total;
    if (!json_measure(r, NULL, &total))
        return false;
    return json_fail(r, ERR_INVALID, "%zu elements where %zu are expected", total, w->max);
}

/* Why the text at w->at is not an element. */
static bool bad_element(struct walk *w)
{
    static const char *const names[] = {
        [JSON_F32] = "FP32",   [JSON_F64] = "FP64",   [JSON_F16] = "FP16",  [JSON_BF16] = "BF16", [JSON_I8] = "INT8",
        [JSON_I16] = "INT16",  [JSON_I32] = "INT32",  [JSON_I64] = "INT64", [JSON_U8] = "UINT8",  [JSON_U16] = "UINT16",
        [JSON_U32] = "UINT32", [JSON_U64] = "UINT64", [JSON_BOOL8] = "BOOL"};
    const char *p = w->at, *end = w->r->end, *stop = p < end ? json_skip_number(p, end) : NULL;
    struct num_decimal d;
    uint64_t magnitude;
    if (p >= end)
        return json_error(w->r, p, "element %zu: the text ends inside an array", w->count);
    if (stop) {
        int n = (int)(stop - p < 40 ? stop - p : 40);
        (void)num_scan_careful(p, end, &d);
        bool fraction = !is_float(w->type) && d.exp10 < 0 && !json_whole(&d, &magnitude);
        return json_error(w->r, p,
                          fraction ? "element %zu: %.*s is not a whole number, as %s must be"
                                   : "element %zu: %.*s is outside the range of %s",
                          w->count, n, p, names[w->type]);
    }
    if (json_skip_literal(p, end, true) && !json_skip_literal(p, end, false))
        return fail_at(w, is_float(w->type) ? "NaN and infinities are not accepted here"
                                            : "NaN and infinities are not whole numbers");
    if (*p == '"')
        return fail_at(w, "expected a number, found a string");
    if (*p == '{')
        return fail_at(w, "expected a number, found an object");
    if (json_skip_literal(p, end, false))
        return json_error(w->r, p, "element %zu: expected a number, found %s", w->count,
                          *p == 'n'   ? "null"
                          : *p == 't' ? "true"
                                      : "false");
    return fail_at(w, w->type == JSON_BOOL8 ? "expected true or false" : "expected a number");
}

/* One element that runs do not read: NaN and infinities; when measuring also strings and other literals. */
static bool single_element(struct walk *w)
{
    struct json_reader *r = w->r;
    const char *p = w->at, *stop = NULL;
    if (w->out) {
        if (!is_float(w->type) || !r->allow_nan || p >= r->end)
            return bad_element(w);
        if (!(stop = json_skip_literal(p, r->end, true)) || json_skip_literal(p, r->end, false))
            return bad_element(w);
        double v = *p == 'N' ? (double)NAN : *p == '-' ? -(double)INFINITY : (double)INFINITY;
        put_float(w->type, v, w->out + w->count * element_size[w->type]);
    } else if (p < r->end && *p == '"') {
        bool has_escape;
        if (!(stop = json_scan_string(r, p + 1, &has_escape)))
            return false;
        stop++;
    } else if (p < r->end && *p == '{') { /* one element, written as an object */
        const char *at = r->at;
        r->at = p;
        if (!json_skip(r, NULL))
            return false;
        stop = r->at;
        r->at = at;
    } else if (p >= r->end || !(stop = json_skip_literal(p, r->end, true))) {
        return fail_at(w, "expected a number or a string");
    }
    w->at = stop;
    return add_elements(w, 1);
}

/* Elements from w->at on, at least one. */
static bool read_elements(struct walk *w, enum run_stop *stop)
{
    struct run run = {.at = w->at, .end = w->r->end};
    if (w->out) {
        run.max = w->max - w->count;
        run.out = w->out + w->count * element_size[w->type];
    }
    *stop = w->out ? run_read(w->type, &run) : run_count(&run);
    if (run.n > 0) {
        if (!add_elements(w, run.n))
            return false;
        w->at = run.at;
        return true;
    }
    *stop = RUN_AFTER;
    return single_element(w);
}

/* Stands at the first bracket; goes behind its partner. */
static bool walk(struct walk *w)
{
    const char *end = w->r->end;
    bool after = false, is_first = false; /* behind a value; behind an opening bracket */
    do {
        w->at = json_space(w->at, end);
        char c = w->at < end ? *w->at : '\0';
        if (after && c == ',') {
            w->at++;
            after = false;
        } else if (c == ']' && (after || is_first)) {
            if (!close_level(w))
                return false;
            after = true;
            is_first = false;
        } else if (after) {
            return json_error(w->r, w->at, "expected ',' or ']'");
        } else if (c == '[') {
            if (!open_level(w))
                return false;
            is_first = true;
        } else if (w->out && w->count == w->max) {
            return too_many(w);
        } else {
            enum run_stop stop;
            if (!read_elements(w, &stop))
                return false;
            after = stop == RUN_AFTER;
            is_first = false;
        }
    } while (w->level > 0);
    return true;
}

static bool start_walk(struct walk *w)
{
    struct json_reader *r = w->r;
    if (r->failed)
        return false;
    w->at = json_space(r->at, r->end);
    if (w->at >= r->end || *w->at != '[')
        return json_error(r, w->at, "expected an array");
    w->items[0] = 0;
    memset(w->is_closed, 0, sizeof w->is_closed);
    if (w->shape)
        memset(w->shape, 0, sizeof *w->shape);
    if (!walk(w))
        return false;
    if (w->shape)
        w->shape->ndim = w->deepest;
    return true;
}

static void init_walk(struct walk *w, struct json_reader *r, struct json_shape *shape)
{
    w->r = r;
    w->type = JSON_F64;
    w->out = NULL;
    w->max = w->count = 0;
    w->shape = shape;
    w->level = w->leaf_level = w->deepest = 0;
}

bool json_numbers(struct json_reader *r, enum json_num type, void *out, size_t max, size_t *count,
                  struct json_shape *shape)
{
    static unsigned char nowhere[8]; /* max may be 0 with out NULL */
    struct walk w;
    init_walk(&w, r, shape);
    w.type = type;
    w.out = out ? out : nowhere;
    w.max = max;
    if (!start_walk(&w))
        return false;
    r->at = w.at;
    *count = w.count;
    return true;
}

bool json_measure_skip(struct json_reader *r, struct json_shape *shape, size_t *count, struct str *raw)
{
    struct walk w;
    init_walk(&w, r, shape);
    if (!start_walk(&w))
        return false;
    const char *first = json_space(r->at, r->end);
    *raw = (struct str){first, (size_t)(w.at - first)};
    *count = w.count;
    r->at = w.at;
    return true;
}

bool json_measure(struct json_reader *r, struct json_shape *shape, size_t *count)
{
    const char *at = r->at;
    struct str raw;
    bool is_fine = json_measure_skip(r, shape, count, &raw);
    r->at = at;
    return is_fine;
}
