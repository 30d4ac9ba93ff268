/* /v2/systemsharedmemory: registering memory of clients for inputs and outputs (client_shm.h). /v2/cudasharedmemory answers as a Triton without GPUs. */
#include "serve/proto_int.h"

static bool refuse_shm(struct http_req *req)
{
    struct err err;
    if (proto_refuse_foreign(req))
        return true;
    if (client_shm_is_allowed())
        return false;
    err_set(&err, ERR_UNSUPPORTED, "shared memory of clients is not allowed on this server");
    err_remedy(&err, "set allow_client_shm: true and start quern anew");
    http_respond_err(req, &err);
    return true;
}

static void respond_empty(struct http_req *req)
{
    http_respond(req, 200, STR("application/json"), NULL, 0, NULL, 0); /* as Triton: no body */
}

void proto_v2_shm_status(struct http_req *req, const struct route_match *m, void *arg)
{
    struct err err;
    struct json_writer w;
    (void)arg;
    jw_init(&w, proto_scratch(0));
    if (client_shm_status(m->captures_len > 0 ? m->captures[0] : (struct str){NULL, 0}, &w, &err))
        http_respond_err(req, &err);
    else
        http_respond_json(req, 200, buf_view(w.out));
}

static enum err_code read_registration(struct http_req *req, struct str *key, uint64_t *offset, uint64_t *bytes,
                                       struct err *err)
{
    struct json_reader r;
    struct str name;
    *key = (struct str){NULL, 0};
    *offset = *bytes = 0;
    json_init(&r, req->body, 8);
    json_object(&r);
    while (json_key(&r, &name)) {
        if (str_eq_c(name, "key"))
            json_string(&r, req->arena, key);
        else if (str_eq_c(name, "offset"))
            json_u64(&r, offset);
        else if (str_eq_c(name, "byte_size"))
            json_u64(&r, bytes);
        else
            json_skip(&r, NULL);
    }
    if (json_end(&r)) {
        *err = r.err;
        return err->code;
    }
    if (!key->p)
        return err_set(err, ERR_INVALID, "a shared memory region needs 'key' and 'byte_size'");
    return ERR_OK;
}

void proto_v2_shm_register(struct http_req *req, const struct route_match *m, void *arg)
{
    struct str key;
    uint64_t offset, bytes;
    struct err err;
    (void)arg;
    if (refuse_shm(req))
        return;
    if (read_registration(req, &key, &offset, &bytes, &err) ||
        client_shm_register(m->captures[0], key, offset, bytes, &err))
        http_respond_err(req, &err);
    else
        respond_empty(req);
}

void proto_v2_shm_unregister(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)arg;
    if (refuse_shm(req))
        return;
    if (m->captures_len > 0)
        client_shm_unregister(m->captures[0]);
    else
        client_shm_unregister_all();
    respond_empty(req);
}

void proto_v2_cuda_status(struct http_req *req, const struct route_match *m, void *arg)
{
    struct err err;
    (void)arg;
    if (m->captures_len == 0) {
        http_respond_json(req, 200, STR("[]"));
        return;
    }
    err_set(&err, ERR_NOT_FOUND, "Unable to find cuda shared memory region: '%.*s'", proto_cut(m->captures[0]),
            m->captures[0].p);
    http_respond_err(req, &err);
}

void proto_v2_cuda_register(struct http_req *req, const struct route_match *m, void *arg)
{
    struct err err;
    (void)arg;
    err_set(&err, ERR_INVALID, "failed to register CUDA shared memory region: '%.*s', GPUs not supported",
            proto_cut(m->captures[0]), m->captures[0].p);
    http_respond_err(req, &err);
}

void proto_v2_cuda_unregister(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    (void)arg;
    respond_empty(req);
}
