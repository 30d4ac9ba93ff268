/* The answer of an inference: JSON, then the binary tensors, which are sent from the batch block without a copy. */
#include <string.h>

#include "base/num.h"
#include "serve/proto_classes.h"
#include "serve/proto_v2_int.h"
#include "serve/proto_v2_texts.h"
#include "serve/serve.h"

/* A binary tensor of the answer: in the block, or strings framed in the second scratch buffer (as an offset, for it grows). */
struct blob {
    const unsigned char *data; /* NULL: framed */
    size_t offset, bytes;
};

struct answer {
    struct proto_call *call;
    const struct v2 *v2;
    const struct v2_texts *texts;
    struct json_writer w;
    struct buf *framed;
    size_t blobs_len;
    struct blob blobs[MODEL_TENSORS_MAX];
    struct err err; /* what keeps the answer from being made */
};

static void frame_strings(struct answer *a, int k, struct blob *blob)
{
    const struct infer *i = &a->call->infer;
    size_t n = i->out[k].bytes / sizeof(struct bytes_ref);
    blob->data = NULL;
    blob->offset = a->framed->len;
    for (size_t e = 0; e < n; e++) {
        struct str s = infer_get_bytes(i, k, e);
        uint32_t len = (uint32_t)s.n;
        buf_add(a->framed, &len, sizeof len);
        buf_str(a->framed, s);
    }
    blob->bytes = a->framed->len - blob->offset;
}

static void put_binary_size(struct answer *a, const struct blob *blob)
{
    jw_key(&a->w, "parameters");
    jw_object(&a->w);
    jw_kv_u64(&a->w, "binary_data_size", blob->bytes);
    jw_object_end(&a->w);
}

static void put_binary(struct answer *a, int k)
{
    const struct infer_tensor *t = &a->call->infer.out[k];
    struct blob *blob = &a->blobs[a->blobs_len++];
    if (t->dtype == DT_BYTES)
        frame_strings(a, k, blob);
    else
        *blob = (struct blob){.data = t->data, .bytes = t->bytes};
    put_binary_size(a, blob);
}

static bool is_binary(const struct answer *a, enum v2_form form)
{
    return form == V2_BINARY || (form == V2_DEFAULT && a->v2->is_binary_default);
}

/* The texts of all rows, as JSON strings or framed behind the JSON. */
static void put_class_texts(struct answer *a, struct classes *c, struct blob *blob)
{
    char text[600];
    for (uint64_t row = 0; row < c->rows; row++) {
        classes_row(c, row);
        for (uint32_t i = 0; i < c->n; i++) {
            uint32_t n = (uint32_t)classes_text(c, i, text, sizeof text);
            if (!blob) {
                jw_str(&a->w, (struct str){text, n});
                continue;
            }
            buf_add(a->framed, &n, sizeof n);
            buf_add(a->framed, text, n);
        }
    }
}

static void put_classes(struct answer *a, const struct v2_wanted *wanted)
{
    struct infer *i = &a->call->infer;
    struct classes c;
    bool has_rows = a->call->desc->has_batch_dim != 0;
    if (classes_init(&c, a->call->req->arena, &i->out[wanted->index], labels_of(served_shared(i->model)),
                     wanted->classes, has_rows, &a->err))
        return;
    const int64_t shape[] = {(int64_t)c.rows, c.n};
    jw_object(&a->w);
    jw_kv_c(&a->w, "name", a->call->desc->outputs[wanted->index].name);
    jw_kv_c(&a->w, "datatype", "BYTES");
    jw_key(&a->w, "shape");
    jw_numbers(&a->w, JSON_I64, has_rows ? shape : shape + 1, has_rows ? 2 : 1);
    if (is_binary(a, wanted->form)) {
        struct blob *blob = &a->blobs[a->blobs_len++];
        *blob = (struct blob){.offset = a->framed->len};
        put_class_texts(a, &c, blob);
        blob->bytes = a->framed->len - blob->offset;
        put_binary_size(a, blob);
    } else {
        jw_key(&a->w, "data");
        jw_array(&a->w);
        put_class_texts(a, &c, NULL);
        jw_array_end(&a->w);
    }
    jw_object_end(&a->w);
}

/* Into the client's memory; the answer says where. */
static void put_part(struct answer *a, uint32_t k, const struct client_shm_part *p)
{
    const struct infer_tensor *t = &a->call->infer.out[k];
    struct blob blob = {.data = t->data, .offset = a->framed->len, .bytes = t->bytes};
    if (t->dtype == DT_BYTES)
        frame_strings(a, (int)k, &blob);
    if (a->framed->failed || a->err.code)
        return;
    const void *bytes = blob.data ? (const void *)blob.data : a->framed->p + blob.offset;
    if (blob.bytes > p->bytes)
        err_set(&a->err, ERR_INVALID,
                "shared memory size specified with the request for output '%s' (%llu bytes) should be at least %zu "
                "bytes to hold the results",
                a->call->desc->outputs[k].name, (unsigned long long)p->bytes, blob.bytes);
    else if (blob.bytes > 0)
        (void)client_shm_write(p, bytes, blob.bytes, &a->err); /* a->err tells */
    a->framed->len = blob.offset;
    jw_key(&a->w, "parameters");
    jw_object(&a->w);
    jw_kv_str(&a->w, "shared_memory_region", p->name);
    if (p->offset > 0)
        jw_kv_u64(&a->w, "shared_memory_offset", p->offset);
    jw_kv_u64(&a->w, "shared_memory_byte_size", blob.bytes);
    jw_object_end(&a->w);
}

static void put_output(struct answer *a, uint32_t k, enum v2_form form, const struct client_shm_part *part)
{
    const struct infer_tensor *t = &a->call->infer.out[k];
    struct json_writer *w = &a->w;
    jw_object(w);
    jw_raw(w, v2_text_of_output(a->texts, k));
    jw_key(w, "shape");
    jw_numbers(w, JSON_I64, t->dims, (size_t)t->ndim);
    if (part) {
        put_part(a, k, part);
    } else if (is_binary(a, form)) {
        put_binary(a, (int)k);
    } else {
        jw_key(w, "data");
        proto_write_flat(&a->call->infer, (int)k, w);
    }
    jw_object_end(w);
}

static void put_body(struct answer *a)
{
    struct json_writer *w = &a->w;
    struct v2_texts **texts = served_v2_texts(a->call->infer.model);
    jw_object(w);
    if (a->v2->id.n > 0)
        jw_kv_str(w, "id", a->v2->id);
    jw_raw(w, v2_text_of_model(texts, a->call->info));
    a->texts = *texts;
    jw_key(w, "outputs");
    jw_array(w);
    if (a->v2->wanted_len == 0)
        for (uint32_t k = 0; k < a->call->desc->outputs_len; k++)
            put_output(a, k, V2_DEFAULT, NULL);
    for (uint32_t i = 0; i < a->v2->wanted_len; i++) {
        const struct v2_wanted *wanted = &a->v2->wanted[i];
        if (wanted->classes > 0)
            put_classes(a, wanted);
        else
            put_output(a, wanted->index, wanted->form, wanted->has_part ? &wanted->part : NULL);
    }
    jw_array_end(w);
    jw_object_end(w);
}

static void too_large(struct proto_call *c)
{
    struct err err;
    err_set(&err, ERR_TOO_LARGE, "the answer of model '%s' is too large as text", c->info->name);
    err_remedy(&err, "ask for binary outputs, or send fewer rows at once");
    c->ops->fail(c->req, &err);
}

void proto_v2_answer(struct proto_call *c)
{
    struct answer a = {.call = c, .v2 = c->protocol, .framed = proto_scratch(1)};
    struct buf *json = proto_scratch(0);
    jw_init(&a.w, json);
    put_body(&a);
    if (a.err.code) {
        c->ops->fail(c->req, &a.err);
        return;
    }
    if (json->failed || a.framed->failed) {
        too_large(c);
        return;
    }
    struct str parts[MODEL_TENSORS_MAX + 1] = {buf_view(json)};
    size_t parts_len = 1, binary_bytes = 0;
    for (size_t i = 0; i < a.blobs_len; i++) {
        const struct blob *b = &a.blobs[i];
        const char *p = b->data ? (const char *)b->data : a.framed->p + b->offset;
        if (b->bytes > 0)
            parts[parts_len++] = (struct str){p, b->bytes};
        binary_bytes += b->bytes;
    }
    if (binary_bytes == 0) { /* also when all binary outputs are empty: clients expect no header then */
        proto_call_respond(c, STR("application/json"), NULL, 0, parts, 1);
        return;
    }
    char length[24];
    struct http_header header = {STR("Inference-Header-Content-Length"), {length, num_format_u64(json->len, length)}};
    proto_call_respond(c, STR("application/octet-stream"), &header, 1, parts, parts_len);
}
