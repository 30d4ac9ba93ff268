/* What the parts of the check of a TensorFlow Lite file share; see tflite_file.h. */
#ifndef MODEL_TFLITE_FILE_INT_H
#define MODEL_TFLITE_FILE_INT_H

#include "model/flat.h"
#include "model/tflite_file.h"

/* Numbers of fields in the schema. */
enum { MODEL_VERSION, MODEL_OPCODES, MODEL_SUBGRAPHS, MODEL_DESCRIPTION, MODEL_BUFFERS, MODEL_METADATA_BUFFER };
enum { MODEL_METADATA = 6, MODEL_SIGNATURES, MODEL_EXTERNAL_GROUPS, MODEL_EXTERNAL_BUFFERS };
enum { OPCODE_OLD_CODE, OPCODE_CUSTOM, OPCODE_VERSION, OPCODE_CODE };
enum { GRAPH_TENSORS, GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_OPERATORS, GRAPH_NAME };
enum {
    TENSOR_SHAPE,
    TENSOR_TYPE,
    TENSOR_BUFFER,
    TENSOR_NAME,
    TENSOR_QUANT,
    TENSOR_VARIABLE,
    TENSOR_SPARSITY,
    TENSOR_SIGNATURE
};
enum { TENSOR_EXTERNAL = 10 };
enum { SPARSITY_ORDER, SPARSITY_BLOCKS, SPARSITY_LEVELS };
enum { LEVEL_FORMAT, LEVEL_SIZE, LEVEL_SEGMENTS_TYPE, LEVEL_SEGMENTS, LEVEL_INDICES_TYPE, LEVEL_INDICES };
enum { QUANT_SCALE = 2, QUANT_ZERO, QUANT_DETAILS_TYPE, QUANT_DETAILS, QUANT_DIMENSION };
enum { BUFFER_DATA, BUFFER_OFFSET, BUFFER_SIZE };
enum { OPERATOR_CODE, OPERATOR_INPUTS, OPERATOR_OUTPUTS, OPERATOR_OPTIONS_TYPE, OPERATOR_OPTIONS };
enum { OPERATOR_INTERMEDIATES = 8, OPERATOR_OPTIONS_2 = 12 };
enum { SIGNATURE_INPUTS, SIGNATURE_OUTPUTS, SIGNATURE_KEY, SIGNATURE_SUBGRAPH = 4 };
enum { MAP_NAME, MAP_TENSOR };
enum { METADATA_NAME, METADATA_BUFFER };

/* Types of tensors. */
enum { LITE_FLOAT16 = 1, LITE_STRING = 5, LITE_RESOURCE = 13, LITE_VARIANT = 14, LITE_TYPES = 23 };

#define LITE_SUBGRAPHS_MAX 1000

struct lite_graph {
    struct flat_vector tensors, inputs, outputs, operators;
};

/* A subgraph that runs another one. */
struct lite_call {
    uint32_t from, to;
};

struct lite_walk {
    struct flat f;
    struct tflite_info *info;
    struct err *err;
    struct flat_vector opcodes, buffers, subgraphs, signatures;
    struct lite_graph graphs[LITE_SUBGRAPHS_MAX];
    uint64_t tables, entries; /* visited so far: parts of a file that overlap are counted each time */
    struct lite_call *calls;
    size_t calls_len, calls_cap;
};

enum err_code lite_damaged(struct lite_walk *w, const char *what);
/* Text of the file for an error: valid, printable, short. */
const char *lite_shown(struct str s, char out[80]);
/* Counts n tables or n entries of vectors; fails when there are more than a file of this size can hold. */
enum err_code lite_count(struct lite_walk *w, uint64_t tables, uint64_t entries);
/* Where a buffer's bytes lie; n == 0: none. */
enum err_code lite_buffer(struct lite_walk *w, uint32_t index, struct str *out);

/* A tensor as the checks see it. */
struct lite_tensor {
    struct flat_table at;
    uint32_t type;
    int ndim;
    int64_t dims[TENSOR_DIMS_MAX];
    uint64_t count;
    struct str name, data; /* data: of a constant */
};
enum err_code lite_tensor(struct lite_walk *w, const struct lite_graph *g, uint32_t index, struct lite_tensor *out);
enum err_code lite_check_tensor(struct lite_walk *w, const struct lite_tensor *t);

/* How many elements a sparse constant stores; its indices all lie within its shape. */
enum err_code lite_check_sparse(struct lite_walk *w, const struct lite_tensor *t, uint64_t *stored);

enum err_code lite_check_graph(struct lite_walk *w, uint32_t index);
enum err_code lite_check_calls(struct lite_walk *w);
enum err_code lite_check_signatures(struct lite_walk *w, const char *wanted);

#endif
