/* Our own bounded, read-only look at a TensorFlow Lite file (FlatBuffers, zero copy), done inside the sandbox before any engine sees it, and all that
 * we say of a model's inputs and outputs. Field numbers are those of TensorFlow Lite's schema, version 3.
 *
 * The engine checks that the file is a well-formed FlatBuffer; what it takes on trust is checked here: names that are there, scales and zero
 * points of the same number, indices in range, constants as long as their shapes say (sparse ones: lists that stay within), values that are written before they are read, operators with all
 * the inputs that they read, control flow without cycles, signatures that name exactly the graph's inputs and outputs.
 * Refused as not supported: custom operators other than the engine's own, state between runs, strings, weights in other files. */
#ifndef MODEL_TFLITE_FILE_H
#define MODEL_TFLITE_FILE_H

#include "model/desc.h"

struct tflite_io {
    struct tensor_spec spec;        /* dims are -1 where the file leaves them free */
    int64_t shape[TENSOR_DIMS_MAX]; /* with what the engine begins */
    bool is_quantized;              /* 8 or 16 bits with one scale: real = (value - zero) * scale */
    float scale;
    int32_t zero;
};

struct tflite_info {
    char description[256];
    char signature[TENSOR_NAME_MAX]; /* "" when the file has none */
    uint32_t signature_index;        /* 0 when the file has none */
    uint32_t signatures, subgraphs;
    uint64_t operators, tensors, constant_bytes;
    uint32_t inputs_len, outputs_len; /* of the signature, in its order */
    struct tflite_io inputs[MODEL_TENSORS_MAX], outputs[MODEL_TENSORS_MAX];
};

/* bytes: the whole file. signature: which to serve; NULL: "serving_default", or else the first. */
enum err_code tflite_check(struct str bytes, const char *signature, struct tflite_info *out, struct err *err);

#endif
