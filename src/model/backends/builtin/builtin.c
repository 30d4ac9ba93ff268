#include "model/backends/builtin/builtin_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "sys/futex.h"

#define DEFAULT_MAX_BATCH 64
#define MAX_BATCH_MAX     65536
#define DELAY_MS_MAX      3600000
#define MEMORY_MIB_MAX    (1 << 20)
#define TIMES_MAX         1024
#define LEAK_MIB_MAX      65536
#define ROW_DIM_MAX       (INT64_C(1) << 32)

static const char *const how_names[] = {
    [CRASH_SEGV] = "segv", [CRASH_ABORT] = "abort", [CRASH_EXIT] = "exit",
    [CRASH_HANG] = "hang", [CRASH_LEAK] = "leak",   [CRASH_LIE] = "lie",
};

static enum err_code parse_int(const struct backend_param *p, int64_t min, int64_t max, int64_t *out, struct err *err)
{
    int64_t v;
    if (!str_to_i64(str_c(p->value), &v) || v < min || v > max)
        return err_set(err, ERR_INVALID, "parameter %s is '%s'; a whole number from %lld to %lld is expected", p->key,
                       p->value, (long long)min, (long long)max);
    *out = v;
    return ERR_OK;
}

static enum err_code parse_dims(struct builtin *b, struct str text, struct err *err)
{
    struct str all = text;
    b->row_ndim = 0;
    while (text.n > 0) {
        struct str one = str_trim(str_cut(text, ',', &text));
        int64_t v;
        if (b->row_ndim == TENSOR_DIMS_MAX - 1 || !str_to_i64(one, &v) || v < -1 || v == 0 || v > ROW_DIM_MAX)
            return err_set(
                err, ERR_INVALID,
                "parameter dims is '%.*s'; up to %d sizes of one row are expected, like \"3,224,224\", or -1 "
                "for any length",
                STR_F(all), TENSOR_DIMS_MAX - 1);
        b->row_dims[b->row_ndim++] = v;
    }
    return ERR_OK;
}

static enum err_code parse_how(struct builtin *b, const char *value, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(how_names); i++) {
        if (strcmp(how_names[i], value) == 0) {
            b->how = (enum crash_how)i;
            return ERR_OK;
        }
    }
    return err_set(err, ERR_INVALID, "parameter how is '%s'; one of segv, abort, exit, hang, leak, lie is expected",
                   value);
}

static enum err_code parse_param(struct builtin *b, const struct backend_param *p, struct err *err)
{
    struct str key = str_c(p->key);
    bool is_crash = strcmp(b->kind, "crash") == 0;
    int64_t v = 0;
    enum err_code code = ERR_OK;
    if (str_eq_c(key, "datatype")) {
        b->dtype = dtype_parse(str_c(p->value));
        if (b->dtype == DT_NONE)
            code = err_set(err, ERR_INVALID, "parameter datatype is '%s'; a name like FP32, INT64 or BYTES is expected",
                           p->value);
    } else if (str_eq_c(key, "dims")) {
        code = parse_dims(b, str_c(p->value), err);
    } else if (str_eq_c(key, "execute_delay_ms")) {
        code = parse_int(p, 0, DELAY_MS_MAX, &v, err);
        b->delay_ns = (uint64_t)v * NS_PER_MS;
    } else if (str_eq_c(key, "load_delay_ms")) {
        code = parse_int(p, 0, DELAY_MS_MAX, &v, err);
        b->load_delay_ns = (uint64_t)v * NS_PER_MS;
    } else if (str_eq_c(key, "memory_mib")) {
        code = parse_int(p, 0, MEMORY_MIB_MAX, &v, err);
        b->memory_bytes = (size_t)v << 20;
    } else if (str_eq_c(key, "times") && strcmp(b->kind, "repeat") == 0) {
        code = parse_int(p, 1, TIMES_MAX, &b->times, err);
    } else if (str_eq_c(key, "on") && is_crash) {
        code = parse_int(p, INT32_MIN, INT32_MAX, &b->crash_on, err);
    } else if (str_eq_c(key, "leak_mib") && is_crash) {
        code = parse_int(p, 1, LEAK_MIB_MAX, &v, err);
        b->leak_bytes = v * 1024 * 1024;
    } else if (str_eq_c(key, "how") && is_crash) {
        code = parse_how(b, p->value, err);
    } else {
        code = err_set(err, ERR_INVALID, "the built-in model '%s' has no parameter '%s'", b->kind, p->key);
        (void)err_remedy(err, "known: datatype, dims, execute_delay_ms, load_delay_ms, memory_mib%s",
                         is_crash                         ? ", on, how, leak_mib"
                         : strcmp(b->kind, "repeat") == 0 ? ", times"
                                                          : "");
    }
    return code;
}

/* As a model that is large, and slow to load. Every page is written: only then it is there. */
static void take_memory(struct builtin *b)
{
    struct timespec wait = {.tv_sec = (time_t)(b->load_delay_ns / NS_PER_S),
                            .tv_nsec = (long)(b->load_delay_ns % NS_PER_S)};
    if (b->memory_bytes > 0) {
        b->memory = malloc(b->memory_bytes);
        CHECK(b->memory);
        memset(b->memory, 1, b->memory_bytes);
    }
    if (b->load_delay_ns > 0)
        (void)nanosleep(&wait, NULL);
}

enum err_code builtin_load(const struct backend_load *opt, const char *kind, int64_t default_delay_ms,
                           int64_t default_times, void **out_instance, struct err *err)
{
    if (opt->max_batch < 0 || opt->max_batch > MAX_BATCH_MAX)
        return err_set(err, ERR_INVALID, "max_batch is %lld; 1 to %d rows are possible", (long long)opt->max_batch,
                       MAX_BATCH_MAX);
    struct builtin *b = calloc(1, sizeof *b);
    CHECK(b != NULL);
    *b = (struct builtin){.kind = kind,
                          .dtype = DT_FP32,
                          .row_ndim = 1,
                          .row_dims = {-1},
                          .max_batch = opt->max_batch > 0 ? opt->max_batch : DEFAULT_MAX_BATCH,
                          .delay_ns = (uint64_t)default_delay_ms * NS_PER_MS,
                          .times = default_times,
                          .crash_on = 666,
                          .leak_bytes = INT64_C(64) << 20};
    for (size_t i = 0; i < opt->params_len; i++) {
        enum err_code code = parse_param(b, &opt->params[i], err);
        if (code != ERR_OK) {
            free(b);
            return code;
        }
    }
    if (b->times > 1 && b->row_ndim == 0) {
        free(b);
        return err_set(err, ERR_INVALID, "parameter dims is empty, but repeat needs a dimension to repeat along");
    }
    take_memory(b);
    *out_instance = b;
    return ERR_OK;
}

static void describe_tensor(const struct builtin *b, const char *name, int64_t times, struct tensor_spec *t)
{
    (void)str_copy(t->name, sizeof t->name, str_c(name));
    (void)str_copy(t->symbols[0], sizeof t->symbols[0], STR("batch"));
    t->dtype = (uint32_t)b->dtype;
    t->ndim = b->row_ndim + 1;
    t->dims[0] = -1;
    for (int i = 0; i < b->row_ndim; i++)
        t->dims[i + 1] = b->row_dims[i];
    if (times > 1 && t->dims[1] > 0)
        t->dims[1] *= times;
}

enum err_code builtin_describe(void *instance, struct model_desc *out, struct err *err)
{
    (void)err; /* cannot fail; the table's signature has it */
    const struct builtin *b = instance;
    memset(out, 0, sizeof *out);
    (void)str_copy(out->backend, sizeof out->backend, str_c(b->kind));
    (void)snprintf(out->platform, sizeof out->platform, "quern_%s", b->kind);
    (void)snprintf(out->description, sizeof out->description, "built-in model for tests and demonstrations");
    out->inputs_len = out->outputs_len = 1;
    describe_tensor(b, "INPUT0", 1, &out->inputs[0]);
    describe_tensor(b, "OUTPUT0", b->times, &out->outputs[0]);
    out->has_batch_dim = out->may_share = 1;
    out->max_batch = (uint32_t)b->max_batch;
    (void)str_copy(out->batch_reason, sizeof out->batch_reason, STR("built in: each row is computed by itself"));
    return ERR_OK;
}

static enum err_code wait_delay(struct builtin *b, struct err *err)
{
    uint64_t end = clock_now_ns() + b->delay_ns;
    for (uint64_t now = clock_now_ns(); now < end; now = clock_now_ns()) {
        futex_wait(&b->is_aborted, 0, end - now);
        if (atomic_load_explicit(&b->is_aborted, memory_order_acquire) != 0)
            return err_set(err, ERR_CANCELLED, "the run was ended");
    }
    return ERR_OK;
}

/* Strings of the input area become strings of the output area. */
static bool copy_strings(struct backend_run *run, const struct bytes_ref *in, struct bytes_ref *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct str s = {(const char *)run->in_base + in[i].off, in[i].len};
        if (!backend_out_bytes(run, s, &out[i]))
            return false;
    }
    return true;
}

static enum err_code copy_rows(const struct builtin *b, struct backend_run *run, struct err *err)
{
    const struct backend_tensor *in = &run->in[0];
    struct backend_tensor *out = &run->out[0];
    *out = *in;
    out->bytes = in->bytes * (size_t)b->times;
    out->data = backend_out_alloc(run, out->bytes);
    if (out->data == NULL)
        return err_set(err, ERR_TOO_LARGE, "output 'OUTPUT0' of %zu bytes does not fit into the batch's memory",
                       out->bytes);
    if (b->times > 1)
        out->dims[1] *= b->times;
    size_t rows = in->dims[0] > 0 ? (size_t)in->dims[0] : 1;
    size_t row = in->bytes / rows;
    for (size_t r = 0; r < rows && row > 0; r++) {
        const unsigned char *from = (const unsigned char *)in->data + r * row;
        for (size_t k = 0; k < (size_t)b->times; k++)
            memcpy((unsigned char *)out->data + (r * (size_t)b->times + k) * row, from, row);
    }
    /* The copied references still count from the input area: make each string anew. */
    if (b->dtype == DT_BYTES && !copy_strings(run, out->data, out->data, out->bytes / sizeof(struct bytes_ref)))
        return err_set(err, ERR_TOO_LARGE, "the strings of 'OUTPUT0' do not fit into the batch's memory");
    return ERR_OK;
}

enum err_code builtin_run(void *instance, struct backend_run *run, struct err *err)
{
    struct builtin *b = instance;
    CHECK(run->in_len == 1);
    CHECK(run->out_len == 1);
    if (b->delay_ns > 0) {
        atomic_store_explicit(&b->is_aborted, 0, memory_order_release);
        enum err_code code = wait_delay(b, err);
        if (code != ERR_OK)
            return code;
    }
    return copy_rows(b, run, err);
}

void builtin_abort(void *instance)
{
    struct builtin *b = instance;
    atomic_store_explicit(&b->is_aborted, 1, memory_order_release);
    futex_wake(&b->is_aborted, 1);
}

void builtin_unload(void *instance)
{
    struct builtin *b = instance;
    free(b->memory);
    free(b);
}
