#include "model/onnx_file.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "model/onnx_ends.h"
#include "model/onnx_schema.h"
#include "model/onnx_tensor.h"

/* What ONNX Runtime 1.32.0 takes (tried: one more fails to load). Raise them with the pinned engine. */
#define IR_VERSION_MAX 14
#define OPSET_MAX      28
#define OPSET_ML_MAX   5

#define DEPTH_MAX   64
#define DOMAINS_MAX 64
#define NODES_MAX   1000000
#define TENSORS_MAX 1000000
/* A sparse tensor is unfolded by the engine: bounds what a few bytes may turn into. */
#define SPARSE_MAX (UINT64_C(1) << 31)

/* One open message. Only the members of its kind are used. */
struct frame {
    enum onnx_message kind;
    uint32_t number; /* field of the parent that it is */
    struct wire wire;
    uint64_t singles; /* bit n: single message field n was seen */
    union {
        struct onnx_tensor tensor; /* sparse tensors use its dims */
        struct {
            struct str name, op, domain, input, output;
            uint32_t inputs, outputs;
        } node;
        struct {
            struct str key, value;
        } entry;
    } u;
};

struct walk {
    struct str bytes;
    struct onnx_info *info;
    struct err *err;
    struct onnx_folder folder;
    struct str domains[DOMAINS_MAX]; /* of functions that the file itself defines */
    uint32_t domains_len;
    uint32_t opsets;
    struct str zip_out[4], zip_in[4]; /* ZipMap nodes of the main graph */
    uint32_t zips_len;
    int depth;
    struct frame frames[DEPTH_MAX];
};

static unsigned long long offset_of(const struct walk *w, const char *at)
{
    return (unsigned long long)(at - w->bytes.p);
}

static enum err_code bad_wire(struct walk *w, const char *at, enum onnx_message in)
{
    if (at == w->bytes.p)
        return err_set(w->err, ERR_INVALID, "not an ONNX model: the file does not even begin like one");
    return err_set(w->err, ERR_INVALID, "the file is damaged or cut off: no whole field at byte %llu (in a %s)",
                   offset_of(w, at), onnx_message_name(in));
}

/* ---- names and versions ---- */

static bool is_engine_domain(struct str domain)
{
    static const char *const known[] = {"",
                                        "ai.onnx",
                                        "ai.onnx.ml",
                                        "ai.onnx.training",
                                        "ai.onnx.preview",
                                        "ai.onnx.preview.training",
                                        "com.microsoft",
                                        "com.microsoft.experimental",
                                        "com.microsoft.nchwc",
                                        "com.ms.internal.nhwc"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq_c(domain, known[i]))
            return true;
    return false;
}

static bool is_known_domain(const struct walk *w, struct str domain)
{
    for (uint32_t i = 0; i < w->domains_len; i++)
        if (str_eq(domain, w->domains[i]))
            return true;
    return is_engine_domain(domain);
}

/* Text from the file for an error: valid, printable, short. */
static const char *shown(struct str s, char out[80])
{
    (void)str_copy(out, 80, s);
    size_t good = utf8_check(str_c(out));
    out[good] = 0;
    for (char *c = out; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return out;
}

static enum err_code check_version(struct walk *w, const char *what, int64_t version, int64_t max)
{
    if (version >= 1 && version <= max)
        return ERR_OK;
    (void)err_set(w->err, ERR_UNSUPPORTED, "the model uses version %lld of the %s; the engine knows 1 to %lld",
                  (long long)version, what, (long long)max);
    return err_remedy(w->err, "export the model with an older version (target_opset, opset_version), or update quern");
}

static enum err_code add_opset(struct walk *w, struct str bytes)
{
    struct wire in = wire_of(bytes);
    struct wire_field f;
    struct str domain = {NULL, 0};
    int64_t version = 0;
    w->opsets++;
    while (wire_next(&in, &f) == WIRE_FIELD) {
        if (f.number == OPSET_DOMAIN && f.type == WIRE_BYTES)
            domain = f.bytes;
        else if (f.number == OPSET_VERSION && f.type == WIRE_VARINT)
            version = (int64_t)f.value;
    }
    if (domain.n == 0 || str_eq_c(domain, "ai.onnx")) {
        w->info->opset = version;
        return check_version(w, "operator set ai.onnx", version, OPSET_MAX);
    }
    if (str_eq_c(domain, "ai.onnx.ml")) {
        w->info->opset_ml = version;
        return check_version(w, "operator set ai.onnx.ml", version, OPSET_ML_MAX);
    }
    return ERR_OK;
}

static enum err_code add_function_domain(struct walk *w, struct str bytes)
{
    struct wire in = wire_of(bytes);
    struct wire_field f;
    struct str domain = {NULL, 0};
    while (wire_next(&in, &f) == WIRE_FIELD)
        if (f.number == FUNCTION_DOMAIN && f.type == WIRE_BYTES)
            domain = f.bytes;
    if (is_known_domain(w, domain))
        return ERR_OK;
    if (w->domains_len == DOMAINS_MAX)
        return err_set(w->err, ERR_TOO_LARGE, "functions of more than %d domains", DOMAINS_MAX);
    w->domains[w->domains_len++] = domain;
    return ERR_OK;
}

static void add_producer(struct walk *w, const struct wire_field *f)
{
    char part[80];
    char *out = w->info->producer;
    size_t used = strlen(out), room = sizeof w->info->producer - used;
    (void)snprintf(out + used, room, "%s%s", used > 0 ? " " : "", shown(f->bytes, part));
    out[utf8_check(str_c(out))] = 0;
}

/* First pass, over the outermost message only: operators are judged by what stands behind them in the file. */
static enum err_code read_head(struct walk *w)
{
    struct wire in = wire_of(w->bytes);
    struct wire_field f;
    enum wire_result r;
    enum err_code code = ERR_OK;
    while (code == ERR_OK && (r = wire_next(&in, &f)) != WIRE_END) {
        if (r == WIRE_BAD)
            return bad_wire(w, in.at, ONNX_MODEL);
        if (f.number == MODEL_IR_VERSION && f.type == WIRE_VARINT)
            w->info->ir_version = (int64_t)f.value;
        else if ((f.number == MODEL_PRODUCER_NAME || f.number == MODEL_PRODUCER_VERSION) && f.type == WIRE_BYTES)
            add_producer(w, &f);
        else if (f.number == MODEL_OPSET && f.type == WIRE_BYTES)
            code = add_opset(w, f.bytes);
        else if (f.number == MODEL_FUNCTION && f.type == WIRE_BYTES)
            code = add_function_domain(w, f.bytes);
    }
    if (code == ERR_OK && w->info->ir_version == 0)
        code = err_set(w->err, ERR_INVALID, "not an ONNX model: it has no format version (ir_version)");
    if (code == ERR_OK)
        code = check_version(w, "format (ir_version)", w->info->ir_version, IR_VERSION_MAX);
    if (code == ERR_OK && w->opsets == 0)
        code = err_set(w->err, ERR_INVALID, "the model names no operator set (opset_import)");
    return code;
}

/* ---- the walk ---- */

static struct frame *top(struct walk *w)
{
    return &w->frames[w->depth - 1];
}

static enum err_code enter(struct walk *w, enum onnx_message kind, uint32_t number, struct str bytes)
{
    if (w->depth == DEPTH_MAX)
        return err_set(w->err, ERR_TOO_LARGE, "messages are nested over %d levels deep (byte %llu)", DEPTH_MAX,
                       offset_of(w, bytes.p));
    struct frame *f = &w->frames[w->depth++];
    memset(f, 0, sizeof *f);
    f->kind = kind;
    f->number = number;
    f->wire = wire_of(bytes);
    if (kind == ONNX_TENSOR || kind == ONNX_SPARSE)
        onnx_tensor_init(&f->u.tensor);
    if (kind == ONNX_NODE && ++w->info->nodes > NODES_MAX)
        return err_set(w->err, ERR_TOO_LARGE, "the model has over %d operators", NODES_MAX);
    if (kind == ONNX_TENSOR && ++w->info->initializers > TENSORS_MAX)
        return err_set(w->err, ERR_TOO_LARGE, "the model has over %d constant tensors", TENSORS_MAX);
    return ERR_OK;
}

static void node_field(struct frame *f, const struct wire_field *field)
{
    if (field->number == NODE_NAME)
        f->u.node.name = field->bytes;
    else if (field->number == NODE_OP)
        f->u.node.op = field->bytes;
    else if (field->number == NODE_DOMAIN)
        f->u.node.domain = field->bytes;
    else if (field->number == NODE_INPUT && f->u.node.inputs++ == 0)
        f->u.node.input = field->bytes;
    else if (field->number == NODE_OUTPUT && f->u.node.outputs++ == 0)
        f->u.node.output = field->bytes;
}

static bool packed_is_whole(const struct onnx_field *known, const struct wire_field *field)
{
    uint64_t n;
    size_t size = known->kind == ONNX_FLOATS ? 4 : known->kind == ONNX_DOUBLES ? 8 : 0;
    bool is_packed = (known->kind == ONNX_NUMBERS || known->kind == ONNX_FLOATS || known->kind == ONNX_DOUBLES) &&
                     field->type == WIRE_BYTES;
    return !is_packed || wire_packed_count(field->bytes, size, &n);
}

/* A field that is no message. */
static enum err_code take_plain(struct walk *w, const struct onnx_field *known, const struct wire_field *field)
{
    struct frame *f = top(w);
    bool ok = true;
    if (f->kind == ONNX_TENSOR) {
        ok = onnx_tensor_field(&f->u.tensor, field);
    } else if (f->kind == ONNX_SPARSE) {
        struct wire_field dims = *field;
        dims.number = TENSOR_DIMS;
        ok = onnx_tensor_field(&f->u.tensor, &dims);
    } else if (f->kind == ONNX_NODE) {
        node_field(f, field);
    } else if (f->kind == ONNX_ENTRY) {
        if (field->number == ENTRY_KEY)
            f->u.entry.key = field->bytes;
        else
            f->u.entry.value = field->bytes;
    } else {
        ok = packed_is_whole(known, field);
    }
    return ok ? ERR_OK : bad_wire(w, field->whole.p, f->kind);
}

static enum err_code take_field(struct walk *w, const struct wire_field *field)
{
    struct frame *f = top(w);
    const struct onnx_field *known = onnx_field(f->kind, field->number);
    if (known == NULL)
        return ERR_OK; /* written by a newer format: the engine skips it too */
    if (!onnx_wire_fits(known->kind, field->type))
        return err_set(w->err, ERR_INVALID, "not an ONNX model: field %u of a %s at byte %llu has the wrong type",
                       field->number, onnx_message_name(f->kind), offset_of(w, field->whole.p));
    if (known->kind != ONNX_CHILD)
        return take_plain(w, known, field);
    if (known->is_single) {
        uint64_t bit = UINT64_C(1) << (field->number & 63);
        if (f->singles & bit)
            return err_set(w->err, ERR_INVALID, "a %s at byte %llu has two of what there can be one",
                           onnx_message_name(f->kind), offset_of(w, field->whole.p));
        f->singles |= bit;
    }
    return enter(w, known->child, field->number, field->bytes);
}

/* ---- a message is complete ---- */

static enum err_code end_node(struct walk *w, const struct frame *f)
{
    char op[80], domain[80], name[80];
    if (!is_known_domain(w, f->u.node.domain)) {
        (void)err_set(w->err, ERR_UNSUPPORTED, "operator %s of the unknown domain '%s' (node '%s')",
                      shown(f->u.node.op, op), shown(f->u.node.domain, domain), shown(f->u.node.name, name));
        return err_remedy(w->err, "custom operators are not supported; export the model without them");
    }
    bool is_main = w->depth == 2 && w->frames[1].kind == ONNX_GRAPH && w->frames[1].number == MODEL_GRAPH;
    if (is_main && str_eq_c(f->u.node.op, "ZipMap") && str_eq_c(f->u.node.domain, "ai.onnx.ml") &&
        f->u.node.inputs == 1 && f->u.node.outputs == 1 && w->zips_len < ARRAY_LEN(w->zip_out)) {
        w->zip_out[w->zips_len] = f->u.node.output;
        w->zip_in[w->zips_len++] = f->u.node.input;
    }
    return ERR_OK;
}

static enum err_code end_tensor(struct walk *w, const struct frame *f)
{
    uint64_t bytes;
    enum err_code code = onnx_tensor_check(&f->u.tensor, &w->folder, &bytes, w->err);
    if (code != ERR_OK)
        return code;
    if (f->u.tensor.is_external)
        w->info->external_files++;
    if (__builtin_add_overflow(w->info->initializer_bytes, bytes, &w->info->initializer_bytes))
        return err_set(w->err, ERR_TOO_LARGE, "the model's constants are impossibly large");
    return ERR_OK;
}

static enum err_code end_sparse(struct walk *w, const struct frame *f)
{
    if (f->u.tensor.is_impossible || f->u.tensor.count > SPARSE_MAX)
        return err_set(w->err, ERR_TOO_LARGE, "a sparse tensor stands for over %llu elements",
                       (unsigned long long)SPARSE_MAX);
    return ERR_OK;
}

static enum err_code leave(struct walk *w)
{
    struct frame f = *top(w);
    w->depth--;
    switch (f.kind) {
    case ONNX_NODE:
        return end_node(w, &f);
    case ONNX_TENSOR:
        return end_tensor(w, &f);
    case ONNX_SPARSE:
        return end_sparse(w, &f);
    case ONNX_ENTRY:
        if (top(w)->kind == ONNX_TENSOR && f.number == TENSOR_EXTERNAL)
            onnx_tensor_entry(&top(w)->u.tensor, f.u.entry.key, f.u.entry.value);
        return ERR_OK;
    case ONNX_MODEL:
    case ONNX_GRAPH:
    case ONNX_ATTRIBUTE:
    case ONNX_VALUE_INFO:
    case ONNX_TYPE:
    case ONNX_TYPE_TENSOR:
    case ONNX_TYPE_SEQUENCE:
    case ONNX_TYPE_MAP:
    case ONNX_SHAPE:
    case ONNX_DIM:
    case ONNX_OPSET:
    case ONNX_ANNOTATION:
    case ONNX_FUNCTION:
    case ONNX_TRAINING:
        return ERR_OK;
    }
    return ERR_OK;
}

static enum err_code walk_all(struct walk *w)
{
    enum err_code code = enter(w, ONNX_MODEL, 0, w->bytes);
    while (code == ERR_OK && w->depth > 0) {
        struct frame *f = top(w);
        struct wire_field field;
        switch (wire_next(&f->wire, &field)) {
        case WIRE_FIELD:
            code = take_field(w, &field);
            break;
        case WIRE_END:
            code = leave(w);
            break;
        case WIRE_BAD:
            return bad_wire(w, f->wire.at, f->kind);
        }
    }
    return code;
}

/* ---- inputs and outputs of the main graph, which the walk has found to be well formed ---- */

static enum err_code note_end(void *arg, const struct onnx_end *end, struct err *err)
{
    struct walk *w = arg;
    struct onnx_info *info = w->info;
    uint32_t *len = end->is_input ? &info->inputs_len : &info->outputs_len;
    if (*len == MODEL_TENSORS_MAX)
        return err_set(err, ERR_TOO_LARGE, "the model has over %d %s", MODEL_TENSORS_MAX,
                       end->is_input ? "inputs" : "outputs");
    (end->is_input ? info->input_has_rank : info->output_has_rank)[(*len)++] = end->has_rank;
    for (uint32_t i = 0; !end->is_input && i < w->zips_len; i++) {
        if (!str_eq(end->name, w->zip_out[i]) || info->zipmaps_len == ARRAY_LEN(info->zipmap_outputs))
            continue;
        if (str_copy(info->zipmap_outputs[info->zipmaps_len], TENSOR_NAME_MAX, w->zip_out[i]) &&
            str_copy(info->zipmap_inputs[info->zipmaps_len], TENSOR_NAME_MAX, w->zip_in[i]))
            info->zipmaps_len++;
    }
    return ERR_OK;
}

enum err_code onnx_check(struct str bytes, const char *root, struct onnx_info *out, struct err *err)
{
    if (bytes.n == 0)
        return err_set(err, ERR_INVALID, "the file is empty");
    struct onnx_info info;
    memset(&info, 0, sizeof info);
    struct walk w = {.bytes = bytes, .info = &info, .err = err};
    onnx_folder_init(&w.folder, root);
    enum err_code code = read_head(&w);
    if (code == ERR_OK)
        code = walk_all(&w);
    if (code == ERR_OK)
        code = onnx_each_end(bytes, note_end, &w, err);
    onnx_folder_done(&w.folder);
    if (code == ERR_OK)
        *out = info;
    return code;
}
