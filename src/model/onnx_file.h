/* Our own bounded, read-only look at an ONNX file (protobuf wire format, no code generator, zero copy over a mapping), done inside the sandbox before
 * any engine sees it. Field numbers are those of onnx.proto3. Rejects: truncated or malformed wire data, nesting over
 * 64 levels, unknown operator domains, operator sets newer than the engine knows, external data outside the model's folder (absolute, "..",
 * symbolic links), tensors whose declared size does not match their data. */
#ifndef MODEL_ONNX_FILE_H
#define MODEL_ONNX_FILE_H

#include "base/buf.h"
#include "model/desc.h"

struct onnx_info {
    int64_t ir_version;
    char producer[64];
    int64_t opset;    /* of the default domain; 0 = none */
    int64_t opset_ml; /* ai.onnx.ml */
    uint64_t nodes, initializers, initializer_bytes;
    uint32_t external_files; /* external data references, all inside root */
    /* Graph output "probabilities" made by a trailing ZipMap: the tensor before it. zipmap_inputs[i] is what to fetch instead of zipmap_outputs[i]. */
    uint32_t zipmaps_len;
    char zipmap_outputs[4][TENSOR_NAME_MAX];
    char zipmap_inputs[4][TENSOR_NAME_MAX];
    uint32_t inputs_len, outputs_len; /* graph inputs that are not initializers; outputs */
    /* Whether the file says how many dimensions each of them has, in the file's order (the engine cannot tell "unknown" from "scalar"). */
    bool input_has_rank[MODEL_TENSORS_MAX], output_has_rank[MODEL_TENSORS_MAX];
};

/* The file again in which each trailing ZipMap is an Identity, so that the output keeps its name and becomes a tensor. */
enum err_code onnx_drop_zipmaps(struct str bytes, const struct onnx_info *info, struct buf *out, struct err *err);

/* bytes: the whole file; root: folder for external data (opened with O_NOFOLLOW beneath it), or NULL to refuse all. */
enum err_code onnx_check(struct str bytes, const char *root, struct onnx_info *out, struct err *err);

#endif
