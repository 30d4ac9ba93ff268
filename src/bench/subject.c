#include "bench/subject.h"

#include <string.h>

#include "base/num.h"
#include "base/rand.h"
#include "bench/subject_sample.h"
#include "model/tensor.h"
#include "net/fetch.h"
#include "sys/fd.h"

#define REQUEST_BYTES_MAX (SUBJECT_BODY_MAX + ((size_t)64 << 10))
#define INPUTS_MAX        128
#define FREE_DIM_ELEMENTS 4  /* of a free dimension other than the rows */
#define FREE_DIM_PIXELS   64 /* the same for pictures, which must survive their layers */
#define DESCRIPTION_MAX   ((size_t)4 << 20)

/* ---- The address ---- */

static enum err_code bad_url(const char *url, struct err *err)
{
    (void)err_set(err, ERR_INVALID, "\"%.200s\" is no address that can be measured", url);
    return err_remedy(err, "it is http://HOST:PORT/PATH, unix:SOCKET, or the name of a model of the quern that runs");
}

static enum err_code parse_authority(struct str text, const char *url, struct subject *t, struct err *err)
{
    uint64_t port = 80;
    ptrdiff_t bracket = str_rchr(text, ']'), colon = str_rchr(text, ':');
    if (colon >= 0 && colon > bracket) {
        if (!str_to_u64(str_sub(text, (size_t)colon + 1, text.n), &port) || port == 0 || port > 65535)
            return bad_url(url, err);
        text = str_sub(text, 0, (size_t)colon);
    }
    if (str_starts(text, STR("[")) && str_ends(text, STR("]")))
        text = str_sub(text, 1, text.n - 2);
    if (text.n == 0 || !str_copy(t->host, sizeof t->host, text))
        return bad_url(url, err);
    t->port = (int)port;
    return ERR_OK;
}

/* /v2/models/MODEL[/versions/V][/infer] */
static void parse_model(struct subject *t, struct arena *a)
{
    struct str rest = str_c(t->path), word;
    if (!str_starts(rest, STR("/v2/models/")))
        return;
    rest = str_sub(rest, strlen("/v2/models/"), rest.n);
    struct str model = str_cut(rest, '/', &rest);
    if (model.n == 0)
        return;
    t->model = arena_cstr(a, model);
    t->base = arena_printf(a, "/v2/models/%s", t->model).p;
    word = str_cut(rest, '/', &rest);
    if (str_eq(word, STR("versions"))) {
        word = str_cut(rest, '/', &rest);
        t->base = arena_printf(a, "%s/versions/%.*s", t->base, STR_F(word)).p;
    }
    t->path = arena_printf(a, "%s/infer", t->base).p;
}

enum err_code subject_parse(const char *url, struct arena *a, struct subject *out, struct err *err)
{
    struct subject t = {.path = "/"};
    struct str s = str_c(url), path = {0};
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return bad_url(url, err);
    if (str_starts(s, STR("unix:"))) {
        struct str socket = str_cut(str_sub(s, 5, s.n), ':', &path);
        if (socket.n == 0)
            return bad_url(url, err);
        t.unix_path = arena_cstr(a, socket);
        (void)str_copy(t.host, sizeof t.host, STR("localhost")); /* fits */
    } else if (str_starts(s, STR("http://"))) {
        struct str rest = str_sub(s, 7, s.n);
        ptrdiff_t slash = str_chr(rest, '/');
        path = slash < 0 ? (struct str){0} : str_sub(rest, (size_t)slash, rest.n);
        if (parse_authority(slash < 0 ? rest : str_sub(rest, 0, (size_t)slash), url, &t, err) != ERR_OK)
            return err->code;
    } else {
        return bad_url(url, err);
    }
    if (path.n > 0)
        t.path = arena_cstr(a, path);
    if (t.path[0] != '/')
        return bad_url(url, err);
    parse_model(&t, a);
    buf_init(&t.request, REQUEST_BYTES_MAX);
    *out = t;
    return ERR_OK;
}

/* ---- The model's inputs ---- */

struct inputs {
    struct tensor_spec specs[INPUTS_MAX];
    size_t len;
    struct subject_samples samples; /* for those of bytes */
};

static void read_input(struct json_reader *r, struct arena *a, struct tensor_spec *out)
{
    struct str key, text;
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "name") && json_string(r, a, &text)) {
            if (!str_copy(out->name, sizeof out->name, text))
                json_fail(r, ERR_UNSUPPORTED, "the name is longer than %d bytes", TENSOR_NAME_MAX - 1);
        } else if (str_eq_c(key, "datatype") && json_string(r, a, &text)) {
            out->dtype = dtype_parse(text);
        } else if (str_eq_c(key, "shape")) {
            json_array(r);
            while (json_item(r)) {
                if (out->ndim == TENSOR_DIMS_MAX)
                    json_fail(r, ERR_UNSUPPORTED, "more than %d dimensions", TENSOR_DIMS_MAX);
                else
                    json_i64(r, &out->dims[out->ndim++]);
            }
        } else {
            json_skip(r, NULL);
        }
    }
}

static enum err_code read_description(struct str text, struct arena *a, struct inputs *out, struct err *err)
{
    struct json_reader *r = arena_new(a, struct json_reader);
    struct str key;
    json_init(r, text, JSON_DEPTH_MAX);
    json_object(r);
    while (json_key(r, &key)) {
        if (!str_eq_c(key, "inputs")) {
            json_skip(r, NULL);
            continue;
        }
        json_array(r);
        while (json_item(r)) {
            if (out->len == INPUTS_MAX)
                json_fail(r, ERR_UNSUPPORTED, "more than %d inputs", INPUTS_MAX);
            else
                read_input(r, a, &out->specs[out->len++]);
        }
    }
    if (json_end(r) == ERR_OK)
        return ERR_OK;
    *err = r->err;
    return err_wrap(err, "the server's description of the model");
}

static void choose_dims(struct tensor_spec *s, int64_t rows)
{
    for (int i = 0; i < s->ndim; i++)
        if (s->dims[i] < 0)
            s->dims[i] = i == 0 ? rows : s->ndim >= 4 ? FREE_DIM_PIXELS : FREE_DIM_ELEMENTS;
}

/* Small numbers that any model takes: floats from 0 to 1, whole numbers 0. Always the same ones, so that runs can be compared. */
static void fill(const struct tensor_spec *s, uint64_t n, char *out)
{
    for (uint64_t i = 0; i < n; i++) {
        float f = (float)rand_unit();
        double d = (double)f;
        uint16_t half = s->dtype == DT_FP16 ? f32_to_f16(f) : f32_to_bf16(f);
        if (s->dtype == DT_FP32)
            memcpy(out + i * 4, &f, 4);
        else if (s->dtype == DT_FP64)
            memcpy(out + i * 8, &d, 8);
        else if (s->dtype == DT_FP16 || s->dtype == DT_BF16)
            memcpy(out + i * 2, &half, 2);
    }
}

/* Elements of bytes, all the same one. */
static void put_texts(struct str json, struct str bytes, uint64_t n, bool is_binary, struct buf *raw,
                      struct json_writer *w)
{
    if (is_binary) {
        uint32_t len = (uint32_t)bytes.n; /* of an answer of DESCRIPTION_MAX */
        for (uint64_t i = 0; i < n && !raw->failed; i++) {
            buf_add(raw, &len, sizeof len);
            buf_str(raw, bytes);
        }
        return;
    }
    jw_array(w);
    for (uint64_t i = 0; i < n && !w->out->failed; i++)
        jw_raw(w, json);
    jw_array_end(w);
}

static void put_data(const struct tensor_spec *s, const struct subject_samples *samples, uint64_t n, bool is_binary,
                     struct buf *raw, struct json_writer *w)
{
    if (s->dtype == DT_BYTES) {
        int i = subject_samples_find(samples, s->name);
        put_texts(i < 0 ? STR("\"a\"") : samples->of[i].json, i < 0 ? STR("a") : samples->of[i].bytes, n, is_binary,
                  raw, w);
        return;
    }
    size_t bytes = (size_t)n * dtype_size((enum dtype)s->dtype), from = raw->len;
    if (!buf_reserve(raw, bytes))
        return;
    memset(raw->p + from, 0, bytes);
    fill(s, n, raw->p + from);
    raw->len += bytes;
    if (!is_binary) {
        jw_numbers(w, dtype_json((enum dtype)s->dtype), raw->p + from, (size_t)n);
        raw->len = from;
    }
}

static enum err_code put_input(struct tensor_spec *s, const struct subject_samples *samples,
                               const struct subject_options *o, struct buf *raw, struct json_writer *w, struct err *err)
{
    uint64_t n;
    choose_dims(s, o->rows);
    if (s->dtype == DT_NONE || s->name[0] == '\0' || !tensor_count(s->dims, s->ndim, &n))
        return err_set(err, ERR_UNSUPPORTED, "the server describes an input \"%s\" that this program cannot make",
                       s->name);
    if (n > SUBJECT_BODY_MAX / dtype_size((enum dtype)s->dtype))
        return err_set(err, ERR_TOO_LARGE, "the input \"%s\" would have %llu elements", s->name, (unsigned long long)n);
    size_t from = raw->len;
    jw_object(w);
    jw_kv_c(w, "name", s->name);
    jw_key(w, "shape");
    jw_numbers(w, JSON_I64, s->dims, (size_t)s->ndim);
    jw_kv_c(w, "datatype", dtype_name((enum dtype)s->dtype));
    if (!o->is_binary)
        jw_key(w, "data");
    put_data(s, samples, n, o->is_binary, raw, w);
    if (o->is_binary) {
        jw_key(w, "parameters");
        jw_object(w);
        jw_kv_u64(w, "binary_data_size", raw->len - from);
        jw_object_end(w);
    }
    jw_object_end(w);
    return ERR_OK;
}

/* The body of an infer request. *json_n: its JSON part, before binary tensors. */
static enum err_code put_inputs(struct inputs *in, const struct subject_options *o, struct buf *body, size_t *json_n,
                                struct err *err)
{
    struct json_writer w;
    struct buf raw;
    enum err_code code = ERR_OK;
    buf_init(&raw, SUBJECT_BODY_MAX);
    rand_seed(1);
    jw_init(&w, body);
    jw_object(&w);
    jw_key(&w, "inputs");
    jw_array(&w);
    for (size_t i = 0; i < in->len && code == ERR_OK; i++)
        code = put_input(&in->specs[i], &in->samples, o, &raw, &w, err);
    jw_array_end(&w);
    if (o->is_binary) {
        jw_key(&w, "parameters");
        jw_object(&w);
        jw_kv_bool(&w, "binary_data_output", true);
        jw_object_end(&w);
    }
    jw_object_end(&w);
    *json_n = body->len;
    buf_str(body, buf_view(&raw));
    if (code == ERR_OK && (raw.failed || body->failed))
        code = err_set(err, ERR_TOO_LARGE, "the request would be larger than %zu bytes", SUBJECT_BODY_MAX);
    buf_done(&raw);
    return code;
}

/* A server's refusal: its own words, if it says {"error": ...}, else the beginning of what it sent. */
static enum err_code refused(const char *path, struct fetch_response *r, struct arena *a, struct err *err)
{
    struct json_reader j;
    struct str key, text = {0};
    buf_pad(&r->body);
    json_init(&j, buf_view(&r->body), 8);
    json_object(&j);
    while (json_key(&j, &key)) {
        if (str_eq_c(key, "error"))
            json_string(&j, a, &text);
        else
            json_skip(&j, NULL);
    }
    if (json_end(&j) != ERR_OK || text.n == 0)
        text = buf_view(&r->body);
    return err_set(err, ERR_NOT_FOUND, "%s: the server answers %d: %.*s", path, r->status,
                   text.n < 200 ? (int)text.n : 200, text.p ? text.p : "");
}

/* Another server than quern has no such path, and its inputs of bytes get a text. */
static void ask_sample(const struct subject *t, struct arena *a, struct subject_samples *out)
{
    struct fetch_response r;
    struct err err;
    struct fetch_request q = {.unix_path = t->unix_path,
                              .host = t->host,
                              .port = t->port,
                              .path = arena_printf(a, "%s/sample", t->base).p,
                              .body_bytes_max = DESCRIPTION_MAX};
    if (fetch(&q, &r, &err) != ERR_OK)
        return;
    buf_pad(&r.body);
    if (r.status == 200)
        (void)subject_samples_read(buf_view(&r.body), a, out);
    fetch_done(&r);
}

static bool takes_bytes(const struct inputs *in)
{
    for (size_t i = 0; i < in->len; i++)
        if (in->specs[i].dtype == DT_BYTES)
            return true;
    return false;
}

static enum err_code ask_model(struct subject *t, struct arena *a, struct inputs *out, struct err *err)
{
    struct fetch_response r;
    struct fetch_request q = {.unix_path = t->unix_path,
                              .host = t->host,
                              .port = t->port,
                              .path = t->base,
                              .body_bytes_max = DESCRIPTION_MAX};
    if (fetch(&q, &r, err) != ERR_OK)
        return err_wrap(err, "asking for the model's inputs");
    enum err_code code = ERR_OK;
    if (r.status == 200)
        code = read_description(arena_str_dup(a, buf_view(&r.body)), a, out, err);
    else
        code = refused(t->base, &r, a, err);
    fetch_done(&r);
    if (code == ERR_OK && out->len == 0)
        code = err_set(err, ERR_UNSUPPORTED, "the server names no inputs of %s", t->model);
    if (code == ERR_OK && takes_bytes(out))
        ask_sample(t, a, &out->samples);
    return code;
}

/* ---- The request ---- */

static const char *content_type(const struct subject_options *o, size_t json_n)
{
    return o->content_type              ? o->content_type
           : o->is_binary && json_n > 0 ? "application/octet-stream"
                                        : "application/json";
}

static enum err_code make_body(struct subject *t, const struct subject_options *o, struct arena *a, struct buf *body,
                               size_t *json_n, struct err *err)
{
    if (o->body_file) {
        struct str content;
        struct arena file;
        arena_init(&file, 65536, SUBJECT_BODY_MAX + 65536);
        enum err_code code = file_read(o->body_file, SUBJECT_BODY_MAX, &file, &content, err);
        if (code == ERR_OK)
            buf_str(body, content);
        arena_done(&file);
        return code;
    }
    if (!t->model)
        return ERR_OK;
    struct inputs *in = arena_new(a, struct inputs);
    if (ask_model(t, a, in, err) != ERR_OK)
        return err->code;
    return put_inputs(in, o, body, json_n, err);
}

/* Too many, too late, not yet: it would be answered at another time. */
static bool is_for_now(int status)
{
    return status == 408 || status == 429 || status == 503 || status == 504;
}

/* The request once, before it is sent a thousand times: what the model refuses is told in the server's words, and nothing is measured. */
static enum err_code try_once(const struct subject *t, const struct subject_options *o, struct str body, size_t json_n,
                              struct arena *a, struct err *err)
{
    struct fetch_response r;
    struct http_header *h = arena_alloc(a, (o->headers_len + 1) * sizeof *h);
    size_t len = 0;
    for (; len < o->headers_len; len++)
        h[len].name = str_cut(str_c(o->headers[len]), ':', &h[len].value);
    if (json_n > 0)
        h[len++] = (struct http_header){STR("Inference-Header-Content-Length"), arena_printf(a, "%zu", json_n)};
    struct fetch_request q = {.unix_path = t->unix_path,
                              .host = t->host,
                              .port = t->port,
                              .method = "POST",
                              .path = t->path,
                              .content_type = str_c(content_type(o, json_n)),
                              .body = body,
                              .headers = h,
                              .headers_len = len,
                              .body_bytes_max = SUBJECT_BODY_MAX};
    if (fetch(&q, &r, err) != ERR_OK)
        return err_wrap(err, "trying the request once");
    enum err_code code = ERR_OK;
    if (r.status >= 400 && !is_for_now(r.status)) {
        code = refused(t->path, &r, a, err);
        (void)err_remedy(err, "%s",
                         o->body_file ? "correct the request: quern bench --help"
                                      : "send a request that it takes: --body FILE");
    }
    fetch_done(&r);
    return code;
}

static const char *describe(const struct subject *t, const struct subject_options *o, size_t body_n, struct arena *a)
{
    if (body_n == 0)
        return arena_printf(a, "GET %s", t->path).p;
    if (o->body_file || !t->model)
        return arena_printf(a, "POST %s, %zu bytes", t->path, body_n).p;
    return arena_printf(a, "POST %s, %lld row%s as %s, %zu bytes", t->path, (long long)o->rows, o->rows == 1 ? "" : "s",
                        o->is_binary ? "binary tensors" : "JSON", body_n)
        .p;
}

enum err_code subject_build(struct subject *t, const struct subject_options *o, struct arena *a, struct err *err)
{
    struct buf body;
    size_t json_n = 0;
    buf_init(&body, SUBJECT_BODY_MAX + 65536);
    if (make_body(t, o, a, &body, &json_n, err) != ERR_OK) {
        buf_done(&body);
        return err->code;
    }
    bool is_v6 = strchr(t->host, ':') != NULL, has_body = o->body_file || t->model;
    buf_printf(&t->request, "%s %s HTTP/1.1\r\nHost: %s%s%s", has_body ? "POST" : "GET", t->path, is_v6 ? "[" : "",
               t->host, is_v6 ? "]" : "");
    if (!t->unix_path)
        buf_printf(&t->request, ":%d", t->port);
    buf_c(&t->request, "\r\n");
    bool is_mixed = o->is_binary && json_n > 0;
    if (has_body)
        buf_printf(&t->request, "Content-Type: %s\r\nContent-Length: %zu\r\n", content_type(o, json_n), body.len);
    if (is_mixed)
        buf_printf(&t->request, "Inference-Header-Content-Length: %zu\r\n", json_n);
    for (size_t i = 0; i < o->headers_len; i++)
        buf_printf(&t->request, "%s\r\n", o->headers[i]);
    buf_c(&t->request, "\r\n");
    buf_str(&t->request, buf_view(&body));
    t->what = describe(t, o, has_body ? body.len : 0, a);
    enum err_code code =
        t->request.failed || body.failed ? err_set(err, ERR_TOO_LARGE, "the request is too large") : ERR_OK;
    if (code == ERR_OK && t->model)
        code = try_once(t, o, buf_view(&body), is_mixed ? json_n : 0, a, err);
    buf_done(&body);
    return code;
}

void subject_done(struct subject *t)
{
    buf_done(&t->request);
}
