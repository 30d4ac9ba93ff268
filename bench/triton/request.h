/* One inference request of Triton as our backends see it: one input in one piece of ordinary memory, read without a copy, and an answer whose
 * output the model writes in place. */
#ifndef BENCH_TRITON_REQUEST_H
#define BENCH_TRITON_REQUEST_H

#include "triton_api.h"

#define NDIM_MAX 8

struct request {
    struct triton_request *handle;
    enum triton_type type;
    const int64_t *shape; /* the server's, until the request is released */
    uint32_t ndim;
    const void *data;
    uint64_t bytes;
    /* The answer; response is NULL until there is one. */
    struct triton_response *response;
    struct triton_error *error; /* what the request failed with */
};

struct times {
    uint64_t start, compute_start, compute_end, end;
};

/* Of the server that has loaded us. */
struct triton_error *check_version(void);
/* Sets r->error when the input is not as described above. */
void request_read(struct request *r, struct triton_request *handle);
/* Another output of the answer, whose memory it returns; NULL and r->error when there is none. */
void *request_output(struct request *r, const char *name, enum triton_type type, const int64_t *shape, uint32_t ndim,
                     uint64_t bytes);
/* Whether the client wants this output. */
bool request_wants(struct request *r, const char *name);
/* Reports, sends what there is (the outputs, or the error) and releases; r must not be used any more. */
void request_finish(struct request *r, struct triton_instance *i, const struct times *t);
/* For errors of which nobody can be told. */
void drop(struct triton_error *e);
uint64_t monotonic_ns(void);

#endif
