#include "request.h"

#include <string.h>
#include <time.h>

void drop(struct triton_error *e)
{
    if (e != NULL)
        TRITONSERVER_ErrorDelete(e);
}

uint64_t monotonic_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct triton_error *check_version(void)
{
    uint32_t major = 0, minor = 0;
    struct triton_error *e = TRITONBACKEND_ApiVersion(&major, &minor);
    if (e == NULL && major != TRITON_API_MAJOR)
        e = TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "this backend is written for version 1 of the interface");
    return e;
}

void request_read(struct request *r, struct triton_request *handle)
{
    struct triton_input *in;
    enum triton_memory memory = TRITON_CPU;
    int64_t memory_id = 0;
    uint64_t all = 0;
    uint32_t buffers = 0;
    *r = (struct request){.handle = handle};
    r->error = TRITONBACKEND_RequestInputByIndex(handle, 0, &in);
    if (r->error == NULL)
        r->error = TRITONBACKEND_InputProperties(in, NULL, &r->type, &r->shape, &r->ndim, &all, &buffers);
    if (r->error == NULL)
        r->error = TRITONBACKEND_InputBuffer(in, 0, &r->data, &r->bytes, &memory, &memory_id);
    if (r->error == NULL &&
        (buffers != 1 || r->bytes != all || memory == TRITON_GPU || r->ndim == 0 || r->ndim > NDIM_MAX))
        r->error = TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "the input must lie in one piece of ordinary memory");
}

void *request_output(struct request *r, const char *name, enum triton_type type, const int64_t *shape, uint32_t ndim,
                     uint64_t bytes)
{
    struct triton_output *o;
    enum triton_memory memory = TRITON_CPU;
    int64_t memory_id = 0;
    void *data = NULL;
    if (r->error == NULL && r->response == NULL)
        r->error = TRITONBACKEND_ResponseNew(&r->response, r->handle);
    if (r->error == NULL)
        r->error = TRITONBACKEND_ResponseOutput(r->response, &o, name, type, shape, ndim);
    if (r->error == NULL)
        r->error = TRITONBACKEND_OutputBuffer(o, &data, bytes, &memory, &memory_id);
    if (r->error == NULL && memory == TRITON_GPU)
        r->error = TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "the output must lie in ordinary memory");
    return r->error == NULL ? data : NULL;
}

bool request_wants(struct request *r, const char *name)
{
    uint32_t n = 0;
    const char *wanted;
    drop(TRITONBACKEND_RequestOutputCount(r->handle, &n));
    for (uint32_t i = 0; i < n; i++) {
        struct triton_error *e = TRITONBACKEND_RequestOutputName(r->handle, i, &wanted);
        if (e == NULL && strcmp(wanted, name) == 0)
            return true;
        drop(e);
    }
    return false;
}

void request_finish(struct request *r, struct triton_instance *i, const struct times *t)
{
    if (r->response == NULL)
        drop(TRITONBACKEND_ResponseNew(&r->response, r->handle));
    bool is_success = r->error == NULL;
    if (r->response != NULL)
        drop(TRITONBACKEND_ResponseSend(r->response, TRITON_RESPONSE_LAST, r->error));
    drop(r->error);
    drop(TRITONBACKEND_ModelInstanceReportStatistics(i, r->handle, is_success, t->start, t->compute_start,
                                                     t->compute_end, t->end));
    drop(TRITONBACKEND_RequestRelease(r->handle, TRITON_RELEASE_ALL));
}
