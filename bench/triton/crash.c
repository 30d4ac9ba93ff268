/* Triton's peer of quern's builtin:crash: identity that writes where nothing is when a request begins with the number 666. What a fault in a model's code costs. */
#include "echo.h"

#define CRASH_ON 666.0f

static int *volatile nowhere;

struct triton_error *TRITONBACKEND_ModelInstanceExecute(struct triton_instance *i, struct triton_request **requests,
                                                        uint32_t requests_len)
{
    for (uint32_t k = 0; k < requests_len; k++) {
        struct request r;
        request_read(&r, requests[k]);
        if (r.error == NULL && r.type == TRITON_TYPE_FP32 && r.bytes >= sizeof(float) &&
            *(const float *)r.data == CRASH_ON)
            *nowhere = 1;
        drop(r.error);
    }
    echo(i, requests, requests_len);
    return NULL;
}
