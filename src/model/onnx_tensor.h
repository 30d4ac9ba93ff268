/* One TensorProto as the reader meets it field by field, and whether its declared size and its data agree. */
#ifndef MODEL_ONNX_TENSOR_H
#define MODEL_ONNX_TENSOR_H

#include "base/err.h"
#include "model/onnx_external.h"
#include "model/wire.h"

struct onnx_tensor {
    struct str name;
    int64_t type;
    uint32_t ndim;
    int64_t dims[8];    /* the first ones, for texts */
    uint64_t count;     /* product of dims */
    bool is_impossible; /* a negative size, or a product over the limit */
    bool has_raw, is_external;
    uint64_t raw_bytes, floats, int32s, strings, int64s, doubles, uint64s;
    struct str location;
    uint64_t offset, length;
    bool has_length, has_bad_entry;
};

void onnx_tensor_init(struct onnx_tensor *t);
/* False: a number that is cut off. */
bool onnx_tensor_field(struct onnx_tensor *t, const struct wire_field *f);
void onnx_tensor_entry(struct onnx_tensor *t, struct str key, struct str value);
/* All fields are seen. *bytes: size of the data. */
enum err_code onnx_tensor_check(const struct onnx_tensor *t, struct onnx_folder *folder, uint64_t *bytes,
                                struct err *err);

#endif
