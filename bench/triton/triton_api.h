/* The part of Triton's public backend interface (version 1) that our benchmark's backends use: what the server calls in a backend, and what a backend calls in
 * the server. Declared by us from the documented interface; the symbols are resolved when tritonserver loads the library. Every function returns NULL or an
 * error that the caller owns. */
#ifndef BENCH_TRITON_API_H
#define BENCH_TRITON_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRITON_API_MAJOR     1
#define TRITON_RELEASE_ALL   1u
#define TRITON_RESPONSE_LAST 1u

struct triton_error;
struct triton_model;
struct triton_instance;
struct triton_request;
struct triton_input;
struct triton_response;
struct triton_output;
struct triton_backend;

enum triton_code {
    TRITON_UNKNOWN,
    TRITON_INTERNAL,
    TRITON_NOT_FOUND,
    TRITON_INVALID,
    TRITON_UNAVAILABLE,
    TRITON_UNSUPPORTED
};
enum triton_memory { TRITON_CPU, TRITON_CPU_PINNED, TRITON_GPU };
enum triton_artifact { TRITON_FILESYSTEM };
enum triton_type { TRITON_TYPE_INVALID, TRITON_TYPE_BOOL, TRITON_TYPE_INT64 = 9, TRITON_TYPE_FP32 = 11 };

/* ---- What the server has ---- */

struct triton_error *TRITONBACKEND_ApiVersion(uint32_t *out_major, uint32_t *out_minor);
struct triton_error *TRITONSERVER_ErrorNew(enum triton_code code, const char *text); /* copies the text */
void TRITONSERVER_ErrorDelete(struct triton_error *e);

struct triton_error *TRITONBACKEND_ModelRepository(struct triton_model *m, enum triton_artifact *out,
                                                   const char **out_path);
struct triton_error *TRITONBACKEND_ModelVersion(struct triton_model *m, uint64_t *out);

struct triton_error *TRITONBACKEND_ModelInstanceModel(struct triton_instance *i, struct triton_model **out);
struct triton_error *TRITONBACKEND_ModelInstanceState(struct triton_instance *i, void **out);
struct triton_error *TRITONBACKEND_ModelInstanceSetState(struct triton_instance *i, void *state);
/* Times in nanoseconds of the monotonic clock. */
struct triton_error *TRITONBACKEND_ModelInstanceReportStatistics(struct triton_instance *i, struct triton_request *r,
                                                                 bool is_success, uint64_t start,
                                                                 uint64_t compute_start, uint64_t compute_end,
                                                                 uint64_t end);
struct triton_error *TRITONBACKEND_ModelInstanceReportBatchStatistics(struct triton_instance *i, uint64_t rows,
                                                                      uint64_t start, uint64_t compute_start,
                                                                      uint64_t compute_end, uint64_t end);

struct triton_error *TRITONBACKEND_RequestInputByIndex(struct triton_request *r, uint32_t index,
                                                       struct triton_input **out);
struct triton_error *TRITONBACKEND_RequestOutputCount(struct triton_request *r, uint32_t *out);
struct triton_error *TRITONBACKEND_RequestOutputName(struct triton_request *r, uint32_t index, const char **out);
struct triton_error *TRITONBACKEND_RequestRelease(struct triton_request *r, uint32_t flags);
/* The shape has the batch dimension in front where the model has max_batch_size. */
struct triton_error *TRITONBACKEND_InputProperties(struct triton_input *in, const char **out_name,
                                                   enum triton_type *out_type, const int64_t **out_shape,
                                                   uint32_t *out_ndim, uint64_t *out_bytes, uint32_t *out_buffers);
/* memory and its id: what is preferred, and then what it is. */
struct triton_error *TRITONBACKEND_InputBuffer(struct triton_input *in, uint32_t index, const void **out,
                                               uint64_t *out_bytes, enum triton_memory *memory, int64_t *memory_id);

struct triton_error *TRITONBACKEND_ResponseNew(struct triton_response **out, struct triton_request *r);
struct triton_error *TRITONBACKEND_ResponseOutput(struct triton_response *r, struct triton_output **out,
                                                  const char *name, enum triton_type type, const int64_t *shape,
                                                  uint32_t ndim);
struct triton_error *TRITONBACKEND_OutputBuffer(struct triton_output *o, void **out, uint64_t bytes,
                                                enum triton_memory *memory, int64_t *memory_id);
/* Takes the response; the error stays the caller's. */
struct triton_error *TRITONBACKEND_ResponseSend(struct triton_response *r, uint32_t flags, struct triton_error *e);

/* ---- What the server looks for in a backend ---- */

#define TRITON_EXPORT __attribute__((visibility("default")))

TRITON_EXPORT struct triton_error *TRITONBACKEND_Initialize(struct triton_backend *b);
TRITON_EXPORT struct triton_error *TRITONBACKEND_ModelInstanceInitialize(struct triton_instance *i);
TRITON_EXPORT struct triton_error *TRITONBACKEND_ModelInstanceFinalize(struct triton_instance *i);
/* NULL: the backend has taken all requests and answers and releases each. */
TRITON_EXPORT struct triton_error *
TRITONBACKEND_ModelInstanceExecute(struct triton_instance *i, struct triton_request **requests, uint32_t requests_len);

#endif
