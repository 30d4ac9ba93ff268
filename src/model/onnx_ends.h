/* Inputs and outputs of an ONNX file's main graph, and what the file says of them, without an engine. */
#ifndef MODEL_ONNX_ENDS_H
#define MODEL_ONNX_ENDS_H

#include "model/desc.h"

struct onnx_end {
    bool is_input;
    struct str name, type; /* type: a TypeProto */
    bool has_rank;
};

/* In the file's order, but inputs that are constants (older files list those, too). The file is well formed: onnx_check has seen it, or is about to
 * end. Stops at the first error of `each`. */
enum err_code onnx_each_end(struct str bytes,
                            enum err_code (*each)(void *arg, const struct onnx_end *end, struct err *err), void *arg,
                            struct err *err);

/* Names, types and shapes as far as the file tells them; the rest of *out is empty. What it does not tell is DT_NONE and ndim -1. Of outputs the file is
 * believed less: a fixed first dimension counts as free when an input has a free one, since many exporters write down what they saw. Loading tells more.
 * Checks as onnx_check does, with the same root. */
enum err_code onnx_describe(struct str bytes, const char *root, struct model_desc *out, struct err *err);
/* External data is looked for beside the file. */
enum err_code onnx_describe_file(const char *path, struct model_desc *out, struct err *err);

#endif
