/* Triton's peer of quern's backend onnx: the same engine file, the same interface to it (model/backends/onnx/ort_api.h) and the same options. It costs Triton as
 * little as its interface allows: one request is run where it lies, outputs included; several are gathered into one run and their rows copied out.
 *
 * Models with one input of FP32 and outputs of FP32 or INT64, whose rows are independent. The engine's file comes from QUERN_TRITON_ENGINE. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/backends/onnx/ort_api.h"
#include "request.h"

#define OUTPUTS_MAX  8
#define REQUESTS_MAX 1024

/* ---- The engine: one for the process ---- */

static const struct ort_api *api;
static struct ort_env *env;
static struct ort_memory_info *memory;

static void on_log(void *arg, enum ort_log_level level, const char *category, const char *log_id, const char *place,
                   const char *message)
{
    (void)arg;
    (void)category;
    (void)log_id;
    (void)place;
    if (level >= ORT_LOG_ERROR)
        (void)fprintf(stderr, "onnxruntime: %s\n", message);
}

static struct triton_error *check(struct ort_status *s)
{
    if (s == NULL)
        return NULL;
    struct triton_error *e = TRITONSERVER_ErrorNew(TRITON_INTERNAL, api->GetErrorMessage(s));
    api->ReleaseStatus(s);
    return e;
}

static struct triton_error *open_engine(void)
{
    const char *path = getenv("QUERN_TRITON_ENGINE");
    void *handle =
        path != NULL && setenv("ORT_DISABLE_TELEMETRY", "1", 1) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    const struct ort_api_base *(*get_base)(void) = NULL;
    if (handle != NULL)
        *(void **)&get_base = dlsym(handle, "OrtGetApiBase");
    if (get_base == NULL)
        return TRITONSERVER_ErrorNew(TRITON_UNAVAILABLE, "QUERN_TRITON_ENGINE must be the path of libonnxruntime.so");
    api = get_base()->GetApi(ORT_API_VERSION_USED);
    if (api == NULL)
        return TRITONSERVER_ErrorNew(TRITON_UNAVAILABLE, "this ONNX Runtime is too old");
    struct triton_error *e = check(api->CreateEnvWithCustomLogger(on_log, NULL, ORT_LOG_WARNING, "triton", &env));
    return e != NULL ? e : check(api->CreateCpuMemoryInfo(ORT_ALLOCATOR_DEVICE, ORT_MEM_DEFAULT, &memory));
}

struct triton_error *TRITONBACKEND_Initialize(struct triton_backend *b)
{
    (void)b;
    struct triton_error *e = check_version();
    return e != NULL ? e : open_engine();
}

/* ---- A model instance ---- */

struct tensor {
    char *name;
    enum ort_element element;
    enum triton_type type;
    int64_t dims[NDIM_MAX]; /* the first is -1 where rows share a run */
    size_t ndim, row_bytes;
};

struct instance {
    struct ort_session *session;
    struct tensor in, out[OUTPUTS_MAX];
    size_t outputs_len;
    /* Memory for runs of several requests, grown as needed. */
    unsigned char *area;
    size_t area_bytes;
    struct request requests[REQUESTS_MAX];
};

static struct triton_error *read_tensor(struct tensor *t, struct ort_type_info *type)
{
    const struct ort_tensor_info *info = NULL;
    struct triton_error *e = check(api->CastTypeInfoToTensorInfo(type, &info));
    if (e == NULL && info == NULL)
        e = TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "only tensors are served");
    if (e == NULL)
        e = check(api->GetTensorElementType(info, &t->element));
    if (e == NULL)
        e = check(api->GetDimensionsCount(info, &t->ndim));
    if (e == NULL && (t->ndim == 0 || t->ndim > NDIM_MAX))
        e = TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "a tensor has no dimensions, or too many");
    if (e == NULL)
        e = check(api->GetDimensions(info, t->dims, t->ndim));
    api->ReleaseTypeInfo(type);
    if (e == NULL && t->element != ORT_FLOAT && t->element != ORT_INT64)
        e = TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "only FP32 and INT64 are served");
    if (e != NULL)
        return e;
    t->type = t->element == ORT_FLOAT ? TRITON_TYPE_FP32 : TRITON_TYPE_INT64;
    t->row_bytes = t->element == ORT_FLOAT ? 4 : 8;
    for (size_t i = 1; i < t->ndim; i++) {
        if (t->dims[i] < 0)
            return TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "only the first dimension may be free");
        t->row_bytes *= (size_t)t->dims[i];
    }
    return NULL;
}

static struct triton_error *describe(struct instance *s)
{
    struct ort_allocator *allocator;
    struct ort_type_info *type;
    size_t inputs = 0;
    struct triton_error *e = check(api->GetAllocatorWithDefaultOptions(&allocator));
    if (e == NULL)
        e = check(api->SessionGetInputCount(s->session, &inputs));
    if (e == NULL)
        e = check(api->SessionGetOutputCount(s->session, &s->outputs_len));
    if (e == NULL && (inputs != 1 || s->outputs_len > OUTPUTS_MAX))
        e = TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "only models with one input and few outputs are served");
    if (e == NULL)
        e = check(api->SessionGetInputName(s->session, 0, allocator, &s->in.name));
    if (e == NULL)
        e = check(api->SessionGetInputTypeInfo(s->session, 0, &type));
    if (e == NULL)
        e = read_tensor(&s->in, type);
    for (size_t i = 0; e == NULL && i < s->outputs_len; i++) {
        e = check(api->SessionGetOutputName(s->session, i, allocator, &s->out[i].name));
        if (e == NULL)
            e = check(api->SessionGetOutputTypeInfo(s->session, i, &type));
        if (e == NULL)
            e = read_tensor(&s->out[i], type);
    }
    return e;
}

/* As set_options of model/backends/onnx/onnx.c, but for the arena: on, as in Triton's own ONNX Runtime backend. */
static struct triton_error *set_options(struct ort_session_options *o)
{
    struct ort_status *s = api->SetIntraOpNumThreads(o, 1);
    if (s == NULL)
        s = api->SetInterOpNumThreads(o, 1);
    if (s == NULL)
        s = api->SetSessionExecutionMode(o, ORT_SEQUENTIAL);
    if (s == NULL)
        s = api->SetSessionGraphOptimizationLevel(o, ORT_OPTIMIZE_ALL);
    if (s == NULL)
        s = api->EnableCpuMemArena(o);
    if (s == NULL)
        s = api->AddSessionConfigEntry(o, "session.intra_op.allow_spinning", "0");
    if (s == NULL)
        s = api->AddSessionConfigEntry(o, "session.inter_op.allow_spinning", "0");
    return check(s);
}

static struct triton_error *open_session(struct instance *s, struct triton_instance *i)
{
    struct triton_model *model;
    enum triton_artifact kind;
    const char *folder = NULL;
    uint64_t version = 0;
    char path[4096];
    struct ort_session_options *o;
    struct triton_error *e = TRITONBACKEND_ModelInstanceModel(i, &model);
    if (e == NULL)
        e = TRITONBACKEND_ModelRepository(model, &kind, &folder);
    if (e == NULL)
        e = TRITONBACKEND_ModelVersion(model, &version);
    if (e == NULL)
        e = check(api->CreateSessionOptions(&o));
    if (e != NULL)
        return e;
    (void)snprintf(path, sizeof path, "%s/%llu/model.onnx", folder,
                   (unsigned long long)version); /* a cut path is not found */
    e = set_options(o);
    if (e == NULL)
        e = check(api->CreateSession(env, path, o, &s->session));
    api->ReleaseSessionOptions(o);
    return e;
}

static void free_instance(struct instance *s)
{
    struct ort_allocator *allocator;
    struct triton_error *e = check(api->GetAllocatorWithDefaultOptions(&allocator));
    if (e == NULL && s->in.name != NULL)
        drop(check(api->AllocatorFree(allocator, s->in.name)));
    for (size_t i = 0; e == NULL && i < OUTPUTS_MAX; i++)
        if (s->out[i].name != NULL)
            drop(check(api->AllocatorFree(allocator, s->out[i].name)));
    drop(e);
    if (s->session != NULL)
        api->ReleaseSession(s->session);
    free(s->area);
    free(s);
}

struct triton_error *TRITONBACKEND_ModelInstanceInitialize(struct triton_instance *i)
{
    struct instance *s = calloc(1, sizeof *s);
    if (s == NULL)
        return TRITONSERVER_ErrorNew(TRITON_UNAVAILABLE, "out of memory");
    struct triton_error *e = open_session(s, i);
    if (e == NULL)
        e = describe(s);
    if (e == NULL)
        e = TRITONBACKEND_ModelInstanceSetState(i, s);
    if (e != NULL)
        free_instance(s);
    return e;
}

struct triton_error *TRITONBACKEND_ModelInstanceFinalize(struct triton_instance *i)
{
    void *s = NULL;
    struct triton_error *e = TRITONBACKEND_ModelInstanceState(i, &s);
    if (e == NULL && s != NULL)
        free_instance(s);
    return e;
}

/* ---- Running ---- */

/* Where the rows of each output of a run go; NULL: nobody wants it. */
struct run {
    const void *in;
    void *out[OUTPUTS_MAX];
    int64_t rows;
};

static struct triton_error *wrap(const struct tensor *t, const void *data, int64_t rows, struct ort_value **out)
{
    int64_t dims[NDIM_MAX];
    memcpy(dims, t->dims, sizeof dims);
    dims[0] = rows;
    return check(api->CreateTensorWithDataAsOrtValue(memory, (void *)(uintptr_t)data, (size_t)rows * t->row_bytes, dims,
                                                     t->ndim, t->element, out));
}

static struct triton_error *run(struct instance *s, const struct run *r)
{
    struct ort_value *in = NULL, *out[OUTPUTS_MAX] = {NULL};
    const char *names[OUTPUTS_MAX];
    size_t n = 0;
    struct triton_error *e = wrap(&s->in, r->in, r->rows, &in);
    for (size_t k = 0; e == NULL && k < s->outputs_len; k++) {
        if (r->out[k] == NULL)
            continue;
        names[n] = s->out[k].name;
        e = wrap(&s->out[k], r->out[k], r->rows, &out[n]);
        n++;
    }
    const char *const in_name = s->in.name;
    if (e == NULL)
        e = check(api->Run(s->session, NULL, &in_name, (const struct ort_value *const *)&in, 1, names, n, out));
    if (in != NULL)
        api->ReleaseValue(in);
    for (size_t k = 0; k < n; k++)
        if (out[k] != NULL)
            api->ReleaseValue(out[k]);
    return e;
}

/* The answer's memory for output k. */
static void *place(struct instance *s, struct request *r, size_t k)
{
    struct tensor *t = &s->out[k];
    int64_t shape[NDIM_MAX];
    memcpy(shape, t->dims, sizeof shape);
    shape[0] = r->shape[0];
    return request_output(r, t->name, t->type, shape, (uint32_t)t->ndim, (uint64_t)r->shape[0] * t->row_bytes);
}

static void read_request(struct instance *s, struct request *r, struct triton_request *handle)
{
    request_read(r, handle);
    if (r->error != NULL)
        return;
    if (r->type != s->in.type || r->shape[0] < 1 || r->bytes != (uint64_t)r->shape[0] * s->in.row_bytes)
        r->error = TRITONSERVER_ErrorNew(TRITON_INVALID, "the input does not fit the model");
}

static void run_one(struct instance *s, struct request *r, struct times *t)
{
    struct run job = {.in = r->data, .rows = r->error == NULL ? r->shape[0] : 0};
    for (size_t k = 0; r->error == NULL && k < s->outputs_len; k++)
        if (request_wants(r, s->out[k].name))
            job.out[k] = place(s, r, k);
    t->compute_start = monotonic_ns();
    if (r->error == NULL)
        r->error = run(s, &job);
    t->compute_end = monotonic_ns();
}

static struct triton_error *grow(struct instance *s, size_t bytes)
{
    if (bytes <= s->area_bytes)
        return NULL;
    free(s->area);
    s->area = aligned_alloc(64, (bytes + 63) / 64 * 64);
    s->area_bytes = s->area != NULL ? bytes : 0;
    return s->area != NULL ? NULL : TRITONSERVER_ErrorNew(TRITON_UNAVAILABLE, "out of memory");
}

/* Rows of all requests behind each other, and room for each output. */
static struct triton_error *gather(struct instance *s, uint32_t n, struct run *job)
{
    for (uint32_t i = 0; i < n; i++)
        job->rows += s->requests[i].error == NULL ? s->requests[i].shape[0] : 0;
    size_t bytes = (size_t)job->rows * s->in.row_bytes + 64;
    for (size_t k = 0; k < s->outputs_len; k++)
        bytes += (size_t)job->rows * s->out[k].row_bytes + 64;
    struct triton_error *e = grow(s, bytes);
    if (e != NULL)
        return e;
    unsigned char *at = s->area;
    job->in = at;
    for (uint32_t i = 0; i < n; i++) {
        if (s->requests[i].error != NULL)
            continue;
        memcpy(at, s->requests[i].data, s->requests[i].bytes);
        at += s->requests[i].bytes;
    }
    for (size_t k = 0; k < s->outputs_len; k++) {
        at = s->area + ((size_t)(at - s->area) + 63) / 64 * 64;
        job->out[k] = at;
        at += (size_t)job->rows * s->out[k].row_bytes;
    }
    return NULL;
}

static void scatter(struct instance *s, uint32_t n, const struct run *job)
{
    size_t row = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct request *r = &s->requests[i];
        if (r->error != NULL)
            continue;
        size_t rows = (size_t)r->shape[0];
        for (size_t k = 0; k < s->outputs_len; k++) {
            size_t row_bytes = s->out[k].row_bytes;
            void *to = request_wants(r, s->out[k].name) ? place(s, r, k) : NULL;
            if (to != NULL)
                memcpy(to, (unsigned char *)job->out[k] + row * row_bytes, rows * row_bytes);
        }
        row += rows;
    }
}

static void run_many(struct instance *s, uint32_t n, struct times *t)
{
    struct run job = {.rows = 0};
    struct triton_error *e = gather(s, n, &job);
    t->compute_start = monotonic_ns();
    if (e == NULL && job.rows > 0)
        e = run(s, &job);
    t->compute_end = monotonic_ns();
    if (e == NULL)
        scatter(s, n, &job);
    for (uint32_t i = 0; e != NULL && i < n; i++)
        if (s->requests[i].error == NULL)
            s->requests[i].error = TRITONSERVER_ErrorNew(TRITON_INTERNAL, "the run failed");
    drop(e);
}

struct triton_error *TRITONBACKEND_ModelInstanceExecute(struct triton_instance *i, struct triton_request **requests,
                                                        uint32_t requests_len)
{
    void *state = NULL;
    struct times t = {.start = monotonic_ns()};
    struct triton_error *e = TRITONBACKEND_ModelInstanceState(i, &state);
    if (e == NULL && requests_len > REQUESTS_MAX)
        e = TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "too many requests for one run");
    if (e != NULL)
        return e;
    struct instance *s = state;
    uint64_t rows = 0;
    for (uint32_t k = 0; k < requests_len; k++) {
        read_request(s, &s->requests[k], requests[k]);
        rows += s->requests[k].error == NULL ? (uint64_t)s->requests[k].shape[0] : 1;
    }
    if (requests_len == 1)
        run_one(s, &s->requests[0], &t);
    else
        run_many(s, requests_len, &t);
    t.end = monotonic_ns();
    for (uint32_t k = 0; k < requests_len; k++)
        request_finish(&s->requests[k], i, &t);
    drop(TRITONBACKEND_ModelInstanceReportBatchStatistics(i, rows, t.start, t.compute_start, t.compute_end, t.end));
    return NULL;
}
