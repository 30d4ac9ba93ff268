/* The part of ONNX Runtime's C interface that we use, written from its documented layout: a table of function pointers whose order never changes and
 * only grows. Numbers in the comments are positions in the table; gaps keep them. Interface version 17 (library 1.17) has all of them. */
#ifndef MODEL_BACKENDS_ONNX_ORT_API_H
#define MODEL_BACKENDS_ONNX_ORT_API_H

#include <stddef.h>
#include <stdint.h>

#define ORT_API_VERSION_USED 17

struct ort_status;
struct ort_env;
struct ort_session;
struct ort_session_options;
struct ort_run_options;
struct ort_value;
struct ort_type_info;
struct ort_tensor_info;
struct ort_memory_info;
struct ort_metadata;

enum ort_log_level { ORT_LOG_VERBOSE, ORT_LOG_INFO, ORT_LOG_WARNING, ORT_LOG_ERROR, ORT_LOG_FATAL };
enum ort_optimization { ORT_OPTIMIZE_NONE = 0, ORT_OPTIMIZE_ALL = 99 };
enum ort_execution_mode { ORT_SEQUENTIAL = 0 };
enum ort_allocator_type { ORT_ALLOCATOR_DEVICE = 0 };
enum ort_mem_type { ORT_MEM_DEFAULT = 0 };
enum ort_kind {
    ORT_KIND_UNKNOWN,
    ORT_KIND_TENSOR,
    ORT_KIND_SEQUENCE,
    ORT_KIND_MAP,
    ORT_KIND_OPAQUE,
    ORT_KIND_SPARSE,
    ORT_KIND_OPTIONAL
};

enum ort_element {
    ORT_UNDEFINED,
    ORT_FLOAT,
    ORT_UINT8,
    ORT_INT8,
    ORT_UINT16,
    ORT_INT16,
    ORT_INT32,
    ORT_INT64,
    ORT_STRING,
    ORT_BOOL,
    ORT_FLOAT16,
    ORT_DOUBLE,
    ORT_UINT32,
    ORT_UINT64,
    ORT_COMPLEX64,
    ORT_COMPLEX128,
    ORT_BFLOAT16,
    ORT_ELEMENT_MAX_
};

typedef void ort_log_fn(void *arg, enum ort_log_level level, const char *category, const char *log_id,
                        const char *place, const char *message);

struct ort_allocator { /* theirs have more */
    uint32_t version;
    void *(*alloc)(struct ort_allocator *, size_t bytes);
    void (*free)(struct ort_allocator *, void *p);
    const struct ort_memory_info *(*info)(const struct ort_allocator *);
};

#define ORT_FN struct ort_status *(*

struct ort_api {
    void *gap0[2];
    const char *(*GetErrorMessage)(const struct ort_status *); /* 2 */
    void *gap3[1];
    ORT_FN CreateEnvWithCustomLogger)(ort_log_fn *, void *arg, enum ort_log_level, const char *log_id, struct ort_env **out); /* 4 */
    void *gap5[2];
    ORT_FN CreateSession)(const struct ort_env *, const char *path, const struct ort_session_options *,
                          struct ort_session **out); /* 7 */
    ORT_FN CreateSessionFromArray)(const struct ort_env *, const void *bytes, size_t len, const struct ort_session_options *,
                                   struct ort_session **out); /* 8 */
    ORT_FN Run)(struct ort_session *, const struct ort_run_options *, const char *const *input_names,
                const struct ort_value *const *inputs, size_t inputs_len, const char *const *output_names, size_t outputs_len,
                struct ort_value **outputs);                               /* 9 */
    ORT_FN CreateSessionOptions)(struct ort_session_options **out);        /* 10 */
    ORT_FN SetOptimizedModelFilePath)(struct ort_session_options *, const char *path); /* 11 */
    void *gap12[1];
    ORT_FN SetSessionExecutionMode)(struct ort_session_options *, enum ort_execution_mode); /* 13 */
    void *gap14[4];
    ORT_FN EnableCpuMemArena)(struct ort_session_options *);  /* 18 */
    ORT_FN DisableCpuMemArena)(struct ort_session_options *); /* 19 */
    void *gap20[2];
    ORT_FN SetSessionLogSeverityLevel)(struct ort_session_options *, int); /* 22 */
    ORT_FN SetSessionGraphOptimizationLevel)(struct ort_session_options *, enum ort_optimization); /* 23 */
    ORT_FN SetIntraOpNumThreads)(struct ort_session_options *, int);                               /* 24 */
    ORT_FN SetInterOpNumThreads)(struct ort_session_options *, int);                               /* 25 */
    void *gap26[4];
    ORT_FN SessionGetInputCount)(const struct ort_session *, size_t *out);  /* 30 */
    ORT_FN SessionGetOutputCount)(const struct ort_session *, size_t *out); /* 31 */
    void *gap32[1];
    ORT_FN SessionGetInputTypeInfo)(const struct ort_session *, size_t i, struct ort_type_info **out);  /* 33 */
    ORT_FN SessionGetOutputTypeInfo)(const struct ort_session *, size_t i, struct ort_type_info **out); /* 34 */
    void *gap35[1];
    ORT_FN SessionGetInputName)(const struct ort_session *, size_t i, struct ort_allocator *, char **out);  /* 36 */
    ORT_FN SessionGetOutputName)(const struct ort_session *, size_t i, struct ort_allocator *, char **out); /* 37 */
    void *gap38[1];
    ORT_FN CreateRunOptions)(struct ort_run_options **out); /* 39 */
    void *gap40[1];
    ORT_FN RunOptionsSetRunLogSeverityLevel)(struct ort_run_options *, int); /* 41 */
    void *gap42[4];
    ORT_FN RunOptionsSetTerminate)(struct ort_run_options *);   /* 46 */
    ORT_FN RunOptionsUnsetTerminate)(struct ort_run_options *); /* 47 */
    ORT_FN CreateTensorAsOrtValue)(struct ort_allocator *, const int64_t *dims, size_t ndim, enum ort_element,
                                   struct ort_value **out); /* 48 */
    ORT_FN CreateTensorWithDataAsOrtValue)(const struct ort_memory_info *, void *data, size_t bytes, const int64_t *dims,
                                           size_t ndim, enum ort_element, struct ort_value **out); /* 49 */
    void *gap50[1];
    ORT_FN GetTensorMutableData)(struct ort_value *, void **out); /* 51 */
    void *gap52[1];
    ORT_FN GetStringTensorDataLength)(const struct ort_value *, size_t *out); /* 53 */
    ORT_FN GetStringTensorContent)(const struct ort_value *, void *text, size_t text_len, size_t *offsets,
                                   size_t offsets_len);                                               /* 54 */
    ORT_FN CastTypeInfoToTensorInfo)(const struct ort_type_info *, const struct ort_tensor_info **out); /* 55; not owned */
    ORT_FN GetOnnxTypeFromTypeInfo)(const struct ort_type_info *, enum ort_kind *out);                  /* 56 */
    void *gap57[3];
    ORT_FN GetTensorElementType)(const struct ort_tensor_info *, enum ort_element *out);                    /* 60 */
    ORT_FN GetDimensionsCount)(const struct ort_tensor_info *, size_t *out);                                /* 61 */
    ORT_FN GetDimensions)(const struct ort_tensor_info *, int64_t *dims, size_t ndim);                      /* 62 */
    ORT_FN GetSymbolicDimensions)(const struct ort_tensor_info *, const char **symbols, size_t ndim);       /* 63 */
    void *gap64[1];
    ORT_FN GetTensorTypeAndShape)(const struct ort_value *, struct ort_tensor_info **out); /* 65 */
    void *gap66[1];
    ORT_FN GetValueType)(const struct ort_value *, enum ort_kind *out); /* 67 */
    void *gap68[1];
    ORT_FN CreateCpuMemoryInfo)(enum ort_allocator_type, enum ort_mem_type, struct ort_memory_info **out); /* 69 */
    void *gap70[6];
    ORT_FN AllocatorFree)(struct ort_allocator *, void *p); /* 76 */
    void *gap77[1];
    ORT_FN GetAllocatorWithDefaultOptions)(struct ort_allocator **out); /* 78 */
    void *gap79[13];
    void (*ReleaseEnv)(struct ort_env *);                            /* 92 */
    void (*ReleaseStatus)(struct ort_status *);                      /* 93 */
    void (*ReleaseMemoryInfo)(struct ort_memory_info *);             /* 94 */
    void (*ReleaseSession)(struct ort_session *);                    /* 95 */
    void (*ReleaseValue)(struct ort_value *);                        /* 96 */
    void (*ReleaseRunOptions)(struct ort_run_options *);             /* 97 */
    void (*ReleaseTypeInfo)(struct ort_type_info *);                 /* 98 */
    void (*ReleaseTensorTypeAndShapeInfo)(struct ort_tensor_info *); /* 99 */
    void (*ReleaseSessionOptions)(struct ort_session_options *);     /* 100 */
    void *gap101[10];
    ORT_FN SessionGetModelMetadata)(const struct ort_session *, struct ort_metadata **out); /* 111 */
    void *gap112[3];
    ORT_FN ModelMetadataGetDescription)(const struct ort_metadata *, struct ort_allocator *, char **out); /* 115 */
    void *gap116[2];
    void (*ReleaseModelMetadata)(struct ort_metadata *); /* 118 */
    void *gap119[11];
    ORT_FN AddSessionConfigEntry)(struct ort_session_options *, const char *key, const char *value); /* 130 */
    void *gap131[45];
    ORT_FN RegisterAllocator)(struct ort_env *, struct ort_allocator *); /* 176; for sessions that ask for it */
    void *gap177[75];
    ORT_FN GetResizedStringTensorElementBuffer)(struct ort_value *, size_t i, size_t len, char **out); /* 252 */
};

#undef ORT_FN

#define ORT_AT(name, i) _Static_assert(offsetof(struct ort_api, name) == (i) * sizeof(void *), #name " is in its place")
ORT_AT(GetErrorMessage, 2);
ORT_AT(CreateEnvWithCustomLogger, 4);
ORT_AT(CreateSession, 7);
ORT_AT(CreateSessionFromArray, 8);
ORT_AT(CreateSessionOptions, 10);
ORT_AT(SetOptimizedModelFilePath, 11);
ORT_AT(SetSessionLogSeverityLevel, 22);
ORT_AT(SetSessionExecutionMode, 13);
ORT_AT(DisableCpuMemArena, 19);
ORT_AT(SetInterOpNumThreads, 25);
ORT_AT(SessionGetOutputCount, 31);
ORT_AT(SessionGetOutputTypeInfo, 34);
ORT_AT(SessionGetOutputName, 37);
ORT_AT(CreateRunOptions, 39);
ORT_AT(RunOptionsSetRunLogSeverityLevel, 41);
ORT_AT(RunOptionsUnsetTerminate, 47);
ORT_AT(CreateTensorWithDataAsOrtValue, 49);
ORT_AT(GetTensorMutableData, 51);
ORT_AT(GetOnnxTypeFromTypeInfo, 56);
ORT_AT(GetSymbolicDimensions, 63);
ORT_AT(GetTensorTypeAndShape, 65);
ORT_AT(GetValueType, 67);
ORT_AT(CreateCpuMemoryInfo, 69);
ORT_AT(AllocatorFree, 76);
ORT_AT(GetAllocatorWithDefaultOptions, 78);
ORT_AT(ReleaseSessionOptions, 100);
ORT_AT(SessionGetModelMetadata, 111);
ORT_AT(ModelMetadataGetDescription, 115);
ORT_AT(ReleaseModelMetadata, 118);
ORT_AT(AddSessionConfigEntry, 130);
ORT_AT(RegisterAllocator, 176);
ORT_AT(GetResizedStringTensorElementBuffer, 252);
#undef ORT_AT

struct ort_api_base {
    const struct ort_api *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
};

#endif
