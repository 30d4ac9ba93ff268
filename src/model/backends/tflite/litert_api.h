/* The part of LiteRT's C interface that we use, written from its documented layout. The library exports each function by name and tells no version; the
 * order of arguments has changed between versions without a new name. So the library's hash is pinned (model/engine.c), and litert.c runs
 * a tiny model before it believes any of this. */
#ifndef MODEL_BACKENDS_TFLITE_LITERT_API_H
#define MODEL_BACKENDS_TFLITE_LITERT_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct litert_env;
struct litert_model;
struct litert_signature;
struct litert_options;
struct litert_opaque;
struct litert_compiled;
struct litert_buffer;

#define LITERT_DIMS_MAX  8
#define LITERT_ALIGN     64 /* of every tensor's memory */
#define LITERT_READ_PAST 16 /* bytes behind a tensor that vector instructions may read */

enum litert_status {
    LITERT_OK = 0,
    LITERT_INVALID_ARGUMENT = 1,
    LITERT_NO_MEMORY = 2,
    LITERT_RUNTIME_FAILURE = 3,
    LITERT_UNSUPPORTED = 5,
    LITERT_WRONG_VERSION = 8,
    LITERT_CANCELLED = 100,
    LITERT_INVALID_FILE = 501,
    LITERT_COMPILATION = 504,
};

enum litert_element {
    LITERT_FLOAT32 = 1,
    LITERT_INT32 = 2,
    LITERT_UINT8 = 3,
    LITERT_INT64 = 4,
    LITERT_BOOL = 6,
    LITERT_INT16 = 7,
    LITERT_INT8 = 9,
    LITERT_FLOAT16 = 10,
    LITERT_FLOAT64 = 11,
    LITERT_UINT64 = 13,
    LITERT_UINT32 = 16,
    LITERT_UINT16 = 17,
    LITERT_BFLOAT16 = 19,
};

enum litert_any_type { LITERT_ANY_BOOL = 1, LITERT_ANY_INT = 2 };

struct litert_any {
    int32_t type;
    union {
        bool yes;
        int64_t number;
        const void *p;
    } u;
};

enum litert_env_tag { LITERT_ENV_ACCELERATORS = 24, LITERT_ENV_LOG_SEVERITY = 25 };

#define LITERT_ACCELERATOR_CPU 1
#define LITERT_LOG_SILENT      4

struct litert_env_option {
    int32_t tag;
    struct litert_any value;
};

struct litert_layout {
    uint32_t rank; /* 7 bits; the 8th: strides are given */
    int32_t dims[LITERT_DIMS_MAX];
    uint32_t strides[LITERT_DIMS_MAX];
};

struct litert_tensor_type {
    int32_t element;
    struct litert_layout layout;
};

_Static_assert(sizeof(struct litert_any) == 16, "as the library has it");
_Static_assert(sizeof(struct litert_env_option) == 24, "as the library has it");
_Static_assert(sizeof(struct litert_layout) == 68, "as the library has it");
_Static_assert(sizeof(struct litert_tensor_type) == 72, "as the library has it");

/* Each function with what it returns and takes; its name in the library is "LiteRt" and the name here. */
#define LITERT_FUNCTIONS(F)                                                                                            \
    F(int, CreateEnvironment, (int options_len, const struct litert_env_option *, struct litert_env **out))            \
    F(int, CreateModelFromBuffer, (struct litert_env *, const void *bytes, size_t len, struct litert_model **out))     \
    F(int, CreateModelFromFd, (void)) /* never called: only libraries of the present form have it */                   \
    F(void, DestroyModel, (struct litert_model *))                                                                     \
    F(int, CreateOptions, (struct litert_options * *out))                                                              \
    F(void, DestroyOptions, (struct litert_options *))                                                                 \
    F(int, SetOptionsHardwareAccelerators, (struct litert_options *, int set))                                         \
    F(int, CreateOpaqueOptions, (const char *id, void *payload, void (*destroy)(void *), struct litert_opaque **out))  \
    F(void, DestroyOpaqueOptions, (struct litert_opaque *))                                                            \
    F(int, AddOpaqueOptions, (struct litert_options *, struct litert_opaque *))                                        \
    F(int, CreateCompiledModel,                                                                                        \
      (struct litert_env *, struct litert_model *, struct litert_options *, struct litert_compiled * *out))            \
    F(void, DestroyCompiledModel, (struct litert_compiled *))                                                          \
    F(int, GetNumModelSignatures, (struct litert_model *, size_t * out))                                               \
    F(int, GetModelSignature, (struct litert_model *, size_t i, struct litert_signature * *out))                       \
    F(int, GetSignatureKey, (struct litert_signature *, const char **out))                                             \
    F(int, GetNumSignatureInputs, (struct litert_signature *, size_t * out))                                           \
    F(int, GetNumSignatureOutputs, (struct litert_signature *, size_t * out))                                          \
    F(int, GetSignatureInputName, (struct litert_signature *, size_t i, const char **out))                             \
    F(int, GetSignatureOutputName, (struct litert_signature *, size_t i, const char **out))                            \
    F(int, CompiledModelResizeInputTensorNonStrict,                                                                    \
      (struct litert_compiled *, size_t signature, size_t input, const int *dims, size_t ndim))                        \
    F(int, GetCompiledModelOutputTensorLayouts,                                                                        \
      (struct litert_compiled *, size_t signature, size_t len, struct litert_layout * out, bool update))               \
    F(int, SetCompiledModelCancellationFunction, (struct litert_compiled *, void *arg, bool (*is_cancelled)(void *)))  \
    F(int, CompiledModelGetErrorMessages, (struct litert_compiled *, char **out)) /* to be freed */                    \
    F(int, CompiledModelClearErrors, (struct litert_compiled *))                                                       \
    F(int, CreateTensorBufferFromHostMemory,                                                                           \
      (const struct litert_tensor_type *, void *p, size_t bytes, void (*destroy)(void *), struct litert_buffer **out)) \
    F(void, DestroyTensorBuffer, (struct litert_buffer *))                                                             \
    F(int, RunCompiledModel,                                                                                           \
      (struct litert_compiled *, size_t signature, size_t in_len, struct litert_buffer * *in, size_t out_len,          \
       struct litert_buffer * *out))

struct litert_api {
#define LITERT_MEMBER(result, name, args) result(*name) args;
    LITERT_FUNCTIONS(LITERT_MEMBER)
#undef LITERT_MEMBER
};

#endif
