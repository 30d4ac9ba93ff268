/* Tensors: element types and descriptions. Row-major, no strides, little endian.
 * Names of types are those of the Open Inference Protocol. */
#ifndef MODEL_TENSOR_H
#define MODEL_TENSOR_H

#include "base/json.h"

#define TENSOR_DIMS_MAX 8
#define TENSOR_NAME_MAX 128

enum dtype {
    DT_NONE,
    DT_BOOL,
    DT_UINT8,
    DT_UINT16,
    DT_UINT32,
    DT_UINT64,
    DT_INT8,
    DT_INT16,
    DT_INT32,
    DT_INT64,
    DT_FP16,
    DT_BF16,
    DT_FP32,
    DT_FP64,
    DT_BYTES,
    DT_MAX_
};

/* One element of a BYTES tensor inside a batch block: where its bytes lie, relative to the block area's start. */
struct bytes_ref {
    uint32_t off, len;
};

size_t dtype_size(enum dtype t);         /* bytes of one element; BYTES: sizeof(struct bytes_ref) */
const char *dtype_name(enum dtype t);    /* "FP32" */
enum dtype dtype_parse(struct str name); /* DT_NONE when unknown */
enum json_num dtype_json(enum dtype t);  /* how base/json reads and writes it; not for BYTES */

struct tensor_spec {
    char name[TENSOR_NAME_MAX];
    uint32_t dtype; /* enum dtype; fixed width because it lies in shared memory */
    int32_t ndim;
    int64_t dims[TENSOR_DIMS_MAX];     /* -1: any */
    char symbols[TENSOR_DIMS_MAX][24]; /* the graph's name for a free dimension ("batch"), or "" */
    uint8_t is_optional;
    uint8_t is_picture; /* BYTES: each element is a JPEG or PNG file */
    int16_t zero;       /* where scale > 0: what a value means is (value - zero) * scale */
    float scale;        /* 0: values mean themselves */
};

bool tensor_is_scaled(const struct tensor_spec *t);

/* Whether a tensor of one description can be one of the other. What is not known, type DT_NONE, ndim -1 or a dimension of -1, fits all. */
bool tensor_specs_fit(const struct tensor_spec *a, const struct tensor_spec *b);
/* "[-1,3,48,320]" for texts; out_size at least 128. */
void tensor_dims_format(const int64_t *dims, int ndim, char *out, size_t out_size);
/* Product of dims; false when negative or over 2^40 (no such tensor can be served). */
ATTR_MUST_USE bool tensor_count(const int64_t *dims, int ndim, uint64_t *count);

#endif
