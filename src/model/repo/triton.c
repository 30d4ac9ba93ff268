#include "model/repo/triton_int.h"

#include <string.h>

#include "sys/fd.h"

enum err_code reader_fail(struct reader *r, const struct pbtxt *f, const char *what)
{
    return err_set(r->err, ERR_INVALID, "%s:%u:%u: %.*s: %s", r->file, f->line, f->column, STR_F(f->name), what);
}

void reader_unused(struct reader *r, const char *in, const struct pbtxt *f)
{
    if (r->c->unused_len == TRITON_UNUSED_MAX)
        r->c->unused_more++;
    else
        r->c->unused[r->c->unused_len++] =
            arena_printf(r->a, "%s%s%.*s (line %u)", in, in[0] ? "." : "", STR_F(f->name), f->line).p;
}

bool reader_is(const struct pbtxt *f, const char *name)
{
    return str_eq_c(f->name, name);
}

/* ---- scalars ---- */

enum err_code reader_text(struct reader *r, const struct pbtxt *f, const char **out)
{
    if (f->kind != PBTXT_STRING)
        return reader_fail(r, f, "expected a string in quotes");
    if (memchr(f->value.p, '\0', f->value.n) || f->value.n > 4000)
        return reader_fail(r, f, "the string has zero bytes or is too long");
    *out = arena_cstr(r->a, f->value);
    return ERR_OK;
}

static bool to_number(struct str s, int64_t *out)
{
    bool is_hex = s.n > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X');
    bool is_octal = !is_hex && s.n > 1 && s.p[0] == '0'; /* as protobuf reads it: 010 is 8 */
    int64_t v = 0;
    if (is_octal) {
        for (size_t i = 1; i < s.n; i++) {
            if (s.p[i] < '0' || s.p[i] > '7' || v > INT64_MAX >> 3)
                return false;
            v = v << 3 | (s.p[i] - '0');
        }
        *out = v;
        return true;
    }
    if (!is_hex)
        return str_to_i64(s, out);
    if (s.n > 17)
        return false;
    for (size_t i = 2; i < s.n; i++) {
        static const char digits[] = "0123456789abcdef";
        char c = s.p[i] >= 'A' && s.p[i] <= 'F' ? (char)(s.p[i] | 0x20) : s.p[i];
        const char *d = c ? strchr(digits, c) : NULL;
        if (!d)
            return false;
        v = v << 4 | (d - digits);
    }
    *out = v;
    return true;
}

/* Digits, but more than any number has. */
static bool is_large(const struct pbtxt *f)
{
    size_t n = 0;
    while (n < f->value.n && f->value.p[n] >= '0' && f->value.p[n] <= '9')
        n++;
    return f->kind == PBTXT_WORD && n == f->value.n && n > 18;
}

enum err_code reader_number(struct reader *r, const struct pbtxt *f, int64_t least, int64_t *out)
{
    int64_t v;
    if (f->kind != PBTXT_WORD || !to_number(f->value, &v))
        return reader_fail(r, f, is_large(f) ? "is too large" : "expected a whole number");
    if (v < least)
        return reader_fail(r, f, least == 0 ? "must not be negative" : "is too small");
    *out = v;
    return ERR_OK;
}

enum err_code reader_bool(struct reader *r, const struct pbtxt *f, bool *out)
{
    static const char *const yes[] = {"true", "True", "t", "1"}, *const no[] = {"false", "False", "f", "0"};
    for (size_t i = 0; f->kind == PBTXT_WORD && i < ARRAY_LEN(yes); i++)
        if (str_eq_c(f->value, yes[i]) || str_eq_c(f->value, no[i])) {
            *out = str_eq_c(f->value, yes[i]);
            return ERR_OK;
        }
    return reader_fail(r, f, "expected true or false");
}

enum err_code reader_message(struct reader *r, const struct pbtxt *f)
{
    return f->kind == PBTXT_MESSAGE ? ERR_OK : reader_fail(r, f, "expected a message in braces");
}

/* How many fields of that name are in the message. */
size_t reader_count(const struct pbtxt *in, struct str name)
{
    size_t n = 0;
    for (const struct pbtxt *f = in->first; f; f = f->next)
        n += str_eq(f->name, name);
    return n;
}

/* Appends to an array that is made at the first value for all fields of the name in the message. */
enum err_code reader_add_number(struct reader *r, const struct pbtxt *in, const struct pbtxt *f, int64_t least,
                                int64_t **list, size_t *len)
{
    if (!*list)
        *list = arena_array(r->a, int64_t, reader_count(in, f->name));
    return reader_number(r, f, least, &(*list)[(*len)++]);
}

/* A field that may stand once in its message: the arrays of what is in it are made for one. */
static enum err_code once(struct reader *r, const struct pbtxt *in, const struct pbtxt *f)
{
    return reader_count(in, f->name) == 1 ? ERR_OK : reader_fail(r, f, "stands here more than once");
}

/* ---- sections ---- */

static enum err_code version_policy(struct reader *r, const struct pbtxt *in)
{
    struct triton_config *c = r->c;
    if (reader_message(r, in))
        return r->err->code;
    for (const struct pbtxt *f = in->first; f; f = f->next) {
        if (!reader_is(f, "latest") && !reader_is(f, "all") && !reader_is(f, "specific")) {
            reader_unused(r, "version_policy", f);
            continue;
        }
        if (reader_message(r, f))
            return r->err->code;
        if (c->has_policy)
            return reader_fail(r, f, "a model has one version policy");
        c->has_policy = true;
        c->policy = reader_is(f, "latest") ? TRITON_LATEST : reader_is(f, "all") ? TRITON_ALL : TRITON_SPECIFIC;
        c->latest = 1;
        for (const struct pbtxt *g = f->first; g; g = g->next) {
            enum err_code code = ERR_OK;
            if (reader_is(g, "num_versions") && reader_is(f, "latest"))
                code = reader_number(r, g, 1, &c->latest);
            else if (reader_is(g, "versions") && reader_is(f, "specific"))
                code = reader_add_number(r, f, g, 1, &c->versions, &c->versions_len);
            else
                reader_unused(r, "version_policy", g);
            if (code)
                return code;
        }
        if (c->policy == TRITON_SPECIFIC && c->versions_len == 0)
            return reader_fail(r, f, "names no version");
    }
    return ERR_OK;
}

/* A field with the value that is what happens here anyway. */
static bool is_word(const struct pbtxt *f, const char *name, const char *value)
{
    return reader_is(f, name) && f->kind == PBTXT_WORD && str_eq_c(f->value, value);
}

static enum err_code queue_policy(struct reader *r, const struct pbtxt *in, const char *section,
                                  struct triton_queue *out)
{
    enum err_code code = reader_message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (reader_is(f, "default_timeout_microseconds"))
            code = reader_number(r, f, 0, &out->default_timeout_us);
        else if (reader_is(f, "max_queue_size"))
            code = reader_number(r, f, 0, &out->max_queue_size);
        else if (is_word(f, "timeout_action", "REJECT") || is_word(f, "timeout_action", "DELAY"))
            out->is_delay = str_eq_c(f->value, "DELAY");
        else if (!is_word(f, "allow_timeout_override", "true"))
            reader_unused(r, section, f);
    }
    return code;
}

/* One entry of the map: { key: 2 value { ... } } */
static enum err_code level_policy(struct reader *r, const struct pbtxt *batching, const struct pbtxt *in)
{
    struct triton_config *c = r->c;
    if (reader_message(r, in))
        return r->err->code;
    if (!c->queues)
        c->queues = arena_array(r->a, struct triton_queue, reader_count(batching, in->name));
    struct triton_queue *q = &c->queues[c->queues_len++];
    enum err_code code = ERR_OK;
    *q = (struct triton_queue){0};
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (reader_is(f, "key"))
            code = reader_number(r, f, 1, &q->level);
        else if (reader_is(f, "value"))
            code = queue_policy(r, f, "dynamic_batching.priority_queue_policy", q);
        else
            reader_unused(r, "dynamic_batching.priority_queue_policy", f);
    }
    return code || q->level > 0 ? code : reader_fail(r, in, "names no level: key is missing");
}

/* Ours has ten levels always. */
static enum err_code priority_levels(struct reader *r, const struct pbtxt *f)
{
    int64_t v = 0;
    if (reader_number(r, f, 0, &v))
        return r->err->code;
    if (v > 10)
        reader_unused(r, "dynamic_batching", f);
    return ERR_OK;
}

static enum err_code dynamic_batching(struct reader *r, const struct pbtxt *in)
{
    struct triton_config *c = r->c;
    enum err_code code = reader_message(r, in);
    c->has_dynamic_batching = true;
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (reader_is(f, "preferred_batch_size"))
            code = reader_add_number(r, in, f, 1, &c->preferred, &c->preferred_len);
        else if (reader_is(f, "max_queue_delay_microseconds"))
            code = reader_number(r, f, 0, &c->max_queue_delay_us);
        else if (reader_is(f, "preserve_ordering"))
            code = reader_bool(r, f, &c->preserve_ordering);
        else if (reader_is(f, "default_priority_level"))
            code = reader_number(r, f, 0, &c->default_priority_level);
        else if (reader_is(f, "default_queue_policy"))
            code =
                once(r, in, f) ? r->err->code : queue_policy(r, f, "dynamic_batching.default_queue_policy", &c->queue);
        else if (reader_is(f, "priority_queue_policy"))
            code = level_policy(r, in, f);
        else if (reader_is(f, "priority_levels"))
            code = priority_levels(r, f);
        else
            reader_unused(r, "dynamic_batching", f);
    }
    return code;
}

static enum err_code instance_group(struct reader *r, const struct pbtxt *in)
{
    int64_t n = 1;
    enum err_code code = reader_message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        bool is_cpu = is_word(f, "kind", "KIND_CPU") || is_word(f, "kind", "KIND_AUTO");
        if (reader_is(f, "count"))
            code = reader_number(r, f, 0, &n);
        else if (!is_cpu && !reader_is(f, "name"))
            reader_unused(r, "instance_group", f);
    }
    if (!code && n > 1000)
        return reader_fail(r, in, "too many instances");
    r->c->instances += n > 0 ? n : 1; /* 0 is what was not said */
    return code;
}

/* One file of labels for all outputs (serve/proto_classes.c): the first that is named. */
static enum err_code label_filename(struct reader *r, const char *section, const struct pbtxt *f)
{
    const char *name;
    if (reader_text(r, f, &name))
        return r->err->code;
    bool is_ours = name[0] != '\0' && strlen(name) < TRITON_LABELS_FILE_MAX && strchr(name, '/') == NULL;
    if (is_ours && !r->c->labels_file)
        r->c->labels_file = name;
    else if (!is_ours || strcmp(name, r->c->labels_file) != 0)
        reader_unused(r, section, f);
    return ERR_OK;
}

/* By name, or by number as protobuf allows too. */
static enum err_code data_type(struct reader *r, const struct pbtxt *f, enum dtype *out)
{
    static const enum dtype numbered[] = {DT_NONE,   DT_BOOL, DT_UINT8, DT_UINT16, DT_UINT32,
                                          DT_UINT64, DT_INT8, DT_INT16, DT_INT32,  DT_INT64,
                                          DT_FP16,   DT_FP32, DT_FP64,  DT_BYTES,  DT_BF16};
    struct str name = f->value;
    int64_t v;
    if (f->kind == PBTXT_WORD && str_to_i64(name, &v) && v >= 0 && v < (int64_t)ARRAY_LEN(numbered)) {
        *out = numbered[v];
        return ERR_OK;
    }
    bool is_type = f->kind == PBTXT_WORD && str_starts(name, STR("TYPE_"));
    if (is_type)
        name = (struct str){name.p + 5, name.n - 5};
    *out = str_eq_c(name, "STRING") ? DT_BYTES : str_eq_c(name, "BYTES") ? DT_NONE : dtype_parse(name);
    if (!is_type || (*out == DT_NONE && !str_eq_c(name, "INVALID")))
        return reader_fail(r, f, "expected a type like TYPE_FP32");
    return ERR_OK;
}

/* Requests have the model's shape here; the declaration is compared with what it makes of it. */
static enum err_code reshape(struct reader *r, const char *section, const struct pbtxt *in, struct triton_tensor *out)
{
    enum err_code code = reader_message(r, in);
    out->has_reshape = true;
    reader_unused(r, section, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next)
        if (reader_is(f, "shape"))
            code = reader_add_number(r, in, f, -1, &out->reshape, &out->reshape_len);
    return code;
}

static enum err_code flag(struct reader *r, const char *section, const struct pbtxt *f, bool *out)
{
    reader_unused(r, section, f);
    return reader_bool(r, f, out);
}

static enum err_code tensor(struct reader *r, const char *section, const struct pbtxt *in, struct triton_tensor *out)
{
    enum err_code code = reader_message(r, in);
    out->line = in->line;
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (reader_is(f, "name"))
            code = reader_text(r, f, &out->name);
        else if (reader_is(f, "data_type"))
            code = data_type(r, f, &out->datatype);
        else if (reader_is(f, "dims"))
            code = reader_add_number(r, in, f, -1, &out->dims, &out->dims_len);
        else if (reader_is(f, "label_filename"))
            code = label_filename(r, section, f);
        else if (reader_is(f, "reshape"))
            code = once(r, in, f) ? r->err->code : reshape(r, section, f, out);
        else if (reader_is(f, "is_shape_tensor") || reader_is(f, "allow_ragged_batch"))
            code = flag(r, section, f, reader_is(f, "is_shape_tensor") ? &out->is_shape_tensor : &out->is_ragged);
        else if (!is_word(f, "format", "FORMAT_NONE"))
            reader_unused(r, section, f);
    }
    return code;
}

/* {key: "a" value: "b"}, where the value may be wrapped: value: {string_value: "b"}. */
static enum err_code pair(struct reader *r, const char *section, const struct pbtxt *in, struct triton_pair *out)
{
    enum err_code code = reader_message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (reader_is(f, "key"))
            code = reader_text(r, f, &out->key);
        else if (reader_is(f, "value") && f->kind == PBTXT_MESSAGE && f->first && reader_is(f->first, "string_value"))
            code = reader_text(r, f->first, &out->value);
        else if (reader_is(f, "value"))
            code = reader_text(r, f, &out->value);
        else
            reader_unused(r, section, f);
    }
    return code ? code : out->key ? ERR_OK : reader_fail(r, in, "an entry needs a key");
}

enum err_code reader_add_pair(struct reader *r, const struct pbtxt *in, const struct pbtxt *f,
                              struct triton_pair **list, size_t *len)
{
    if (!*list)
        *list = arena_array(r->a, struct triton_pair, reader_count(in, f->name));
    struct triton_pair *p = &(*list)[(*len)++];
    p->value = "";
    p->line = f->line;
    return pair(r, arena_cstr(r->a, f->name), f, p);
}

/* Parameters of Triton's own backends that mean a setting of ours. */
static enum err_code parameter(struct reader *r, const struct pbtxt *top, const struct pbtxt *f)
{
    struct triton_config *c = r->c;
    if (reader_add_pair(r, top, f, &c->parameters, &c->parameters_len))
        return r->err->code;
    const struct triton_pair *p = &c->parameters[c->parameters_len - 1];
    int64_t v;
    if (strncmp(p->key, "quern.", 6) == 0) { /* what GET /v2/models/NAME/config tells beside the configuration */
        c->parameters_len--;
        return ERR_OK;
    }
    if (strcmp(p->key, "intra_op_thread_count") != 0 && strcmp(p->key, "tflite_num_threads") != 0)
        return ERR_OK;
    c->parameters_len--;
    if (!str_to_i64(str_c(p->value), &v) || v < 0 || v > 256)
        return reader_fail(r, f, "expected a number of threads");
    c->threads = v;
    return ERR_OK;
}

/* Names that Triton knows for what we run. */
static enum err_code backend(struct reader *r, const struct pbtxt *f)
{
    static const struct {
        const char *theirs, *ours;
    } names[] = {{"onnxruntime_onnx", "onnx"}, {"onnxruntime", "onnx"}, {"onnx", "onnx"},
                 {"tflite", "tflite"},         {"litert", "tflite"},    {"armnn_tflite", "tflite"},
                 {"identity", "identity"},     {"ensemble", "ensemble"}};
    const char *name = "";
    if (reader_text(r, f, &name))
        return r->err->code;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i].theirs) == 0) {
            if (r->c->backend && strcmp(r->c->backend, names[i].ours) != 0)
                return reader_fail(r, f, "platform and backend contradict each other");
            r->c->backend = names[i].ours;
            return ERR_OK;
        }
    if (!name[0])
        return ERR_OK;
    (void)reader_fail(r, f, "no backend of ours runs this kind of model");
    return err_remedy(r->err, "export the model to ONNX, with platform: \"onnxruntime_onnx\"");
}

static enum err_code cache(struct reader *r, const struct pbtxt *in)
{
    enum err_code code = reader_message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next)
        if (reader_is(f, "enable"))
            code = reader_bool(r, f, &r->c->response_cache);
        else
            reader_unused(r, "response_cache", f);
    return code;
}

static enum err_code add_tensor(struct reader *r, const struct pbtxt *top, const struct pbtxt *f)
{
    struct triton_config *c = r->c;
    bool is_input = reader_is(f, "input");
    struct triton_tensor **list = is_input ? &c->inputs : &c->outputs;
    size_t *len = is_input ? &c->inputs_len : &c->outputs_len;
    if (!*list)
        *list = arena_array(r->a, struct triton_tensor, reader_count(top, f->name));
    return tensor(r, is_input ? "input" : "output", f, &(*list)[(*len)++]);
}

/* Fields that may be repeated. */
static bool repeated_field(struct reader *r, const struct pbtxt *top, const struct pbtxt *f, enum err_code *code)
{
    if (reader_is(f, "input") || reader_is(f, "output"))
        *code = add_tensor(r, top, f);
    else if (reader_is(f, "instance_group"))
        *code = instance_group(r, f);
    else if (reader_is(f, "parameters"))
        *code = parameter(r, top, f);
    else if (reader_is(f, "model_warmup"))
        *code = reader_warmup(r, top, f);
    else
        return false;
    return true;
}

static enum err_code top_field(struct reader *r, const struct pbtxt *top, const struct pbtxt *f)
{
    static const char *const singles[] = {"name",           "platform",         "backend",
                                          "max_batch_size", "version_policy",   "default_model_filename",
                                          "response_cache", "dynamic_batching", "ensemble_scheduling"};
    struct triton_config *c = r->c;
    enum err_code code;
    if (repeated_field(r, top, f, &code))
        return code;
    size_t n = 0;
    while (n < ARRAY_LEN(singles) && !reader_is(f, singles[n]))
        n++;
    if (n == ARRAY_LEN(singles)) {
        reader_unused(r, "", f);
        return ERR_OK;
    }
    if (once(r, top, f))
        return r->err->code;
    if (reader_is(f, "name"))
        return reader_text(r, f, &c->name);
    if (reader_is(f, "default_model_filename"))
        return reader_text(r, f, &c->default_model_filename);
    if (reader_is(f, "max_batch_size"))
        return reader_number(r, f, 0, &c->max_batch_size);
    if (reader_is(f, "version_policy"))
        return version_policy(r, f);
    if (reader_is(f, "dynamic_batching"))
        return dynamic_batching(r, f);
    if (reader_is(f, "ensemble_scheduling"))
        return reader_ensemble(r, f);
    return reader_is(f, "response_cache") ? cache(r, f) : backend(r, f);
}

enum err_code triton_parse(const char *file, struct str content, struct arena *a, struct triton_config *out,
                           struct err *err)
{
    struct pbtxt top;
    struct reader r = {.file = file, .a = a, .c = out, .err = err};
    *out = (struct triton_config){0};
    if (pbtxt_parse(file, content, a, &top, err))
        return err->code;
    for (const struct pbtxt *f = top.first; f; f = f->next)
        if (top_field(&r, &top, f))
            return err->code;
    const char *model_file = out->default_model_filename;
    if (model_file && !model_file[0])
        out->default_model_filename = model_file =
            NULL; /* what Triton's own configurations say when nothing was said */
    if (model_file && (strchr(model_file, '/') || model_file[0] == '.'))
        return err_set(err, ERR_INVALID, "%s: default_model_filename: a plain name of a file in the version's folder",
                       file);
    return ERR_OK;
}

enum err_code triton_read(const char *file, struct arena *a, struct triton_config *out, struct err *err)
{
    struct str content;
    if (file_read(file, PBTXT_BYTES_MAX, a, &content, err))
        return err->code;
    return triton_parse(file, content, a, out, err);
}
