/* Requests that a model takes as they are: for the dashboard's form, the API description, and the lines that `quern serve` prints. */
#include <string.h>

#include "base/check.h"
#include "model/backend.h"
#include "serve/proto_int.h"

#define SAMPLE_BYTES_MAX  ((size_t)8 << 20)
#define CURL_ELEMENTS_MAX 64 /* more do not read well: zero bytes are sent then, where one input allows it */
#define CURL_BYTES_MAX    ((size_t)64 << 10)

/* Free dimensions other than the rows: long enough for a sequence; pictures need some pixels to pass through their layers. */
static int64_t sample_dim(const struct tensor_spec *spec)
{
    return spec->ndim >= 4 ? 64 : 4;
}

static bool count_elements(const struct tensor_spec *spec, uint64_t *out)
{
    int64_t dims[TENSOR_DIMS_MAX];
    for (int i = 0; i < spec->ndim; i++)
        dims[i] = spec->dims[i] >= 0 ? spec->dims[i] : i == 0 ? 1 : sample_dim(spec);
    return tensor_count(dims, spec->ndim, out);
}

/* Are all inputs together small enough to show? */
static bool is_small(const struct model_desc *d, uint64_t elements_max)
{
    uint64_t total = 0, n;
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        if (!count_elements(&d->inputs[k], &n) || n > elements_max)
            return false;
        total += n;
    }
    return total <= elements_max;
}

/* A PNG file of four grey pixels. */
static const char picture[] =
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR42mNQSGBY8AAABEYCAW8kmUUAAAAASUVORK5CYII=";

static void put_sample_string(bool is_picture, struct json_writer *w)
{
    if (!is_picture) {
        jw_c(w, "a");
        return;
    }
    jw_object(w);
    jw_kv_c(w, "b64", picture);
    jw_object_end(w);
}

static void put_sample_strings(const int64_t *dims, int ndim, bool is_picture, struct json_writer *w)
{
    uint64_t n = 0;
    CHECK(tensor_count(dims, ndim, &n));
    for (int i = 0; i < ndim; i++)
        jw_array(w);
    for (uint64_t e = 0; e < n; e++) { /* brackets between the innermost rows, at the depth where an index turns over */
        uint64_t stride = 1;
        int turns = 0;
        for (int d = ndim - 1; d > 0 && e > 0; d--) {
            stride *= (uint64_t)dims[d];
            turns += e % stride == 0;
        }
        for (int i = 0; i < turns; i++)
            jw_array_end(w);
        for (int i = 0; i < turns; i++)
            jw_array(w);
        put_sample_string(is_picture, w);
    }
    for (int i = 0; i < ndim; i++)
        jw_array_end(w);
}

static void put_values(const struct tensor_spec *spec, const struct backend_tensor *t, const int64_t *dims, int ndim,
                       struct json_writer *w)
{
    if (t->dtype == DT_BYTES)
        put_sample_strings(dims, ndim, spec->is_picture != 0, w);
    else
        jw_numbers_nested(w, dtype_json(t->dtype), t->data, dims, ndim);
}

bool proto_sample_predict(const struct served_info *m, uint64_t elements_max, struct json_writer *w)
{
    const struct model_desc *d = m->desc;
    if (!is_small(d, elements_max))
        return false;
    bool is_one = d->inputs_len == 1;
    jw_object(w);
    jw_kv_c(w, "modelId", m->name);
    jw_key(w, is_one ? "features" : "inputs");
    if (!is_one)
        jw_object(w);
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        struct backend_tensor t;
        struct arena a;
        arena_init(&a, 4096, SAMPLE_BYTES_MAX);
        backend_sample(&d->inputs[k], 1, sample_dim(&d->inputs[k]), &t, &a);
        bool drops_row = is_one && d->has_batch_dim && t.ndim > 1; /* one row, as people write it */
        if (!is_one)
            jw_key(w, d->inputs[k].name);
        put_values(&d->inputs[k], &t, t.dims + drops_row, t.ndim - drops_row, w);
        arena_done(&a);
    }
    if (!is_one)
        jw_object_end(w);
    jw_object_end(w);
    return true;
}

bool proto_sample_infer(const struct served_info *m, uint64_t elements_max, struct json_writer *w)
{
    const struct model_desc *d = m->desc;
    if (!is_small(d, elements_max))
        return false;
    jw_object(w);
    jw_key(w, "inputs");
    jw_array(w);
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        struct backend_tensor t;
        struct arena a;
        uint64_t n = 0;
        arena_init(&a, 4096, SAMPLE_BYTES_MAX);
        backend_sample(&d->inputs[k], 1, sample_dim(&d->inputs[k]), &t, &a);
        CHECK(tensor_count(t.dims, t.ndim, &n));
        jw_object(w);
        jw_kv_c(w, "name", d->inputs[k].name);
        jw_key(w, "shape");
        jw_numbers(w, JSON_I64, t.dims, (size_t)t.ndim);
        jw_kv_c(w, "datatype", dtype_name(t.dtype));
        jw_key(w, "data");
        put_values(&d->inputs[k], &t, (const int64_t[]){(int64_t)n}, 1, w);
        jw_object_end(w);
        arena_done(&a);
    }
    jw_array_end(w);
    jw_object_end(w);
    return true;
}

/* Inside single quotes of a shell. */
static void put_quoted(struct buf *out, struct str s)
{
    buf_char(out, '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\'')
            buf_c(out, "'\\''");
        else
            buf_char(out, s.p[i]);
    }
    buf_char(out, '\'');
}

/* A model's name inside a URL. */
static void put_percent(struct buf *out, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (is_plain)
            buf_char(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

/* The address may be what a client sent as Host: nothing of it may mean something to a shell. */
static const char *safe_address(const char *address)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_[]";
    bool is_safe = address[0] && address[strspn(address, allowed)] == '\0' && strlen(address) < 256;
    return is_safe ? address : "localhost:8000";
}

/* Zero bytes in the right number, as a raw request; only for one input without strings. */
static bool put_raw_curl(const struct served_info *m, const char *address, struct buf *out)
{
    const struct tensor_spec *spec = &m->desc->inputs[0];
    uint64_t n;
    if (m->desc->inputs_len != 1 || spec->dtype == DT_BYTES || !count_elements(spec, &n))
        return false;
    n *= dtype_size((enum dtype)spec->dtype);
    buf_printf(out, "head -c %llu /dev/zero | curl -s http://%s/v2/models/", (unsigned long long)n, address);
    put_percent(out, m->name);
    buf_c(out, "/infer -H 'Inference-Header-Content-Length: 0' --data-binary @- -o answer.bin");
    return true;
}

void proto_curl(const struct served_info *m, const char *address, struct buf *out)
{
    address = safe_address(address);
    struct buf body;
    struct json_writer w;
    buf_init(&body, CURL_BYTES_MAX);
    jw_init(&w, &body);
    bool is_short = proto_sample_predict(m, CURL_ELEMENTS_MAX, &w);
    if (!is_short && put_raw_curl(m, address, out)) {
        buf_done(&body);
        return;
    }
    if ((is_short || proto_sample_predict(m, PROTO_SAMPLE_SHOWN_MAX, &w)) && !body.failed) {
        buf_printf(out, "curl -s http://%s/predict -d ", address);
        put_quoted(out, buf_view(&body));
    } else {
        buf_printf(out, "curl -s http://%s/v2/models/", address);
        put_percent(out, m->name);
    }
    buf_done(&body);
}

void proto_sample(const struct served_info *m, const char *address, struct json_writer *w)
{
    struct buf line;
    buf_init(&line, 2 * CURL_BYTES_MAX);
    proto_curl(m, address, &line);
    jw_object(w);
    jw_key(w, "predict");
    if (!proto_sample_predict(m, PROTO_SAMPLE_ELEMENTS_MAX, w))
        jw_null(w);
    jw_key(w, "infer");
    if (!proto_sample_infer(m, PROTO_SAMPLE_ELEMENTS_MAX, w))
        jw_null(w);
    jw_kv_str(w, "curl", buf_view(&line));
    jw_object_end(w);
    buf_done(&line);
}
