/* Removing a trailing ZipMap: scikit-learn's exporter ends classifiers with it, which turns a matrix of probabilities into a list of dictionaries:
 * slower, and no tensor. The node becomes an Identity; the output's declared type becomes a matrix of floats. */
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

static struct str first_bytes(struct str message, uint32_t number)
{
    struct wire in = wire_of(message);
    struct wire_field f;
    while (wire_next(&in, &f) == WIRE_FIELD)
        if (f.number == number && f.type == WIRE_BYTES)
            return f.bytes;
    return STR("");
}

static bool is_zipmap(struct str node, const struct onnx_info *info)
{
    return str_eq_c(first_bytes(node, NODE_OP), "ZipMap") &&
           listed(info->zipmap_outputs, info->zipmaps_len, first_bytes(node, NODE_OUTPUT));
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

/* How many classes the ZipMap that makes this output has: the columns of the matrix. 0 = not told. */
static uint64_t count_classes(struct str node)
{
    struct wire in = wire_of(node);
    struct wire_field f, v;
    uint64_t count = 0;
    while (wire_next(&in, &f) == WIRE_FIELD) {
        struct wire attribute = wire_of(f.number == NODE_ATTRIBUTE ? f.bytes : STR(""));
        while (wire_next(&attribute, &v) == WIRE_FIELD) {
            uint64_t n = 1;
            if (v.number == ATTRIBUTE_INTS && v.type == WIRE_BYTES && !wire_packed_count(v.bytes, 0, &n))
                n = 0;
            if (v.number == ATTRIBUTE_INTS || v.number == ATTRIBUTE_STRINGS)
                count += n;
        }
    }
    return count;
}

/* The columns of the output with this name. */
static uint64_t columns_of(struct str graph, struct str name)
{
    struct wire in = wire_of(graph);
    struct wire_field f;
    while (wire_next(&in, &f) == WIRE_FIELD)
        if (f.number == GRAPH_NODE && str_eq_c(first_bytes(f.bytes, NODE_OP), "ZipMap") &&
            str_eq(first_bytes(f.bytes, NODE_OUTPUT), name))
            return count_classes(f.bytes);
    return 0;
}

/* ValueInfo: the name as before, type tensor of FLOAT with two dimensions, rows of any number and the given columns. */
static void put_matrix(struct buf *out, struct str graph, struct str value)
{
    struct str name = first_bytes(value, VALUE_NAME);
    struct buf dim, shape, tensor, type;
    struct buf *const all[] = {&dim, &shape, &tensor, &type};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_init(all[i], 256);
    uint64_t columns = columns_of(graph, name);
    if (columns > 0)
        wire_put_number(&dim, DIM_VALUE, columns);
    wire_put_bytes(&shape, SHAPE_DIM, STR(""));
    wire_put_bytes(&shape, SHAPE_DIM, buf_view(&dim));
    wire_put_number(&tensor, TYPE_TENSOR_ELEMENT, ELEMENT_FLOAT);
    wire_put_bytes(&tensor, TYPE_TENSOR_SHAPE, buf_view(&shape));
    wire_put_bytes(&type, TYPE_TENSOR, buf_view(&tensor));
    wire_put_bytes(out, VALUE_NAME, name);
    wire_put_bytes(out, VALUE_TYPE, buf_view(&type));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_done(all[i]);
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
        else if (f.number == GRAPH_OUTPUT &&
                 listed(info->zipmap_outputs, info->zipmaps_len, first_bytes(f.bytes, VALUE_NAME)))
            put_matrix(&part, graph, f.bytes);
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
