#include "model/onnx_schema.h"

/* Highest field number of any message; above it nothing is looked into. */
#define NUMBER_MAX 25

#define MANY(m, n, c)  [m][n] = {ONNX_CHILD, c, false}
#define ONE(m, n, c)   [m][n] = {ONNX_CHILD, c, true}
#define PLAIN(m, n, k) [m][n] = {k, ONNX_MODEL, false}

static const struct onnx_field fields[ONNX_TRAINING + 1][NUMBER_MAX + 1] = {
    PLAIN(ONNX_MODEL, MODEL_IR_VERSION, ONNX_NUMBER),
    PLAIN(ONNX_MODEL, MODEL_PRODUCER_NAME, ONNX_BYTES),
    PLAIN(ONNX_MODEL, MODEL_PRODUCER_VERSION, ONNX_BYTES),
    PLAIN(ONNX_MODEL, 4, ONNX_BYTES),  /* domain */
    PLAIN(ONNX_MODEL, 5, ONNX_NUMBER), /* model_version */
    PLAIN(ONNX_MODEL, 6, ONNX_BYTES),  /* doc_string */
    ONE(ONNX_MODEL, MODEL_GRAPH, ONNX_GRAPH),
    MANY(ONNX_MODEL, MODEL_OPSET, ONNX_OPSET),
    MANY(ONNX_MODEL, 14, ONNX_ENTRY), /* metadata_props */
    MANY(ONNX_MODEL, 20, ONNX_TRAINING),
    MANY(ONNX_MODEL, MODEL_FUNCTION, ONNX_FUNCTION),

    MANY(ONNX_GRAPH, GRAPH_NODE, ONNX_NODE),
    PLAIN(ONNX_GRAPH, 2, ONNX_BYTES), /* name */
    MANY(ONNX_GRAPH, GRAPH_INITIALIZER, ONNX_TENSOR),
    PLAIN(ONNX_GRAPH, 10, ONNX_BYTES), /* doc_string */
    MANY(ONNX_GRAPH, GRAPH_INPUT, ONNX_VALUE_INFO),
    MANY(ONNX_GRAPH, GRAPH_OUTPUT, ONNX_VALUE_INFO),
    MANY(ONNX_GRAPH, 13, ONNX_VALUE_INFO), /* value_info */
    MANY(ONNX_GRAPH, 14, ONNX_ANNOTATION), /* quantization_annotation */
    MANY(ONNX_GRAPH, GRAPH_SPARSE, ONNX_SPARSE),
    MANY(ONNX_GRAPH, 16, ONNX_ENTRY), /* metadata_props */

    PLAIN(ONNX_NODE, NODE_INPUT, ONNX_BYTES),
    PLAIN(ONNX_NODE, NODE_OUTPUT, ONNX_BYTES),
    PLAIN(ONNX_NODE, NODE_NAME, ONNX_BYTES),
    PLAIN(ONNX_NODE, NODE_OP, ONNX_BYTES),
    MANY(ONNX_NODE, 5, ONNX_ATTRIBUTE),
    PLAIN(ONNX_NODE, 6, ONNX_BYTES), /* doc_string */
    PLAIN(ONNX_NODE, NODE_DOMAIN, ONNX_BYTES),
    PLAIN(ONNX_NODE, 8, ONNX_BYTES), /* overload */
    MANY(ONNX_NODE, 9, ONNX_ENTRY),  /* metadata_props */

    PLAIN(ONNX_ATTRIBUTE, 1, ONNX_BYTES),  /* name */
    PLAIN(ONNX_ATTRIBUTE, 2, ONNX_FLOAT),  /* f */
    PLAIN(ONNX_ATTRIBUTE, 3, ONNX_NUMBER), /* i */
    PLAIN(ONNX_ATTRIBUTE, 4, ONNX_BYTES),  /* s */
    ONE(ONNX_ATTRIBUTE, 5, ONNX_TENSOR),
    ONE(ONNX_ATTRIBUTE, 6, ONNX_GRAPH),
    PLAIN(ONNX_ATTRIBUTE, 7, ONNX_FLOATS),
    PLAIN(ONNX_ATTRIBUTE, 8, ONNX_NUMBERS), /* ints */
    PLAIN(ONNX_ATTRIBUTE, 9, ONNX_BYTES),   /* strings */
    MANY(ONNX_ATTRIBUTE, 10, ONNX_TENSOR),
    MANY(ONNX_ATTRIBUTE, 11, ONNX_GRAPH),
    PLAIN(ONNX_ATTRIBUTE, 13, ONNX_BYTES), /* doc_string */
    ONE(ONNX_ATTRIBUTE, 14, ONNX_TYPE),
    MANY(ONNX_ATTRIBUTE, 15, ONNX_TYPE),
    PLAIN(ONNX_ATTRIBUTE, 20, ONNX_NUMBER), /* type */
    PLAIN(ONNX_ATTRIBUTE, 21, ONNX_BYTES),  /* ref_attr_name */
    ONE(ONNX_ATTRIBUTE, 22, ONNX_SPARSE),
    MANY(ONNX_ATTRIBUTE, 23, ONNX_SPARSE),

    PLAIN(ONNX_TENSOR, TENSOR_DIMS, ONNX_NUMBERS),
    PLAIN(ONNX_TENSOR, TENSOR_TYPE, ONNX_NUMBER),
    PLAIN(ONNX_TENSOR, TENSOR_FLOATS, ONNX_FLOATS),
    PLAIN(ONNX_TENSOR, TENSOR_INT32S, ONNX_NUMBERS),
    PLAIN(ONNX_TENSOR, TENSOR_STRINGS, ONNX_BYTES),
    PLAIN(ONNX_TENSOR, TENSOR_INT64S, ONNX_NUMBERS),
    PLAIN(ONNX_TENSOR, TENSOR_NAME, ONNX_BYTES),
    PLAIN(ONNX_TENSOR, TENSOR_RAW, ONNX_BYTES),
    PLAIN(ONNX_TENSOR, TENSOR_DOUBLES, ONNX_DOUBLES),
    PLAIN(ONNX_TENSOR, TENSOR_UINT64S, ONNX_NUMBERS),
    PLAIN(ONNX_TENSOR, 12, ONNX_BYTES), /* doc_string */
    MANY(ONNX_TENSOR, TENSOR_EXTERNAL, ONNX_ENTRY),
    PLAIN(ONNX_TENSOR, TENSOR_LOCATION, ONNX_NUMBER),
    MANY(ONNX_TENSOR, 16, ONNX_ENTRY), /* metadata_props */

    ONE(ONNX_SPARSE, SPARSE_VALUES, ONNX_TENSOR),
    ONE(ONNX_SPARSE, SPARSE_INDICES, ONNX_TENSOR),
    PLAIN(ONNX_SPARSE, SPARSE_DIMS, ONNX_NUMBERS),

    PLAIN(ONNX_VALUE_INFO, VALUE_NAME, ONNX_BYTES),
    ONE(ONNX_VALUE_INFO, VALUE_TYPE, ONNX_TYPE),
    PLAIN(ONNX_VALUE_INFO, 3, ONNX_BYTES), /* doc_string */
    MANY(ONNX_VALUE_INFO, 4, ONNX_ENTRY),  /* metadata_props */

    ONE(ONNX_TYPE, TYPE_TENSOR, ONNX_TYPE_TENSOR),
    ONE(ONNX_TYPE, 4, ONNX_TYPE_SEQUENCE),
    ONE(ONNX_TYPE, 5, ONNX_TYPE_MAP),
    PLAIN(ONNX_TYPE, 6, ONNX_BYTES),       /* denotation */
    ONE(ONNX_TYPE, 8, ONNX_TYPE_TENSOR),   /* sparse_tensor_type has the same fields */
    ONE(ONNX_TYPE, 9, ONNX_TYPE_SEQUENCE), /* so has optional_type as sequence_type */

    PLAIN(ONNX_TYPE_TENSOR, TYPE_TENSOR_ELEMENT, ONNX_NUMBER),
    ONE(ONNX_TYPE_TENSOR, TYPE_TENSOR_SHAPE, ONNX_SHAPE),
    ONE(ONNX_TYPE_SEQUENCE, 1, ONNX_TYPE),
    PLAIN(ONNX_TYPE_MAP, 1, ONNX_NUMBER),
    ONE(ONNX_TYPE_MAP, 2, ONNX_TYPE),

    MANY(ONNX_SHAPE, SHAPE_DIM, ONNX_DIM),
    PLAIN(ONNX_DIM, 1, ONNX_NUMBER),
    PLAIN(ONNX_DIM, 2, ONNX_BYTES),
    PLAIN(ONNX_DIM, 3, ONNX_BYTES),

    PLAIN(ONNX_OPSET, OPSET_DOMAIN, ONNX_BYTES),
    PLAIN(ONNX_OPSET, OPSET_VERSION, ONNX_NUMBER),
    PLAIN(ONNX_ENTRY, ENTRY_KEY, ONNX_BYTES),
    PLAIN(ONNX_ENTRY, ENTRY_VALUE, ONNX_BYTES),
    PLAIN(ONNX_ANNOTATION, 1, ONNX_BYTES),
    MANY(ONNX_ANNOTATION, 2, ONNX_ENTRY),

    PLAIN(ONNX_FUNCTION, 1, ONNX_BYTES), /* name */
    PLAIN(ONNX_FUNCTION, 4, ONNX_BYTES), /* input */
    PLAIN(ONNX_FUNCTION, 5, ONNX_BYTES), /* output */
    PLAIN(ONNX_FUNCTION, 6, ONNX_BYTES), /* attribute */
    MANY(ONNX_FUNCTION, 7, ONNX_NODE),
    PLAIN(ONNX_FUNCTION, 8, ONNX_BYTES), /* doc_string */
    MANY(ONNX_FUNCTION, 9, ONNX_OPSET),
    PLAIN(ONNX_FUNCTION, FUNCTION_DOMAIN, ONNX_BYTES),
    MANY(ONNX_FUNCTION, 11, ONNX_ATTRIBUTE),
    MANY(ONNX_FUNCTION, 12, ONNX_VALUE_INFO),
    PLAIN(ONNX_FUNCTION, 13, ONNX_BYTES), /* overload */
    MANY(ONNX_FUNCTION, 14, ONNX_ENTRY),

    ONE(ONNX_TRAINING, 1, ONNX_GRAPH),
    ONE(ONNX_TRAINING, 2, ONNX_GRAPH),
    MANY(ONNX_TRAINING, 3, ONNX_ENTRY),
    MANY(ONNX_TRAINING, 4, ONNX_ENTRY),
};

const struct onnx_field *onnx_field(enum onnx_message message, uint32_t number)
{
    if (number > NUMBER_MAX || fields[message][number].kind == ONNX_NONE)
        return NULL;
    return &fields[message][number];
}

const char *onnx_message_name(enum onnx_message message)
{
    static const char *const names[] = {
        [ONNX_MODEL] = "model",
        [ONNX_GRAPH] = "graph",
        [ONNX_NODE] = "node",
        [ONNX_ATTRIBUTE] = "attribute",
        [ONNX_TENSOR] = "tensor",
        [ONNX_SPARSE] = "sparse tensor",
        [ONNX_VALUE_INFO] = "value",
        [ONNX_TYPE] = "type",
        [ONNX_TYPE_TENSOR] = "tensor type",
        [ONNX_TYPE_SEQUENCE] = "sequence type",
        [ONNX_TYPE_MAP] = "map type",
        [ONNX_SHAPE] = "shape",
        [ONNX_DIM] = "dimension",
        [ONNX_OPSET] = "operator set",
        [ONNX_ENTRY] = "key and value",
        [ONNX_ANNOTATION] = "annotation",
        [ONNX_FUNCTION] = "function",
        [ONNX_TRAINING] = "training",
    };
    return names[message];
}

bool onnx_wire_fits(enum onnx_kind kind, enum wire_type type)
{
    switch (kind) {
    case ONNX_NONE:
        return false;
    case ONNX_NUMBER:
        return type == WIRE_VARINT;
    case ONNX_FLOAT:
        return type == WIRE_FIXED32;
    case ONNX_BYTES:
    case ONNX_CHILD:
        return type == WIRE_BYTES;
    case ONNX_NUMBERS:
        return type == WIRE_VARINT || type == WIRE_BYTES;
    case ONNX_FLOATS:
        return type == WIRE_FIXED32 || type == WIRE_BYTES;
    case ONNX_DOUBLES:
        return type == WIRE_FIXED64 || type == WIRE_BYTES;
    }
    return false;
}
