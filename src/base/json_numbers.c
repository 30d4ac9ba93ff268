/* Arrays of numbers: brackets, white space, literals and errors between the runs that json_runs.c reads. */
#include <math.h>

#include "base/json_int.h"

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
        bool fraction = !json_is_float(w->type) && d.exp10 < 0 && !json_whole(&d, &magnitude);
        return json_error(w->r, p,
                          fraction ? "element %zu: %.*s is not a whole number, as %s must be"
                                   : "element %zu: %.*s is outside the range of %s",
                          w->count, n, p, names[w->type]);
    }
    if (json_skip_literal(p, end, true) && !json_skip_literal(p, end, false))
        return fail_at(w, json_is_float(w->type) ? "NaN and infinities are not accepted here"
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
        if (!json_is_float(w->type) || !r->allow_nan || p >= r->end)
            return bad_element(w);
        if (!(stop = json_skip_literal(p, r->end, true)) || json_skip_literal(p, r->end, false))
            return bad_element(w);
        double v = *p == 'N' ? (double)NAN : *p == '-' ? -(double)INFINITY : (double)INFINITY;
        json_put_float(w->type, v, w->out + w->count * json_element_size(w->type));
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
static bool read_elements(struct walk *w, enum json_run_stop *stop)
{
    struct json_run run = {.at = w->at, .end = w->r->end};
    if (w->out) {
        run.max = w->max - w->count;
        run.out = w->out + w->count * json_element_size(w->type);
    }
    *stop = w->out ? json_run_read(w->type, &run) : json_run_count(&run);
    if (run.n > 0) {
        if (!add_elements(w, run.n))
            return false;
        w->at = run.at;
        return true;
    }
    *stop = JSON_RUN_AFTER;
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
            enum json_run_stop stop;
            if (!read_elements(w, &stop))
                return false;
            after = stop == JSON_RUN_AFTER;
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
