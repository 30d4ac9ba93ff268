#include "model/onnx_ends.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/attr.h"
#include "base/map.h"
#include "model/onnx_file.h"
#include "model/onnx_schema.h"
#include "sys/fd.h"

#define CONSTANTS_MAX 1000000

static struct str find_bytes(struct str message, uint32_t number)
{
    struct wire in = wire_of(message);
    struct wire_field f;
    struct str found = {NULL, 0};
    while (wire_next(&in, &f) == WIRE_FIELD)
        if (f.number == number && f.type == WIRE_BYTES)
            found = f.bytes;
    return found;
}

/* ---- each of them ---- */

static enum err_code collect_constants(struct str graph, struct map *names, struct err *err)
{
    static char seen;
    struct wire in = wire_of(graph);
    struct wire_field f;
    while (wire_next(&in, &f) == WIRE_FIELD) {
        struct str name = {NULL, 0};
        if (f.number == GRAPH_INITIALIZER)
            name = find_bytes(f.bytes, TENSOR_NAME);
        else if (f.number == GRAPH_SPARSE)
            name = find_bytes(find_bytes(f.bytes, SPARSE_VALUES), TENSOR_NAME);
        if (name.n > 0 && !map_put(names, name, &seen))
            return err_set(err, ERR_TOO_LARGE, "the model has too many constants");
    }
    return ERR_OK;
}

enum err_code onnx_each_end(struct str bytes,
                            enum err_code (*each)(void *arg, const struct onnx_end *end, struct err *err), void *arg,
                            struct err *err)
{
    struct str graph = find_bytes(bytes, MODEL_GRAPH);
    if (graph.p == NULL)
        return err_set(err, ERR_INVALID, "not an ONNX model: it has no graph");
    struct map constants;
    map_init(&constants, CONSTANTS_MAX);
    enum err_code code = collect_constants(graph, &constants, err);
    struct wire in = wire_of(graph);
    struct wire_field f;
    while (code == ERR_OK && wire_next(&in, &f) == WIRE_FIELD) {
        if (f.number != GRAPH_INPUT && f.number != GRAPH_OUTPUT)
            continue;
        struct onnx_end end = {.is_input = f.number == GRAPH_INPUT,
                               .name = find_bytes(f.bytes, VALUE_NAME),
                               .type = find_bytes(f.bytes, VALUE_TYPE)};
        end.has_rank = find_bytes(find_bytes(end.type, TYPE_TENSOR), TYPE_TENSOR_SHAPE).p != NULL;
        if (!end.is_input || map_get(&constants, end.name) == NULL)
            code = each(arg, &end, err);
    }
    map_done(&constants);
    return code;
}

/* ---- describing ---- */

/* By the numbers of TensorProto.DataType. */
static enum dtype dtype_of(uint64_t number)
{
    static const enum dtype types[] = {DT_NONE,   DT_FP32,   DT_UINT8, DT_INT8, DT_UINT16, DT_INT16,
                                       DT_INT32,  DT_INT64,  DT_BYTES, DT_BOOL, DT_FP16,   DT_FP64,
                                       DT_UINT32, DT_UINT64, DT_NONE,  DT_NONE, DT_BF16};
    return number < ARRAY_LEN(types) ? types[number] : DT_NONE;
}

static int64_t dim_of(struct str dim)
{
    struct wire in = wire_of(dim);
    struct wire_field f;
    int64_t v = -1;
    while (wire_next(&in, &f) == WIRE_FIELD)
        if (f.number == DIM_VALUE && f.type == WIRE_VARINT)
            v = f.value <= INT64_MAX ? (int64_t)f.value : -1;
    return v;
}

static enum err_code read_shape(struct str shape, struct tensor_spec *s, struct err *err)
{
    struct wire in = wire_of(shape);
    struct wire_field f;
    s->ndim = 0;
    while (wire_next(&in, &f) == WIRE_FIELD) {
        if (f.number != SHAPE_DIM || f.type != WIRE_BYTES)
            continue;
        if (s->ndim == TENSOR_DIMS_MAX)
            return err_set(err, ERR_UNSUPPORTED, "'%s' has more than %d dimensions", s->name, TENSOR_DIMS_MAX);
        s->dims[s->ndim++] = dim_of(f.bytes);
    }
    return ERR_OK;
}

static enum err_code add_spec(void *arg, const struct onnx_end *end, struct err *err)
{
    struct model_desc *d = arg;
    uint32_t *len = end->is_input ? &d->inputs_len : &d->outputs_len;
    if (*len == MODEL_TENSORS_MAX) /* whoever changes the file under our hands */
        return err_set(err, ERR_TOO_LARGE, "more than %d inputs or outputs", MODEL_TENSORS_MAX);
    struct tensor_spec *s = &(end->is_input ? d->inputs : d->outputs)[(*len)++];
    struct str tensor = find_bytes(end->type, TYPE_TENSOR);
    struct wire in = wire_of(tensor);
    struct wire_field f;
    s->ndim = -1;
    if (!str_copy(s->name, sizeof s->name, end->name))
        return err_set(err, ERR_UNSUPPORTED, "the name of an %s is over %d bytes", end->is_input ? "input" : "output",
                       TENSOR_NAME_MAX - 1);
    while (wire_next(&in, &f) == WIRE_FIELD)
        if (f.number == TYPE_TENSOR_ELEMENT && f.type == WIRE_VARINT)
            s->dtype = dtype_of(f.value);
    return end->has_rank ? read_shape(find_bytes(tensor, TYPE_TENSOR_SHAPE), s, err) : ERR_OK;
}

static void believe_outputs_less(struct model_desc *d)
{
    bool is_free = false;
    for (uint32_t i = 0; i < d->inputs_len; i++)
        is_free = is_free || (d->inputs[i].ndim > 0 && d->inputs[i].dims[0] < 0);
    for (uint32_t i = 0; i < d->outputs_len && is_free; i++)
        if (d->outputs[i].ndim > 0)
            d->outputs[i].dims[0] = -1;
}

static enum err_code map_file(const char *path, struct str *out, struct err *err)
{
    struct stat st;
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, ERR_IO, errno, "cannot read %s", path);
    if (!S_ISREG(st.st_mode) || st.st_size <= 0)
        return err_set(err, ERR_INVALID, S_ISREG(st.st_mode) ? "the file is empty" : "not a regular file");
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_sys(err, ERR_IO, errno, "cannot map %s", path);
    *out = (struct str){p, (size_t)st.st_size};
    return ERR_OK;
}

enum err_code onnx_describe(struct str bytes, const char *root, struct model_desc *out, struct err *err)
{
    struct onnx_info info;
    memset(out, 0, sizeof *out);
    if (onnx_check(bytes, root, &info, err) || onnx_each_end(bytes, add_spec, out, err))
        return err->code;
    believe_outputs_less(out);
    return ERR_OK;
}

enum err_code onnx_describe_file(const char *path, struct model_desc *out, struct err *err)
{
    struct str bytes;
    char folder[PATH_MAX];
    if (!str_copy(folder, sizeof folder, str_c(path)))
        return err_set(err, ERR_INVALID, "the path is too long");
    if (map_file(path, &bytes, err))
        return err->code;
    enum err_code code = onnx_describe(bytes, dirname(folder), out, err);
    (void)munmap((void *)(uintptr_t)bytes.p, bytes.n);
    return code;
}
