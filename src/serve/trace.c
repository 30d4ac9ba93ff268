#include "serve/trace.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/json.h"
#include "base/map.h"
#include "base/num.h"
#include "serve/trace_file.h"

#define CHILDREN_MAX     32
#define STRING_BYTES_MAX 256 /* of one text of a tensor */

/* ---- settings ---- */

struct scope { /* all models, or one */
    struct trace_settings own;
    bool is_set[TRACE_SETTINGS];
    uint64_t seen; /* requests, for the rate */
};

static const struct trace_settings defaults = {.rate = 1000, .count = -1};

static struct {
    pthread_mutex_t lock;
    struct scope all;
    struct map models; /* struct scope * */
    bool is_ready;
    uint64_t last_id;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};
static atomic_bool any_level; /* some scope's level is not off */
static atomic_int open_traces;

static void lock_state(void)
{
    pthread_mutex_lock(&state.lock);
    if (!state.is_ready)
        map_init(&state.models, TRACE_MODELS_MAX);
    state.is_ready = true;
}

/* The scope in which a setting of a model stands. */
static struct scope *scope_of(struct scope *model, enum trace_setting s)
{
    return model && model->is_set[s] ? model : &state.all;
}

static struct trace_settings effective(struct scope *model)
{
    struct trace_settings e = defaults;
    const struct scope *s;
    if ((s = scope_of(model, TRACE_LEVEL))->is_set[TRACE_LEVEL])
        e.level = s->own.level;
    if ((s = scope_of(model, TRACE_RATE))->is_set[TRACE_RATE])
        e.rate = s->own.rate;
    if ((s = scope_of(model, TRACE_COUNT))->is_set[TRACE_COUNT])
        e.count = s->own.count;
    if ((s = scope_of(model, TRACE_FREQUENCY))->is_set[TRACE_FREQUENCY])
        e.frequency = s->own.frequency;
    return e;
}

static void look_for_levels(void)
{
    struct str name;
    void *value;
    bool any = state.all.is_set[TRACE_LEVEL] && state.all.own.level != 0;
    for (size_t i = 0; map_next(&state.models, &i, &name, &value);) {
        const struct scope *s = value;
        any = any || (s->is_set[TRACE_LEVEL] && s->own.level != 0);
    }
    atomic_store(&any_level, any);
}

static void apply(struct scope *s, const struct trace_change *c)
{
    for (int k = 0; k < TRACE_SETTINGS; k++)
        s->is_set[k] = (s->is_set[k] || c->is_set[k]) && !c->is_cleared[k];
    if (c->is_set[TRACE_LEVEL])
        s->own.level = c->to.level;
    if (c->is_set[TRACE_RATE])
        s->own.rate = c->to.rate;
    if (c->is_set[TRACE_COUNT])
        s->own.count = c->to.count;
    if (c->is_set[TRACE_FREQUENCY])
        s->own.frequency = c->to.frequency;
    s->seen = 0;
}

static struct scope *model_scope(const char *model, struct err *err)
{
    struct scope *s = map_get(&state.models, str_c(model));
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    CHECK(s);
    if (map_put(&state.models, str_c(model), s))
        return s;
    free(s);
    err_set(err, ERR_BUSY, "more than %d models have trace settings of their own", TRACE_MODELS_MAX);
    return NULL;
}

/* A model without settings of its own needs no scope. */
static void forget_empty(const char *model)
{
    const struct scope *s = model ? map_get(&state.models, str_c(model)) : NULL;
    bool any = false;
    for (int k = 0; s && k < TRACE_SETTINGS; k++)
        any = any || s->is_set[k];
    if (s && !any)
        free(map_take(&state.models, str_c(model)));
}

enum err_code trace_change(const char *model, const struct trace_change *c, struct err *err)
{
    lock_state();
    struct scope *s = model ? model_scope(model, err) : &state.all;
    if (s) {
        apply(s, c);
        forget_empty(model);
        look_for_levels();
    }
    pthread_mutex_unlock(&state.lock);
    return s ? ERR_OK : err->code;
}

struct trace_settings trace_settings_of(const char *model)
{
    lock_state();
    struct trace_settings e = effective(model ? map_get(&state.models, str_c(model)) : NULL);
    pthread_mutex_unlock(&state.lock);
    return e;
}

/* ---- one request ---- */

struct trace {
    uint64_t id, frequency;
    unsigned level;
    struct buf head;    /* the object that names it */
    struct buf times;   /* its timestamps, with commas between */
    struct buf tensors; /* objects, a comma before each */
    struct trace *children[CHILDREN_MAX];
    size_t children_len;
};

/* Counts the request in its scopes; false: it is not its turn. */
static bool is_due(const char *model, struct trace_settings *e, uint64_t *id)
{
    lock_state();
    struct scope *m = map_get(&state.models, str_c(model));
    *e = effective(m);
    struct scope *rate = scope_of(m, TRACE_RATE), *count = scope_of(m, TRACE_COUNT);
    bool due = e->level != 0 && e->count != 0 && ++rate->seen % e->rate == 0;
    if (due && e->count > 0)
        count->own.count--;
    if (due)
        *id = ++state.last_id;
    pthread_mutex_unlock(&state.lock);
    return due;
}

/* The head stays open for what is known later. */
static struct trace *new_trace(uint64_t id, const struct trace_settings *e, const char *model, const char *version)
{
    struct trace *t = calloc(1, sizeof *t);
    struct json_writer w;
    uint64_t number;
    CHECK(t);
    *t = (struct trace){.id = id, .frequency = e->frequency, .level = e->level};
    buf_init(&t->head, TRACE_TEXT_MAX);
    buf_init(&t->times, TRACE_TEXT_MAX);
    buf_init(&t->tensors, TRACE_TEXT_MAX);
    jw_init(&w, &t->head);
    jw_object(&w);
    jw_kv_u64(&w, "id", t->id);
    jw_kv_c(&w, "model_name", model);
    jw_key(&w, "model_version");
    if (str_to_u64(str_c(version), &number)) /* a number in Triton's files */
        jw_u64(&w, number);
    else
        jw_c(&w, version);
    return t;
}

struct trace *trace_begin(const char *model, const char *version)
{
    struct trace_settings e;
    uint64_t id;
    if (!atomic_load_explicit(&any_level, memory_order_relaxed) || !is_due(model, &e, &id))
        return NULL;
    if (atomic_fetch_add(&open_traces, 1) >= TRACE_OPEN_MAX) {
        atomic_fetch_sub(&open_traces, 1);
        return NULL;
    }
    return new_trace(id, &e, model, version);
}

struct trace *trace_begin_child(struct trace *parent, const char *model, const char *version)
{
    if (!parent || parent->children_len == CHILDREN_MAX)
        return NULL;
    lock_state();
    uint64_t id = ++state.last_id;
    pthread_mutex_unlock(&state.lock);
    struct trace_settings e = {.level = parent->level};
    struct trace *t = new_trace(id, &e, model, version);
    buf_printf(&t->head, ",\"parent_id\":%llu", (unsigned long long)parent->id);
    parent->children[parent->children_len++] = t;
    return t;
}

bool trace_wants_tensors(const struct trace *t)
{
    return t && (t->level & TRACE_TENSORS);
}

void trace_request_id(struct trace *t, struct str id)
{
    struct json_writer w;
    if (!t)
        return;
    buf_c(&t->head, ",\"request_id\":");
    jw_init(&w, &t->head);
    jw_str(&w, id);
}

void trace_time(struct trace *t, const char *name, uint64_t ns)
{
    if (!t || ns == 0 || !(t->level & TRACE_TIMESTAMPS))
        return;
    buf_printf(&t->times, "%s{\"name\":\"%s\",\"ns\":%llu}", t->times.len > 0 ? "," : "", name, (unsigned long long)ns);
}

/* ---- tensors ---- */

/* Elements with commas between, as one text. */
static void put_elements(struct buf *out, const struct trace_tensor *x, uint64_t n)
{
    struct json_writer w;
    if (x->dtype != DT_BYTES) {
        jw_init(&w, out);
        jw_numbers(&w, x->dtype == DT_BOOL ? JSON_U8 : dtype_json(x->dtype), x->data,
                   (size_t)n); /* tools read numbers */
        return;
    }
    buf_char(out, '[');
    for (uint64_t e = 0; e < n; e++) {
        struct str s = x->string(x->arg, e);
        buf_c(out, e > 0 ? ",\"" : "\"");
        buf_str(out, str_sub(s, 0, STRING_BYTES_MAX));
        buf_char(out, '"');
    }
    buf_char(out, ']');
}

static void put_shape(struct json_writer *w, const char *key, const int64_t *dims, int ndim)
{
    char shape[24 * TENSOR_DIMS_MAX];
    size_t n = 0;
    for (int i = 0; i < ndim; i++) {
        if (i > 0)
            shape[n++] = ',';
        n += num_format_i64(dims[i], shape + n);
    }
    jw_kv_str(w, key, (struct str){shape, n});
}

/* The shape is that of the data: tools that read it put the two together. */
static void put_tensor(struct json_writer *w, const struct trace_tensor *x, struct str elements, uint64_t left_out)
{
    const int64_t cut = TRACE_ELEMENTS_MAX;
    jw_object(w);
    jw_kv_c(w, "name", x->name);
    jw_kv_str(w, "data", elements);
    put_shape(w, "shape", left_out > 0 ? &cut : x->dims, left_out > 0 ? 1 : x->ndim);
    jw_kv_c(w, "dtype", dtype_name(x->dtype));
    if (left_out > 0) {
        jw_kv_u64(w, "left_out", left_out);
        put_shape(w, "full_shape", x->dims, x->ndim);
    }
    jw_object_end(w);
}

void trace_tensor(struct trace *t, const struct trace_tensor *x)
{
    uint64_t count;
    struct buf elements;
    struct json_writer w;
    if (!trace_wants_tensors(t) || !tensor_count(x->dims, x->ndim, &count))
        return;
    uint64_t n = count < TRACE_ELEMENTS_MAX ? count : TRACE_ELEMENTS_MAX;
    buf_init(&elements, TRACE_TEXT_MAX);
    put_elements(&elements, x, n);
    size_t before = t->tensors.len;
    buf_c(&t->tensors, ",\n");
    jw_init(&w, &t->tensors);
    jw_object(&w);
    jw_kv_u64(&w, "id", t->id);
    jw_kv_c(&w, "activity", x->activity);
    jw_key(&w, "tensor");
    put_tensor(&w, x, str_sub(buf_view(&elements), 1, elements.len - 2), count - n);
    jw_object_end(&w);
    if (t->tensors.failed || elements.failed) { /* better a trace without it than none */
        t->tensors.failed = false;
        t->tensors.len = before;
    }
    buf_done(&elements);
}

/* ---- the end ---- */

/* Appends all of a trace, or nothing. */
static void put_trace(struct buf *out, struct trace *t)
{
    size_t before = out->len;
    buf_str(out, buf_view(&t->head));
    buf_char(out, '}');
    if (t->times.len > 0)
        buf_printf(out, ",\n{\"id\":%llu,\"timestamps\":[%.*s]}", (unsigned long long)t->id,
                   STR_F(buf_view(&t->times)));
    buf_str(out, buf_view(&t->tensors));
    bool is_whole = !out->failed && !t->head.failed && !t->times.failed;
    if (!is_whole)
        out->len = before;
    out->failed = false;
}

static void free_trace(struct trace *t)
{
    buf_done(&t->head);
    buf_done(&t->times);
    buf_done(&t->tensors);
    free(t);
}

void trace_end(struct trace *t)
{
    struct buf text;
    if (!t)
        return;
    buf_init(&text, 2 * TRACE_TEXT_MAX);
    put_trace(&text, t);
    for (size_t i = 0; i < t->children_len; i++) {
        if (text.len > 0)
            buf_c(&text, ",\n");
        put_trace(&text, t->children[i]);
        free_trace(t->children[i]);
    }
    if (text.len > 0)
        trace_file_put(&text, t->frequency);
    free_trace(t);
    atomic_fetch_sub(&open_traces, 1);
}
