#include "echo.h"

#include <string.h>

struct triton_error *TRITONBACKEND_Initialize(struct triton_backend *b)
{
    (void)b;
    return check_version();
}

struct triton_error *TRITONBACKEND_ModelInstanceInitialize(struct triton_instance *i)
{
    (void)i;
    return NULL;
}

struct triton_error *TRITONBACKEND_ModelInstanceFinalize(struct triton_instance *i)
{
    (void)i;
    return NULL;
}

static void answer(struct request *r)
{
    const char *name = NULL;
    if (r->error == NULL)
        r->error = TRITONBACKEND_RequestOutputName(r->handle, 0, &name);
    void *out = r->error == NULL ? request_output(r, name, r->type, r->shape, r->ndim, r->bytes) : NULL;
    if (out != NULL)
        memcpy(out, r->data, r->bytes);
}

void echo(struct triton_instance *i, struct triton_request **requests, uint32_t requests_len)
{
    struct times t = {.start = monotonic_ns()};
    for (uint32_t k = 0; k < requests_len; k++) {
        struct request r;
        request_read(&r, requests[k]);
        answer(&r);
        t.compute_start = t.start;
        t.compute_end = t.end = monotonic_ns();
        request_finish(&r, i, &t);
    }
    drop(TRITONBACKEND_ModelInstanceReportBatchStatistics(i, requests_len, t.start, t.compute_start, t.compute_end,
                                                          t.end));
}
