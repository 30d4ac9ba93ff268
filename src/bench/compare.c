#include "bench/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "model/tensor.h"

#define DEPTH_MAX   32
#define PATH_MAX_   128
#define OUTPUTS_MAX 128
#define ARENA_MAX   ((size_t)256 << 20)

struct level {
    bool is_object;
    size_t path_n, items;
};

struct walk {
    struct json_reader a, b; /* recorded, now */
    struct arena arena;
    struct compare_result *out;
    double tolerance;
    char path[PATH_MAX_];
    struct level levels[DEPTH_MAX];
    int depth;
};

static void differ(struct compare_result *out, const char *path, const char *fmt, ...) ATTR_PRINTF(3, 4);
static void differ(struct compare_result *out, const char *path, const char *fmt, ...)
{
    char what[120];
    va_list ap;
    if (!out->is_same)
        return; /* the first is told */
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    out->is_same = false;
    (void)snprintf(out->where, sizeof out->where, "%s%s%s", path, path[0] ? ": " : "", what);
}

static bool note_numbers(struct compare_result *out, double tolerance, double x, double y)
{
    if (x == y || (isnan(x) && isnan(y)))
        return true;
    double size = fmax(fabs(x), fabs(y)), gap = fabs(x - y) / (1 + size);
    if (isnan(gap)) /* one is no number, or infinities of both signs */
        gap = HUGE_VAL;
    if (gap > out->greatest)
        out->greatest = gap;
    return gap <= tolerance;
}

/* ---- JSON, both texts in step ---- */

static double number_of(struct str raw)
{
    double v;
    if (num_parse_f64(raw.p, raw.p + raw.n, &v) == raw.p + raw.n)
        return v;
    char text[16]; /* NaN and infinities */
    (void)str_copy(text, sizeof text, raw);
    return strtod(text, NULL);
}

/* Whole numbers of 64 bits that are not the same may be one double. */
static bool are_other_whole_numbers(struct str x, struct str y)
{
    int64_t i, k;
    uint64_t u, v;
    return (str_to_i64(x, &i) && str_to_i64(y, &k) && i != k) || (str_to_u64(x, &u) && str_to_u64(y, &v) && u != v);
}

static void compare_scalars(struct walk *w, enum json_type type)
{
    struct str x = STR(""), y = STR("");
    if (type == JSON_STRING) {
        if (json_string(&w->a, &w->arena, &x) && json_string(&w->b, &w->arena, &y) && !str_eq(x, y))
            differ(w->out, w->path, "another text");
        return;
    }
    if (!json_skip(&w->a, &x) || !json_skip(&w->b, &y) || str_eq(x, y))
        return;
    if (type != JSON_NUMBER || !note_numbers(w->out, w->tolerance, number_of(x), number_of(y)) ||
        (w->tolerance <= 0 && are_other_whole_numbers(x, y)))
        differ(w->out, w->path, "%.40s instead of %.40s", y.n < 40 ? arena_cstr(&w->arena, y) : "a long number",
               x.n < 40 ? arena_cstr(&w->arena, x) : "a long number");
}

static void compare_values(struct walk *w)
{
    enum json_type type = json_peek(&w->a);
    if (type != json_peek(&w->b)) {
        differ(w->out, w->path, "a value of another kind");
        return;
    }
    if (type != JSON_OBJECT && type != JSON_ARRAY) {
        compare_scalars(w, type);
        return;
    }
    if (w->depth == DEPTH_MAX) {
        differ(w->out, w->path, "nested too deep to compare");
        return;
    }
    bool is_object = type == JSON_OBJECT;
    if (is_object ? json_object(&w->a) && json_object(&w->b) : json_array(&w->a) && json_array(&w->b))
        w->levels[w->depth++] = (struct level){is_object, strlen(w->path), 0};
}

static bool is_left_out(struct str key)
{
    static const char *const keys[] = {"request_id", "version", "model_version"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (str_eq_c(key, keys[i]))
            return true;
    return false;
}

static void step_object(struct walk *w, struct level *l)
{
    struct str x = STR(""), y = STR("");
    bool has_x = json_key(&w->a, &x), has_y = json_key(&w->b, &y);
    if (!has_x && !has_y) {
        w->depth--;
        return;
    }
    if (has_x != has_y || !str_eq(x, y)) {
        differ(w->out, w->path, "other members, or another order of them");
        return;
    }
    if (is_left_out(x)) {
        (void)(json_skip(&w->a, NULL) && json_skip(&w->b, NULL)); /* errors stick to the readers */
        return;
    }
    (void)snprintf(w->path + l->path_n, sizeof w->path - l->path_n, "%s%.*s", l->path_n ? "." : "",
                   (int)(x.n < 60 ? x.n : 60), x.p);
    compare_values(w);
}

static void step_array(struct walk *w, struct level *l)
{
    bool has_x = json_item(&w->a), has_y = json_item(&w->b);
    if (!has_x && !has_y) {
        w->depth--;
        return;
    }
    if (has_x != has_y) {
        differ(w->out, w->path, "another number of elements");
        return;
    }
    (void)snprintf(w->path + l->path_n, sizeof w->path - l->path_n, "[%zu]", l->items++);
    compare_values(w);
}

/* False: one of the texts is no JSON. */
static bool compare_json(struct str recorded, struct str now, double tolerance, struct compare_result *out)
{
    struct walk *w = calloc(1, sizeof *w);
    if (!w)
        return false;
    json_init(&w->a, recorded, DEPTH_MAX + 1);
    json_init(&w->b, now, DEPTH_MAX + 1);
    w->a.allow_nan = w->b.allow_nan = true;
    w->out = out;
    w->tolerance = tolerance;
    arena_init(&w->arena, 16384, ARENA_MAX);
    compare_values(w);
    while (w->depth > 0 && out->is_same && !w->a.failed && !w->b.failed) {
        struct level *l = &w->levels[w->depth - 1];
        w->path[l->path_n] = '\0';
        if (l->is_object)
            step_object(w, l);
        else
            step_array(w, l);
    }
    bool is_json = !w->a.failed && !w->b.failed;
    if (is_json && out->is_same)
        is_json = json_end(&w->a) == ERR_OK && json_end(&w->b) == ERR_OK;
    arena_done(&w->arena);
    free(w);
    return is_json;
}

/* ---- binary tensors ---- */

struct output {
    enum dtype dtype;
    uint64_t bytes;
};

static void read_output(struct json_reader *r, struct arena *a, struct output *out)
{
    struct str key, text;
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "datatype") && json_string(r, a, &text)) {
            out->dtype = dtype_parse(text);
        } else if (str_eq_c(key, "parameters")) {
            json_object(r);
            while (json_key(r, &key))
                if (str_eq_c(key, "binary_data_size"))
                    json_u64(r, &out->bytes);
                else
                    json_skip(r, NULL);
        } else {
            json_skip(r, NULL);
        }
    }
}

static size_t read_outputs(struct str json, struct output *out)
{
    struct json_reader *r = malloc(sizeof *r);
    struct arena a;
    struct str key;
    size_t n = 0;
    if (!r)
        return 0;
    arena_init(&a, 4096, 16 << 20);
    json_init(r, json, DEPTH_MAX + 1);
    r->allow_nan = true;
    json_object(r);
    while (json_key(r, &key)) {
        if (!str_eq_c(key, "outputs")) {
            json_skip(r, NULL);
            continue;
        }
        json_array(r);
        while (n < OUTPUTS_MAX && json_item(r))
            read_output(r, &a, &out[n++]);
    }
    arena_done(&a);
    free(r);
    return n;
}

static double element(enum dtype t, const char *p)
{
    float f;
    double d;
    uint16_t h;
    switch ((int)t) {
    case DT_FP64:
        memcpy(&d, p, sizeof d);
        return d;
    case DT_FP16:
    case DT_BF16:
        memcpy(&h, p, sizeof h);
        return (double)(t == DT_FP16 ? f16_to_f32(h) : bf16_to_f32(h));
    default:
        memcpy(&f, p, sizeof f);
        return (double)f;
    }
}

static bool is_real(enum dtype t)
{
    return t == DT_FP32 || t == DT_FP64 || t == DT_FP16 || t == DT_BF16;
}

static void compare_tensor(const struct output *o, size_t index, const char *x, const char *y, double tolerance,
                           struct compare_result *out)
{
    char path[40];
    size_t size = is_real(o->dtype) ? dtype_size(o->dtype) : 1;
    for (size_t at = 0; at + size <= o->bytes; at += size) {
        if (memcmp(x + at, y + at, size) == 0)
            continue;
        (void)snprintf(path, sizeof path, "outputs[%zu].%s[%zu]", index, is_real(o->dtype) ? "data" : "byte",
                       at / size);
        if (!is_real(o->dtype))
            differ(out, path, "another byte");
        else if (!note_numbers(out, tolerance, element(o->dtype, x + at), element(o->dtype, y + at)))
            differ(out, path, "%.9g instead of %.9g", element(o->dtype, y + at), element(o->dtype, x + at));
    }
}

static void compare_binary(const struct compare_answer *a, const struct compare_answer *b, double tolerance,
                           struct compare_result *out)
{
    uint64_t na = 0, nb = 0;
    struct output outputs[OUTPUTS_MAX] = {0};
    if (!str_to_u64(a->header_length, &na) || !str_to_u64(b->header_length, &nb) || na > a->body.n || nb > b->body.n) {
        differ(out, "", "a header length that does not fit its answer");
        return;
    }
    struct str ja = str_sub(a->body, 0, na), jb = str_sub(b->body, 0, nb);
    if (!compare_json(ja, jb, tolerance, out))
        differ(out, "", "an answer whose beginning is no JSON");
    struct str ra = str_sub(a->body, na, a->body.n), rb = str_sub(b->body, nb, b->body.n);
    if (ra.n != rb.n)
        differ(out, "", "%zu bytes of tensors instead of %zu", rb.n, ra.n);
    if (!out->is_same)
        return;
    size_t n = read_outputs(ja, outputs);
    for (size_t i = 0; i < n && outputs[i].bytes <= ra.n; i++) {
        compare_tensor(&outputs[i], i, ra.p, rb.p, tolerance, out);
        ra = str_sub(ra, outputs[i].bytes, ra.n);
        rb = str_sub(rb, outputs[i].bytes, rb.n);
    }
    if (!str_eq(ra, rb))
        differ(out, "", "other bytes behind the tensors");
}

void compare_answers(const struct compare_answer *recorded, const struct compare_answer *now, double tolerance,
                     struct compare_result *out)
{
    *out = (struct compare_result){.is_same = true};
    if (str_eq(recorded->body, now->body))
        return;
    if (recorded->header_length.n > 0 && now->header_length.n > 0) {
        compare_binary(recorded, now, tolerance, out);
        return;
    }
    if (recorded->header_length.n != 0 || now->header_length.n != 0)
        differ(out, "", "tensors in another form");
    else if (!compare_json(recorded->body, now->body, tolerance, out))
        differ(out, "", "other bytes");
}
