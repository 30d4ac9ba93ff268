/* What a config.pbtxt says of a model's inputs and outputs, held against the model itself: a contradiction is a load that fails, so that nobody believes
 * in a shape or type that is not served. As Triton compares: what is not said is fine, -1 fits all, with max_batch_size above 0 the first
 * dimension is the number of rows and is not said, and must be free in the model. */
#ifndef MODEL_DECLARED_H
#define MODEL_DECLARED_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "model/desc.h"
#include "model/repo/triton.h"

#define DECLARED_TEXT_MAX 8192 /* of a declaration as JSON: it travels in a message */

struct declared_tensor {
    const char *name;
    enum dtype datatype; /* DT_NONE: not said */
    int64_t dims[TENSOR_DIMS_MAX];
    int ndim; /* -1: not said, or not to be compared */
    uint32_t line;
    bool has_no_rows; /* a shape tensor: no first dimension for the rows */
};

struct declared {
    const char *file; /* in errors; NULL: nothing is declared */
    int64_t max_batch_size;
    struct declared_tensor *inputs, *outputs;
    size_t inputs_len, outputs_len;
};

/* As JSON for declared_read. False: too much for DECLARED_TEXT_MAX, or there is nothing to say. */
bool declared_write(const char *file, const struct triton_config *c, struct buf *out);
/* From the object that the reader stands before. Texts lie in the arena. */
void declared_read(struct json_reader *r, struct arena *a, struct declared *out);
/* Errors name file and line, what is declared and what the model has. What the description leaves open (onnx_ends.h) fits all. */
enum err_code declared_check(const struct declared *d, const struct model_desc *m, struct err *err);

#endif
