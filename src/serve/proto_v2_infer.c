/* POST /v2/models/{model}[/versions/{version}]/infer: reading the request. The usual body is read in one pass: when a model has one input and
 * its shape stands before its data, the parser stops at the data, the call is submitted, and decode goes on from there, straight into the batch.
 * Error texts follow Triton's, which clients match on. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "serve/proto_classes.h"
#include "serve/proto_v2_int.h"

/* An input as it stands in the request. */
struct v2_input {
    struct str name, data;
    struct infer_tensor t;
    uint64_t binary_size;
    struct client_shm_part part; /* has_region */
    bool has_name, has_shape, has_data, has_binary, has_region;
};

struct v2_request {
    struct v2 v2; /* what the answer needs */
    struct v2_input input;
    struct str binary; /* behind the JSON */
    size_t binary_used;
    uint32_t inputs_seen;
    uint64_t timeout_us, priority;
    bool is_stopped; /* the parser stands before an input's data */
};

static struct v2_request *request_of(struct proto_call *c)
{
    return c->protocol;
}

bool proto_v2_fail_name(struct json_reader *r, const char *what, const struct tensor_spec *t, uint32_t len,
                        struct str name)
{
    char names[200];
    proto_names(t, len, names, sizeof names);
    json_fail(r, ERR_INVALID, "unexpected inference %s '%.*s', allowed %ss are: %s", what, proto_cut(name), name.p,
              what, names);
    const char *nearest = proto_nearest(t, len, name);
    if (nearest)
        err_remedy(&r->err, "did you mean '%s'?", nearest);
    return false;
}

static bool read_shape(struct json_reader *r, struct infer_tensor *t)
{
    t->ndim = 0;
    if (!json_array(r))
        return false;
    while (json_item(r)) {
        int64_t v;
        if (t->ndim == TENSOR_DIMS_MAX)
            return json_fail(r, ERR_INVALID, "Unable to parse 'shape': more than %d dimensions", TENSOR_DIMS_MAX);
        if (!json_i64(r, &v))
            return false;
        if (v < 0)
            return json_fail(r, ERR_INVALID, "Unable to parse 'shape': %lld is negative", (long long)v);
        t->dims[t->ndim++] = v;
    }
    uint64_t count;
    if (!r->failed && !tensor_count(t->dims, t->ndim, &count))
        return json_fail(r, ERR_INVALID, "Unable to parse 'shape': the product of the dimensions is too large");
    return !r->failed;
}

static bool read_datatype(struct json_reader *r, struct arena *a, struct infer_tensor *t)
{
    struct str s;
    if (!json_string(r, a, &s))
        return false;
    t->dtype = dtype_parse(s);
    if (t->dtype != DT_NONE)
        return true;
    json_fail(r, ERR_INVALID, "unknown datatype '%.*s'", proto_cut(s), s.p);
    err_remedy(&r->err, "one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64, BYTES");
    return false;
}

/* The parameters that name a part of a client's shared memory; false: the key is none of them. */
bool proto_v2_read_part(struct json_reader *r, struct str key, struct arena *a, struct client_shm_part *p, bool *has)
{
    if (str_eq_c(key, "shared_memory_region"))
        *has = json_string(r, a, &p->name);
    else if (str_eq_c(key, "shared_memory_offset"))
        (void)json_u64(r, &p->offset);
    else if (str_eq_c(key, "shared_memory_byte_size"))
        (void)json_u64(r, &p->bytes);
    else
        return false;
    return true;
}

bool proto_v2_find_part(struct proto_call *c, struct client_shm_part *p)
{
    struct json_reader *r = &c->reader;
    struct err err;
    if (!client_shm_is_allowed()) {
        json_fail(r, ERR_UNSUPPORTED, "shared memory regions are not allowed");
        return !err_remedy(&r->err, "send the tensor as 'data' or as binary data, or set allow_client_shm: true");
    }
    if (p->bytes == 0)
        return json_fail(r, ERR_INVALID,
                         "'shared_memory_byte_size' must be specified along with "
                         "'shared_memory_region', and be more than 0");
    if (client_shm_find(p, &err) == ERR_OK)
        return true;
    json_fail(r, err.code, "%s", err.text);
    if (err.remedy[0])
        err_remedy(&r->err, "%s", err.remedy);
    return false;
}

static bool read_input_parameters(struct json_reader *r, struct arena *a, struct v2_input *in)
{
    struct str key;
    if (!json_object(r))
        return false;
    while (json_key(r, &key)) {
        if (str_eq_c(key, "binary_data_size"))
            in->has_binary = json_u64(r, &in->binary_size);
        else if (!proto_v2_read_part(r, key, a, &in->part, &in->has_region))
            (void)json_skip(r, NULL);
    }
    return !r->failed;
}

/* Deadline and priority decide about the request before its data is read; clients that send them behind the data send them near the end. */
#define TAIL_BYTES 256

static bool tail_says_when(const struct proto_call *c)
{
    const struct v2_request *q = c->protocol;
    size_t n = c->req->body.n - q->binary.n;
    struct str tail = str_sub(c->req->body, n > TAIL_BYTES ? n - TAIL_BYTES : 0, n);
    ptrdiff_t at;
    while ((at = str_chr(tail, '"')) >= 0) { /* few, for numbers have none */
        tail = str_sub(tail, (size_t)at, tail.n);
        if (str_starts(tail, STR("\"timeout\"")) || str_starts(tail, STR("\"priority\"")))
            return true;
        tail = str_sub(tail, 1, tail.n);
    }
    return false;
}

/* May the parser stop at this input's data? */
static bool may_stop(const struct proto_call *c, const struct v2_input *in)
{
    return c->desc->inputs_len == 1 && !c->infer.in[0].given && in->has_name && in->has_shape && !in->has_binary &&
           !in->has_region && str_eq_c(in->name, c->desc->inputs[0].name) &&
           in->t.dtype == (enum dtype)c->desc->inputs[0].dtype && in->t.dtype != DT_BYTES && !tail_says_when(c);
}

/* The members of one input, to its end or to data where the parser may stop. */
static bool read_input_members(struct proto_call *c, struct v2_input *in)
{
    struct json_reader *r = &c->reader;
    struct str key;
    while (json_key(r, &key)) {
        if (str_eq_c(key, "name")) {
            in->has_name = json_string(r, c->req->arena, &in->name);
        } else if (str_eq_c(key, "shape")) {
            in->has_shape = read_shape(r, &in->t);
        } else if (str_eq_c(key, "datatype")) {
            (void)read_datatype(r, c->req->arena, &in->t);
        } else if (str_eq_c(key, "parameters") && json_peek(r) != JSON_NULL) {
            (void)read_input_parameters(r, c->req->arena, in);
        } else if (str_eq_c(key, "data")) {
            in->has_data = true;
            if (may_stop(c, in)) {
                request_of(c)->is_stopped = true;
                return true;
            }
            (void)json_skip(r, &in->data);
        } else {
            (void)json_skip(r, NULL);
        }
    }
    return !r->failed;
}

/* Exactly one source of elements. */
static bool check_source(struct json_reader *r, const struct v2_input *in)
{
    int n = (int)in->has_data + (int)in->has_binary + (int)in->has_region;
    if (n == 1)
        return true;
    return json_fail(r, ERR_INVALID,
                     "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
                     "'shared_memory_region' in 'parameters'. But %s%s%s%s",
                     n == 0 ? "no field is set" : "set", in->has_data ? " 'data'" : "",
                     in->has_binary ? " 'binary_data_size'" : "", in->has_region ? " 'shared_memory_region'" : "");
}

/* For errors, so seldom needed: the usual one is not worth a printf. */
static void name_place(struct proto_source *s, uint32_t index)
{
    if (index == 0)
        memcpy(s->where, "inputs[0].data", sizeof "inputs[0].data");
    else
        (void)snprintf(s->where, sizeof s->where, "inputs[%u].data", index);
}

/* Enters an input into the call. */
static bool add_input(struct proto_call *c, const struct v2_input *in)
{
    struct json_reader *r = &c->reader;
    struct v2_request *q = request_of(c);
    if (!in->has_name)
        return json_fail(r, ERR_INVALID, "an input needs 'name'");
    int k = model_desc_input(c->desc, in->name);
    if (k < 0)
        return proto_v2_fail_name(r, "input", c->desc->inputs, c->desc->inputs_len, in->name);
    if (c->infer.in[k].given)
        return json_fail(r, ERR_INVALID, "input '%s' already exists in request", c->desc->inputs[k].name);
    if (!in->has_shape || in->t.dtype == DT_NONE)
        return json_fail(r, ERR_INVALID, "input '%s' needs '%s'", c->desc->inputs[k].name,
                         in->has_shape ? "datatype" : "shape");
    if (!q->is_stopped && !check_source(r, in))
        return false;
    c->source[k].part = in->part;
    if (in->has_region && !proto_v2_find_part(c, &c->source[k].part))
        return false;
    struct infer_tensor *t = &c->infer.in[k];
    struct proto_source *source = &c->source[k];
    *t = in->t;
    t->given = true;
    t->heap_bytes = in->t.dtype != DT_BYTES ? 0
                    : in->has_region        ? in->part.bytes
                    : in->has_binary        ? in->binary_size
                                            : in->data.n;
    source->kind = q->is_stopped    ? PROTO_HERE
                   : in->has_region ? PROTO_REGION
                   : in->has_binary ? PROTO_BINARY
                                    : PROTO_TEXT;
    source->bytes = in->data;
    name_place(source, q->inputs_seen - 1);
    if (!in->has_binary)
        return true;
    if (in->binary_size > q->binary.n - q->binary_used)
        return json_fail(r, ERR_INVALID,
                         "unexpected size for input '%s', expecting %llu additional bytes for model '%s'",
                         c->desc->inputs[k].name,
                         (unsigned long long)(in->binary_size - (q->binary.n - q->binary_used)), c->info->name);
    source->bytes = str_sub(q->binary, q->binary_used, (size_t)in->binary_size);
    q->binary_used += (size_t)in->binary_size;
    return true;
}

/* Further inputs of the open array; false also when the parser stopped. */
static bool read_inputs(struct proto_call *c)
{
    struct v2_request *q = request_of(c);
    while (json_item(&c->reader)) {
        q->inputs_seen++;
        q->input = (struct v2_input){0};
        if (!json_object(&c->reader) || !read_input_members(c, &q->input) || !add_input(c, &q->input))
            return false;
        if (q->is_stopped)
            return false;
    }
    return !c->reader.failed;
}

static bool read_parameters(struct proto_call *c)
{
    struct json_reader *r = &c->reader;
    struct v2_request *q = request_of(c);
    struct str key;
    if (!json_object(r))
        return false;
    while (json_key(r, &key)) {
        if (str_starts(key, STR("triton_")))
            return json_fail(
                r, ERR_INVALID,
                "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified.");
        if (str_eq_c(key, "binary_data_output"))
            (void)json_bool(r, &q->v2.is_binary_default);
        else if (str_eq_c(key, "timeout"))
            (void)json_u64(r, &q->timeout_us);
        else if (str_eq_c(key, "priority"))
            (void)json_u64(r, &q->priority);
        else
            (void)json_skip(r, NULL);
    }
    return !r->failed;
}

static bool read_id(struct proto_call *c)
{
    struct str *id = &request_of(c)->v2.id;
    bool is_number = json_peek(&c->reader) == JSON_NUMBER; /* tritonclient sends what the caller gave */
    if (!(is_number ? json_skip(&c->reader, id) : json_string(&c->reader, c->req->arena, id)))
        return false;
    c->client_id = *id;
    return true;
}

/* Further members of the body's object; false also when the parser stopped. */
static bool read_members(struct proto_call *c)
{
    struct json_reader *r = &c->reader;
    struct str key;
    while (json_key(r, &key)) {
        bool go_on;
        if (str_eq_c(key, "inputs"))
            go_on = json_array(r) && read_inputs(c);
        else if (json_peek(r) == JSON_NULL) /* optional members that a client writes out */
            go_on = json_null(r);
        else if (str_eq_c(key, "outputs"))
            go_on = proto_v2_outputs(c);
        else if (str_eq_c(key, "parameters"))
            go_on = read_parameters(c);
        else if (str_eq_c(key, "id"))
            go_on = read_id(c);
        else
            go_on = json_skip(r, NULL);
        if (!go_on)
            return false;
    }
    return !r->failed;
}

/* Most that a client may ask to wait; beyond, the model's own limit is what counts. */
#define TIMEOUT_US_MAX (UINT64_C(24) * 3600 * 1000000)

static enum err_code finish(struct proto_call *c, struct err *err)
{
    struct v2_request *q = request_of(c);
    if (json_end(&c->reader) != ERR_OK) {
        *err = c->reader.err;
        return err->code;
    }
    if (q->binary_used != q->binary.n)
        return err_set(err, ERR_INVALID,
                       "unexpected additional input data for model '%s': %zu bytes more than the inputs take",
                       c->info->name, q->binary.n - q->binary_used);
    if (q->timeout_us > 0 && q->timeout_us < TIMEOUT_US_MAX)
        c->infer.deadline_ns = c->req->t_ready_ns + q->timeout_us * 1000;
    if (q->priority > 0) /* serve cuts it to what there is */
        c->infer.priority = q->priority < UINT32_MAX ? (uint32_t)q->priority : UINT32_MAX;
    return ERR_OK;
}

/* Behind the data where the parser stopped: the rest of the input, of the inputs, of the body. */
static enum err_code resume(struct proto_call *c, struct err *err)
{
    struct v2_request *q = request_of(c);
    q->is_stopped = false;
    if (read_input_members(c, &q->input) && check_source(&c->reader, &q->input) && read_inputs(c))
        (void)read_members(c);
    return finish(c, err);
}

/* --- the handler ------------------------------------------------------------------------------------------------------------ */

/* Splits the body by Inference-Header-Content-Length. */
static enum err_code split_body(struct http_req *req, struct str *json, struct str *binary, bool *is_raw,
                                struct err *err)
{
    struct str header = http_header_get(req, "inference-header-content-length");
    uint64_t n = 0;
    *json = req->body;
    *binary = str_sub(req->body, req->body.n, 0);
    *is_raw = false;
    if (!header.p)
        return ERR_OK;
    bool is_number = str_to_u64(header, &n);
    if (is_number && n == 0) {
        *is_raw = true;
        *binary = req->body;
        return ERR_OK;
    }
    if (!is_number || n > req->body.n)
        return err_set(err, ERR_INVALID, "inference header size should be in range (0, %zu), got: %.*s", req->body.n,
                       proto_cut(header), header.p);
    *json = str_sub(req->body, 0, (size_t)n);
    *binary = str_sub(req->body, (size_t)n, req->body.n);
    return ERR_OK;
}

bool proto_may_defer(const struct http_req *req)
{
    return req->method == HTTP_POST_ && str_ends(req->path, STR("/infer")) &&
           http_header_get(req, "inference-header-content-length").p;
}

static enum err_code read_request(struct proto_call *c, bool is_raw, struct err *err)
{
    if (is_raw) {
        request_of(c)->v2.is_binary_default = true;
        return proto_v2_raw(c, request_of(c)->binary, err);
    }
    if (json_object(&c->reader) && !read_members(c) && request_of(c)->is_stopped)
        return ERR_OK;
    return finish(c, err);
}

static void fail(struct http_req *req, const struct err *err)
{
    http_respond_err(req, err);
}

void proto_v2_infer(struct http_req *req, const struct route_match *m, void *arg)
{
    static const struct proto_ops ops = {.resume = resume, .answer = proto_v2_answer, .fail = fail, .allow_nan = true};
    struct proto_call *c = proto_call_new(req, arg, &ops);
    if (!c)
        return;
    struct err err;
    struct served *model;
    struct str json, binary;
    bool is_raw;
    if (proto_find(arg, m, &model, &err) || proto_call_model(c, model, &err) ||
        split_body(req, &json, &binary, &is_raw, &err)) {
        proto_call_fail(c, &err);
        return;
    }
    http_body_reads(req, is_raw ? 0 : json.n + BUF_PAD);
    if (req->body_away > 0 && !is_raw && req->body_away + BUF_PAD > binary.n) /* readers of JSON look ahead */
        (void)http_body_fetch(req);
    size_t wanted_bytes = sizeof(struct v2_wanted) * c->desc->outputs_len;
    struct v2_request *q = arena_try_alloc(req->arena, sizeof *q + wanted_bytes);
    if (!q) {
        err_set(&err, ERR_TOO_LARGE, "the request does not fit in its memory");
        proto_call_fail(c, &err);
        return;
    }
    *q = (struct v2_request){.binary = binary, .v2.wanted = (struct v2_wanted *)(void *)(q + 1)};
    c->protocol = q;
    json_init(&c->reader, json, JSON_DEPTH_MAX);
    c->reader.allow_nan = c->ops->allow_nan;
    if (read_request(c, is_raw, &err) != ERR_OK)
        proto_call_fail(c, &err);
    else
        proto_call_submit(c);
}
