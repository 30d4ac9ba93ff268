/* Removing a trailing ZipMap: scikit-learn's exporter ends classifiers with it, which turns a matrix of probabilities into a list of dictionaries:
 * slower, and no tensor. The node becomes an Identity; the output's declared type becomes a matrix of floats. */
#include <string.h>

#include "model/onnx_file.h"
#include "model/onnx_schema.h"

#define ELEMENT_FLOAT 1

static bool listed(const char names[][TENSOR_NAME_MAX], uint32_t len, struct str name)
{
    for (uint32_t i = 0; i < len; i++)
        if (str_eq_c(name, names[i]))
            return true;
    return false;
}

static bool is_zipmap(struct str node, const struct onnx_info *info)
{
    struct wire in = wire_of(node);
    struct wire_field f;
    struct str op = {NULL, 0}, output = {NULL, 0};
    while (wire_next(&in, &f) == WIRE_FIELD) {
        if (f.number == NODE_OP)
            op = f.bytes;
        else if (f.number == NODE_OUTPUT)
            output = f.bytes;
    }
    return str_eq_c(op, "ZipMap") && listed(info->zipmap_outputs, info->zipmaps_len, output);
}

static void put_identity(struct buf *out, struct str node)
{
    struct wire in = wire_of(node);
    struct wire_field f;
    while (wire_next(&in, &f) == WIRE_FIELD)
        if (f.number == NODE_INPUT || f.number == NODE_OUTPUT || f.number == NODE_NAME)
            buf_str(out, f.whole);
    wire_put_bytes(out, NODE_OP, STR("Identity"));
}

/* ValueInfo: the name as before, type tensor of FLOAT with two dimensions of any size. */
static void put_matrix(struct buf *out, struct str value)
{
    static const char shape[] = {TYPE_TENSOR_SHAPE << 3 | WIRE_BYTES, 4, SHAPE_DIM << 3 | WIRE_BYTES, 0,
                                 SHAPE_DIM << 3 | WIRE_BYTES,         0};
    struct wire in = wire_of(value);
    struct wire_field f;
    while (wire_next(&in, &f) == WIRE_FIELD)
        if (f.number == VALUE_NAME)
            buf_str(out, f.whole);
    char type[16] = {TYPE_TENSOR_ELEMENT << 3 | WIRE_VARINT, ELEMENT_FLOAT};
    memcpy(type + 2, shape, sizeof shape);
    struct buf tensor;
    buf_init(&tensor, 64);
    wire_put_bytes(&tensor, TYPE_TENSOR, (struct str){type, 2 + sizeof shape});
    wire_put_bytes(out, VALUE_TYPE, buf_view(&tensor));
    buf_done(&tensor);
}

static bool is_zipmap_output(struct str value, const struct onnx_info *info)
{
    struct wire in = wire_of(value);
    struct wire_field f;
    while (wire_next(&in, &f) == WIRE_FIELD)
        if (f.number == VALUE_NAME && listed(info->zipmap_outputs, info->zipmaps_len, f.bytes))
            return true;
    return false;
}

static void put_graph(struct buf *out, struct str graph, const struct onnx_info *info)
{
    struct wire in = wire_of(graph);
    struct wire_field f;
    struct buf part;
    buf_init(&part, 64 * 1024);
    while (wire_next(&in, &f) == WIRE_FIELD) {
        buf_clear(&part);
        if (f.number == GRAPH_NODE && is_zipmap(f.bytes, info))
            put_identity(&part, f.bytes);
        else if (f.number == GRAPH_OUTPUT && is_zipmap_output(f.bytes, info))
            put_matrix(&part, f.bytes);
        else {
            buf_str(out, f.whole);
            continue;
        }
        if (part.failed)
            out->failed = true;
        wire_put_bytes(out, f.number, buf_view(&part));
    }
    buf_done(&part);
}

enum err_code onnx_drop_zipmaps(struct str bytes, const struct onnx_info *info, struct buf *out, struct err *err)
{
    struct wire in = wire_of(bytes);
    struct wire_field f;
    struct buf graph;
    buf_init(&graph, bytes.n + 4096);
    while (wire_next(&in, &f) == WIRE_FIELD) {
        if (f.number != MODEL_GRAPH) {
            buf_str(out, f.whole);
            continue;
        }
        put_graph(&graph, f.bytes, info);
        wire_put_bytes(out, MODEL_GRAPH, buf_view(&graph));
    }
    bool failed = graph.failed || out->failed;
    buf_done(&graph);
    return failed ? err_set(err, ERR_TOO_LARGE, "no memory for the model without its ZipMap") : ERR_OK;
}
