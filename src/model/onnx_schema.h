/* Which fields the messages of onnx.proto3 have, as one table: what the reader descends into and what it counts. */
#ifndef MODEL_ONNX_SCHEMA_H
#define MODEL_ONNX_SCHEMA_H

#include "model/wire.h"

enum onnx_message {
    ONNX_MODEL,
    ONNX_GRAPH,
    ONNX_NODE,
    ONNX_ATTRIBUTE,
    ONNX_TENSOR,
    ONNX_SPARSE,
    ONNX_VALUE_INFO,
    ONNX_TYPE,
    ONNX_TYPE_TENSOR,
    ONNX_TYPE_SEQUENCE,
    ONNX_TYPE_MAP,
    ONNX_SHAPE,
    ONNX_DIM,
    ONNX_OPSET,
    ONNX_ENTRY,
    ONNX_ANNOTATION,
    ONNX_FUNCTION,
    ONNX_TRAINING,
};

enum onnx_kind {
    ONNX_NONE,
    ONNX_NUMBER, /* varint */
    ONNX_FLOAT,  /* 32 bits */
    ONNX_BYTES,
    ONNX_CHILD,   /* a message */
    ONNX_NUMBERS, /* repeated, packed or one by one */
    ONNX_FLOATS,
    ONNX_DOUBLES,
};

struct onnx_field {
    enum onnx_kind kind;
    enum onnx_message child;
    bool is_single; /* a message that may come once: parsers merge a second one into the first, which we refuse */
};

/* Fields of the messages above, by the numbers of onnx.proto3. */
enum {
    MODEL_IR_VERSION = 1,
    MODEL_PRODUCER_NAME = 2,
    MODEL_PRODUCER_VERSION = 3,
    MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    MODEL_FUNCTION = 25,
    GRAPH_NODE = 1,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_SPARSE = 15,
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OP = 4,
    NODE_ATTRIBUTE = 5,
    NODE_DOMAIN = 7,
    ATTRIBUTE_INTS = 8,
    ATTRIBUTE_STRINGS = 9,
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_FLOATS = 4,
    TENSOR_INT32S = 5,
    TENSOR_STRINGS = 6,
    TENSOR_INT64S = 7,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    TENSOR_DOUBLES = 10,
    TENSOR_UINT64S = 11,
    TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION = 14,
    SPARSE_VALUES = 1,
    SPARSE_INDICES = 2,
    SPARSE_DIMS = 3,
    VALUE_NAME = 1,
    VALUE_TYPE = 2,
    TYPE_TENSOR = 1,
    TYPE_TENSOR_ELEMENT = 1,
    TYPE_TENSOR_SHAPE = 2,
    SHAPE_DIM = 1,
    DIM_VALUE = 1,
    OPSET_DOMAIN = 1,
    OPSET_VERSION = 2,
    ENTRY_KEY = 1,
    ENTRY_VALUE = 2,
    FUNCTION_DOMAIN = 10,
};

/* NULL: a field that we do not look into. */
const struct onnx_field *onnx_field(enum onnx_message message, uint32_t number);
/* "graph", "node" ... for texts */
const char *onnx_message_name(enum onnx_message message);
bool onnx_wire_fits(enum onnx_kind kind, enum wire_type type);

#endif
