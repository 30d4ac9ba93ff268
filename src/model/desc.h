/* What a loaded model says of itself. Written by the worker into shared memory when loaded, read by every edge thread
 * (after model_desc_check: the worker is not trusted). Fixed size, no pointers. */
#ifndef MODEL_DESC_H
#define MODEL_DESC_H

#include "base/err.h"
#include "model/tensor.h"

#define MODEL_TENSORS_MAX 128
#define MODEL_NAME_MAX    128

#define MODEL_MEASURES_MAX 12

struct model_measure { /* what a run of so many rows took */
    uint32_t rows, pad;
    uint64_t ns;
};

struct model_desc {
    char backend[32];  /* "onnx", "identity" */
    char platform[64]; /* as Triton names it: "onnxruntime_onnx" */
    char producer[64]; /* who wrote the file, with version; may be "" */
    char description[256];
    uint32_t inputs_len, outputs_len;
    /* Batching: */
    uint8_t has_batch_dim; /* the first dimension of every input and output is free and is the number of rows */
    uint8_t
        may_share; /* rows of different requests may share a run: has_batch_dim, and rows do not influence each other */
    uint32_t max_batch; /* most rows in one run (1 when !has_batch_dim) */
    char batch_reason
        [240]; /* for people: what was found and how ("input 'scale' is a scalar", "probe: rows alone and together agree") */
    /* Measured: */
    uint32_t measures_len, pad;
    struct model_measure measures[MODEL_MEASURES_MAX]; /* rows ascend */
    uint64_t file_bytes, memory_bytes, load_ns;
    struct tensor_spec inputs[MODEL_TENSORS_MAX],
        outputs[MODEL_TENSORS_MAX]; /* last: what is kept ends with those that are there */
};

struct model_desc *model_desc_new(void); /* zeroed */
/* A copy that takes memory for the tensors that are there, not for all that there could be. `from` may change meanwhile and lie: check the copy. */
struct model_desc *model_desc_copy(const struct model_desc *from);
void model_desc_free(const struct model_desc *d); /* of one of these; NULL is fine */
/* For a file: as many bytes as its tensors need, at most sizeof *d. */
size_t model_desc_pack(const struct model_desc *d, void *out);
/* NULL: these bytes are none. To be checked, and freed with model_desc_free. */
struct model_desc *model_desc_unpack(const void *packed, size_t n);
/* Bounds, NULs, known types, sane dimensions. ERR_INVALID with text otherwise. */
enum err_code model_desc_check(const struct model_desc *d, struct err *err);
/* Index of a tensor by name, or -1. */
int model_desc_input(const struct model_desc *d, struct str name);
int model_desc_output(const struct model_desc *d, struct str name);

#endif
