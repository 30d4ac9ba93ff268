/* Elements between protocols and batch blocks: JSON and binary in, JSON out. */
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/clock.h"
#include "serve/proto_cached.h"

static uint64_t element_count(const struct infer_tensor *t)
{
    uint64_t n = 0;
    return tensor_count(t->dims, t->ndim, &n) ? n : 0;
}

static enum err_code wrong_count(const struct infer_tensor *t, struct json_reader *r, uint64_t got)
{
    char shape[128];
    tensor_dims_format(t->dims, t->ndim, shape, sizeof shape);
    json_fail(r, ERR_INVALID, "%llu elements where shape %s needs %llu", (unsigned long long)got, shape,
              (unsigned long long)element_count(t));
    return r->err.code;
}

/* {"b64": "..."}: bytes that are no text, as of pictures. */
static bool read_base64(struct proto_call *c, struct json_reader *r, struct str *out)
{
    struct str key, text = {NULL, 0};
    size_t len = 0;
    json_object(r);
    while (json_key(r, &key))
        if (!str_eq_c(key, "b64"))
            json_fail(r, ERR_INVALID, "unknown key; bytes are written as {\"b64\": \"...\"}");
        else if (!json_string(r, c->req->arena, &text))
            return false;
    if (r->failed || !text.p)
        return !r->failed && json_fail(r, ERR_INVALID, "no key \"b64\"");
    char *bytes = arena_try_alloc(c->req->arena, base64_bound(text.n));
    if (!bytes)
        return json_fail(r, ERR_TOO_LARGE, "the bytes do not fit in the request's memory");
    if (!base64_decode(text, bytes, &len))
        return json_fail(r, ERR_INVALID, "not Base64 from character %zu on", len);
    *out = (struct str){bytes, len};
    return true;
}

static bool put_bytes(struct proto_call *c, int k, uint64_t e, struct str s)
{
    return UNLIKELY(c->is_keying) ? proto_cached_put_bytes(c, k, s) : infer_put_bytes(&c->infer, k, e, s);
}

static bool put_string(struct proto_call *c, int k, struct json_reader *r, uint64_t e, uint64_t count)
{
    struct str s;
    if (e >= count)
        return json_fail(r, ERR_INVALID, "more than the %llu elements of the shape", (unsigned long long)count);
    if (!(json_peek(r) == JSON_OBJECT ? read_base64(c, r, &s) : json_string(r, c->req->arena, &s)))
        return false;
    return put_bytes(c, k, e, s) || json_fail(r, ERR_TOO_LARGE, "the strings do not fit in a batch block");
}

/* Strings, nested in any way. */
static enum err_code read_strings(struct proto_call *c, int k, struct json_reader *r)
{
    const struct infer_tensor *t = &c->infer.in[k];
    uint64_t count = element_count(t), e = 0;
    int depth = json_array(r) ? 1 : 0;
    while (depth > 0 && !r->failed) {
        if (!json_item(r))
            depth--;
        else if (json_peek(r) == JSON_ARRAY)
            depth += json_array(r);
        else if (put_string(c, k, r, e, count))
            e++;
    }
    if (r->failed)
        return r->err.code;
    return e == count ? ERR_OK : wrong_count(t, r, e);
}

enum err_code proto_read_elements(struct proto_call *c, int k, struct json_reader *r, struct err *err)
{
    struct infer_tensor *t = &c->infer.in[k];
    size_t got = 0, count = (size_t)element_count(t);
    enum err_code code;
    if (t->dtype == DT_BYTES)
        code = read_strings(c, k, r);
    else if (!json_numbers(r, dtype_json(t->dtype), t->data, count, &got, NULL))
        code = r->err.code;
    else
        code = got == count ? ERR_OK : wrong_count(t, r, got);
    if (code != ERR_OK)
        *err = r->err;
    return code;
}

/* Text that was skipped before. A scalar is read as an array of one. */
static enum err_code read_text(struct proto_call *c, int k, struct err *err)
{
    const struct proto_source *source = &c->source[k];
    struct str text = source->bytes;
    bool is_array = text.n > 0 && text.p[0] == '[';
    if (!is_array) {
        char *copy = arena_try_alloc(c->req->arena, text.n + 2 + BUF_PAD);
        if (!copy)
            return err_set(err, ERR_TOO_LARGE, "%s: the text does not fit in the request's memory", source->where);
        copy[0] = '[';
        memcpy(copy + 1, text.p, text.n);
        copy[text.n + 1] = ']';
        memset(copy + text.n + 2, 0, BUF_PAD);
        text = (struct str){copy, text.n + 2};
    }
    struct json_reader *r = &c->reader; /* the request itself has been read to its end */
    json_init(r, text, JSON_DEPTH_MAX);
    r->allow_nan = c->ops->allow_nan;
    if (is_array)
        r->start = c->req->body.p; /* places in errors count from the body's first byte */
    if (proto_read_elements(c, k, r, err) != ERR_OK)
        return err_wrap(err, "%s", source->where);
    return ERR_OK;
}

/* Strings as 4 bytes of length, then that many bytes, each. */
static enum err_code read_binary_strings(struct proto_call *c, int k, struct err *err)
{
    const struct infer_tensor *t = &c->infer.in[k];
    const char *name = c->desc->inputs[k].name, *model = c->info->name;
    struct str rest = c->source[k].bytes;
    (void)http_body_fetch(c->req); /* if that fails, it reads as zeros, and nobody waits for the answer */
    uint64_t count = element_count(t), e = 0;
    for (; rest.n > 0 && e < count; e++) {
        uint32_t n;
        if (rest.n < sizeof n)
            return err_set(err, ERR_INVALID,
                           "incomplete string length indicator for inference input '%s' for model '%s', expecting 4 "
                           "bytes but only %zu bytes available",
                           name, model, rest.n);
        memcpy(&n, rest.p, sizeof n);
        rest = str_sub(rest, sizeof n, rest.n);
        if (n > rest.n)
            return err_set(err, ERR_INVALID,
                           "incomplete string data for inference input '%s' for model '%s', expecting string of length "
                           "%u but only %zu bytes available",
                           name, model, n, rest.n);
        if (!put_bytes(c, k, e, str_sub(rest, 0, n)))
            return err_set(err, ERR_TOO_LARGE, "the strings of input '%s' do not fit in a batch block", name);
        rest = str_sub(rest, n, rest.n);
    }
    if (rest.n > 0)
        return err_set(err, ERR_INVALID,
                       "unexpected number of string elements for inference input '%s' for model '%s', expecting %llu",
                       name, model, (unsigned long long)count);
    if (e < count)
        return err_set(err, ERR_INVALID,
                       "expected %llu string elements for inference input '%s' for model '%s', got %llu",
                       (unsigned long long)count, name, model, (unsigned long long)e);
    return ERR_OK;
}

static enum err_code check_bools(const struct infer_tensor *t, const char *bytes, const char *name, struct err *err)
{
    for (size_t i = 0; t->dtype == DT_BOOL && i < t->bytes; i++)
        if ((unsigned char)bytes[i] > 1)
            return err_set(err, ERR_INVALID, "element %zu of BOOL input '%s' is %u, not 0 or 1", i, name,
                           (unsigned char)bytes[i]);
    return ERR_OK;
}

static enum err_code check_byte_size(const struct proto_call *c, int k, size_t got, struct err *err)
{
    size_t want = c->infer.in[k].bytes;
    if (got == want)
        return ERR_OK;
    return err_set(err, ERR_INVALID, "input byte size mismatch for input '%s' for model '%s'. Expected %zu, got %zu",
                   c->desc->inputs[k].name, c->info->name, want, got);
}

static enum err_code read_binary(struct proto_call *c, int k, struct err *err)
{
    struct infer_tensor *t = &c->infer.in[k];
    struct str bytes = c->source[k].bytes;
    const char *name = c->desc->inputs[k].name;
    if (t->dtype == DT_BYTES)
        return read_binary_strings(c, k, err);
    if (check_byte_size(c, k, bytes.n, err))
        return err->code;
    if (c->req->body_away > 0) {
        if (!http_body_copy(c->req, bytes, t->data))
            return err_set(err, ERR_CANCELLED, "the client went away");
    } else if (bytes.n > 0) {
        memcpy(t->data, bytes.p, bytes.n);
    }
    return check_bools(t, (const char *)t->data, name, err);
}

/* Numbers go straight into the batch, and are looked at there: the client may write to its memory at any time. */
static enum err_code read_region(struct proto_call *c, int k, struct err *err)
{
    struct infer_tensor *t = &c->infer.in[k];
    struct proto_source *source = &c->source[k];
    size_t n = (size_t)source->part.bytes;
    if (t->dtype == DT_BYTES) {
        char *copy = arena_try_alloc(c->req->arena, n + 1);
        if (!copy)
            return err_set(err, ERR_TOO_LARGE, "input '%s' does not fit in the request's memory",
                           c->desc->inputs[k].name);
        if (client_shm_read(&source->part, copy, n, err))
            return err->code;
        source->bytes = (struct str){copy, n};
        return read_binary_strings(c, k, err);
    }
    if (check_byte_size(c, k, n, err) || client_shm_read(&source->part, t->data, n, err))
        return err->code;
    return check_bools(t, (const char *)t->data, c->desc->inputs[k].name, err);
}

enum err_code proto_decode_input(struct proto_call *c, int k, struct err *err)
{
    switch (c->source[k].kind) {
    case PROTO_ABSENT:
        break;
    case PROTO_TEXT:
        return read_text(c, k, err);
    case PROTO_BINARY:
        return read_binary(c, k, err);
    case PROTO_REGION:
        return read_region(c, k, err);
    case PROTO_HERE:
        if (proto_read_elements(c, k, &c->reader, err) != ERR_OK)
            return err->code;
        return c->ops->resume(c, err);
    }
    return ERR_OK;
}

enum err_code proto_decode(struct infer *i, struct err *err)
{
    struct proto_call *c = i->owner;
    c->t_decode_ns = clock_now_ns();
    for (uint32_t k = 0; k < c->desc->inputs_len; k++)
        if (proto_decode_input(c, (int)k, err) != ERR_OK)
            return err->code;
    proto_trace_inputs(c);
    return ERR_OK;
}

void proto_write_flat(const struct infer *i, int k, struct json_writer *w)
{
    const struct infer_tensor *t = &i->out[k];
    uint64_t n = element_count(t);
    if (t->dtype != DT_BYTES) {
        jw_numbers(w, dtype_json(t->dtype), t->data, (size_t)n);
        return;
    }
    jw_array(w);
    for (uint64_t e = 0; e < n; e++)
        jw_str(w, infer_get_bytes(i, k, e));
    jw_array_end(w);
}

/* Brackets open before an element whose index is a multiple of a dimension's stride, and close behind the last of it. */
static void write_strings(const struct infer *i, int k, uint64_t from, const int64_t *dims, int ndim,
                          struct json_writer *w)
{
    uint64_t count = 0, stride[TENSOR_DIMS_MAX + 1];
    if (!tensor_count(dims, ndim, &count))
        return;
    stride[ndim] = 1;
    for (int d = ndim - 1; d >= 0; d--)
        stride[d] = stride[d + 1] * (uint64_t)dims[d];
    for (uint64_t e = 0; e < count; e++) {
        for (int d = 0; d < ndim; d++)
            if (e % stride[d] == 0)
                jw_array(w);
        jw_str(w, infer_get_bytes(i, k, from + e));
        for (int d = ndim - 1; d >= 0; d--)
            if ((e + 1) % stride[d] == 0)
                jw_array_end(w);
    }
}

void proto_write_nested(const struct infer *i, int k, uint64_t from, const int64_t *dims, int ndim,
                        struct json_writer *w)
{
    const struct infer_tensor *t = &i->out[k];
    uint64_t count = 0;
    bool is_counted = tensor_count(dims, ndim, &count);
    if (t->dtype == DT_BYTES && is_counted && count > 0)
        write_strings(i, k, from, dims, ndim, w);
    else
        jw_numbers_nested(w, t->dtype == DT_BYTES ? JSON_U8 : dtype_json(t->dtype),
                          t->data + from * dtype_size(t->dtype), dims, ndim);
}
