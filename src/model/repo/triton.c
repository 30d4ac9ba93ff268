#include "model/repo/triton.h"

#include <string.h>

#include "model/repo/pbtxt.h"
#include "sys/fd.h"

struct reader {
    const char *file;
    struct arena *a;
    struct triton_config *c;
    struct err *err;
};

static enum err_code fail(struct reader *r, const struct pbtxt *f, const char *what)
{
    return err_set(r->err, ERR_INVALID, "%s:%u:%u: %.*s: %s", r->file, f->line, f->column, STR_F(f->name), what);
}

static void unused(struct reader *r, const char *in, const struct pbtxt *f)
{
    if (r->c->unused_len < TRITON_UNUSED_MAX)
        r->c->unused[r->c->unused_len++] =
            arena_printf(r->a, "%s%s%.*s (line %u)", in, in[0] ? "." : "", STR_F(f->name), f->line).p;
}

static bool is(const struct pbtxt *f, const char *name)
{
    return str_eq_c(f->name, name);
}

/* ---- scalars ---- */

static enum err_code text(struct reader *r, const struct pbtxt *f, const char **out)
{
    if (f->kind != PBTXT_STRING)
        return fail(r, f, "expected a string in quotes");
    if (memchr(f->value.p, '\0', f->value.n) || f->value.n > 4000)
        return fail(r, f, "the string has zero bytes or is too long");
    *out = arena_cstr(r->a, f->value);
    return ERR_OK;
}

static bool to_number(struct str s, int64_t *out)
{
    bool is_hex = s.n > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X');
    if (!is_hex)
        return str_to_i64(s, out);
    int64_t v = 0;
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

static enum err_code number(struct reader *r, const struct pbtxt *f, int64_t least, int64_t *out)
{
    int64_t v;
    if (f->kind != PBTXT_WORD || !to_number(f->value, &v))
        return fail(r, f, "expected a whole number");
    if (v < least)
        return fail(r, f, least == 0 ? "must not be negative" : "is too small");
    *out = v;
    return ERR_OK;
}

static enum err_code boolean(struct reader *r, const struct pbtxt *f, bool *out)
{
    static const char *const yes[] = {"true", "True", "t", "1"}, *const no[] = {"false", "False", "f", "0"};
    for (size_t i = 0; f->kind == PBTXT_WORD && i < ARRAY_LEN(yes); i++)
        if (str_eq_c(f->value, yes[i]) || str_eq_c(f->value, no[i])) {
            *out = str_eq_c(f->value, yes[i]);
            return ERR_OK;
        }
    return fail(r, f, "expected true or false");
}

static enum err_code message(struct reader *r, const struct pbtxt *f)
{
    return f->kind == PBTXT_MESSAGE ? ERR_OK : fail(r, f, "expected a message in braces");
}

/* How many fields of that name are in the message. */
static size_t count(const struct pbtxt *in, struct str name)
{
    size_t n = 0;
    for (const struct pbtxt *f = in->first; f; f = f->next)
        n += str_eq(f->name, name);
    return n;
}

/* Appends to an array that is made at the first value for all fields of the name in the message. */
static enum err_code add_number(struct reader *r, const struct pbtxt *in, const struct pbtxt *f, int64_t least,
                                int64_t **list, size_t *len)
{
    if (!*list)
        *list = arena_array(r->a, int64_t, count(in, f->name));
    return number(r, f, least, &(*list)[(*len)++]);
}

/* ---- sections ---- */

static enum err_code version_policy(struct reader *r, const struct pbtxt *in)
{
    struct triton_config *c = r->c;
    if (message(r, in))
        return r->err->code;
    for (const struct pbtxt *f = in->first; f; f = f->next) {
        if (!is(f, "latest") && !is(f, "all") && !is(f, "specific")) {
            unused(r, "version_policy", f);
            continue;
        }
        if (message(r, f))
            return r->err->code;
        if (c->has_policy)
            return fail(r, f, "a model has one version policy");
        c->has_policy = true;
        c->policy = is(f, "latest") ? TRITON_LATEST : is(f, "all") ? TRITON_ALL : TRITON_SPECIFIC;
        c->latest = 1;
        for (const struct pbtxt *g = f->first; g; g = g->next) {
            enum err_code code = ERR_OK;
            if (is(g, "num_versions") && is(f, "latest"))
                code = number(r, g, 1, &c->latest);
            else if (is(g, "versions") && is(f, "specific"))
                code = add_number(r, f, g, 1, &c->versions, &c->versions_len);
            else
                unused(r, "version_policy", g);
            if (code)
                return code;
        }
    }
    return ERR_OK;
}

static enum err_code queue_policy(struct reader *r, const struct pbtxt *in)
{
    enum err_code code = message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (is(f, "default_timeout_microseconds"))
            code = number(r, f, 0, &r->c->default_timeout_us);
        else if (is(f, "max_queue_size"))
            code = number(r, f, 0, &r->c->max_queue_size);
        else
            unused(r, "dynamic_batching.default_queue_policy", f);
    }
    return code;
}

static enum err_code dynamic_batching(struct reader *r, const struct pbtxt *in)
{
    struct triton_config *c = r->c;
    enum err_code code = message(r, in);
    c->has_dynamic_batching = true;
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (is(f, "preferred_batch_size"))
            code = add_number(r, in, f, 1, &c->preferred, &c->preferred_len);
        else if (is(f, "max_queue_delay_microseconds"))
            code = number(r, f, 0, &c->max_queue_delay_us);
        else if (is(f, "preserve_ordering"))
            code = boolean(r, f, &c->preserve_ordering);
        else if (is(f, "default_priority_level"))
            code = number(r, f, 0, &c->default_priority_level);
        else if (is(f, "default_queue_policy"))
            code = queue_policy(r, f);
        else if (!is(f, "priority_levels")) /* ours has all levels always */
            unused(r, "dynamic_batching", f);
    }
    return code;
}

static enum err_code instance_group(struct reader *r, const struct pbtxt *in)
{
    int64_t n = 1;
    enum err_code code = message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        bool is_cpu = is(f, "kind") && (str_eq_c(f->value, "KIND_CPU") || str_eq_c(f->value, "KIND_AUTO"));
        if (is(f, "count"))
            code = number(r, f, 1, &n);
        else if (!is_cpu && !is(f, "name"))
            unused(r, "instance_group", f);
    }
    if (!code && n > 1000)
        return fail(r, in, "too many instances");
    r->c->instances += n;
    return code;
}

static enum err_code tensor(struct reader *r, const char *section, const struct pbtxt *in, struct triton_tensor *out)
{
    enum err_code code = message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (is(f, "name"))
            code = text(r, f, &out->name);
        else if (is(f, "data_type"))
            out->data_type = arena_cstr(r->a, f->value);
        else if (is(f, "dims"))
            code = add_number(r, in, f, -1, &out->dims, &out->dims_len);
        else if (is(f, "label_filename"))
            code = text(r, f, &out->label_filename);
        else if (!(is(f, "format") && str_eq_c(f->value, "FORMAT_NONE")))
            unused(r, section, f);
    }
    return code;
}

/* {key: "a" value: "b"}, where the value may be wrapped: value: {string_value: "b"}. */
static enum err_code pair(struct reader *r, const struct pbtxt *in, struct triton_pair *out)
{
    enum err_code code = message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (is(f, "key"))
            code = text(r, f, &out->key);
        else if (is(f, "value") && f->kind == PBTXT_MESSAGE && f->first && is(f->first, "string_value"))
            code = text(r, f->first, &out->value);
        else if (is(f, "value"))
            code = text(r, f, &out->value);
    }
    return code ? code : out->key ? ERR_OK : fail(r, in, "an entry needs a key");
}

static enum err_code add_pair(struct reader *r, const struct pbtxt *in, const struct pbtxt *f,
                              struct triton_pair **list, size_t *len)
{
    if (!*list)
        *list = arena_array(r->a, struct triton_pair, count(in, f->name));
    struct triton_pair *p = &(*list)[(*len)++];
    p->value = "";
    return pair(r, f, p);
}

/* Parameters of Triton's own backends that mean a setting of ours. */
static enum err_code parameter(struct reader *r, const struct pbtxt *top, const struct pbtxt *f)
{
    struct triton_config *c = r->c;
    if (add_pair(r, top, f, &c->parameters, &c->parameters_len))
        return r->err->code;
    const struct triton_pair *p = &c->parameters[c->parameters_len - 1];
    int64_t v;
    if (strcmp(p->key, "intra_op_thread_count") != 0 && strcmp(p->key, "tflite_num_threads") != 0)
        return ERR_OK;
    c->parameters_len--;
    if (!str_to_i64(str_c(p->value), &v) || v < 0 || v > 256)
        return fail(r, f, "expected a number of threads");
    c->threads = v;
    return ERR_OK;
}

static enum err_code ensemble_step(struct reader *r, const struct pbtxt *in, struct triton_step *s)
{
    enum err_code code = message(r, in);
    s->version = -1;
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (is(f, "model_name"))
            code = text(r, f, &s->model);
        else if (is(f, "model_version"))
            code = number(r, f, -1, &s->version);
        else if (is(f, "input_map"))
            code = add_pair(r, in, f, &s->inputs, &s->inputs_len);
        else if (is(f, "output_map"))
            code = add_pair(r, in, f, &s->outputs, &s->outputs_len);
        else
            unused(r, "ensemble_scheduling.step", f);
    }
    return code ? code : s->model ? ERR_OK : fail(r, in, "a step needs a model_name");
}

static enum err_code ensemble(struct reader *r, const struct pbtxt *in)
{
    enum err_code code = message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (!is(f, "step")) {
            unused(r, "ensemble_scheduling", f);
            continue;
        }
        if (!r->c->steps)
            r->c->steps = arena_array(r->a, struct triton_step, count(in, f->name));
        code = ensemble_step(r, f, &r->c->steps[r->c->steps_len++]);
    }
    return code;
}

/* Names that Triton knows for what we run. */
static enum err_code backend(struct reader *r, const struct pbtxt *f)
{
    static const struct {
        const char *theirs, *ours;
    } names[] = {{"onnxruntime_onnx", "onnx"}, {"onnxruntime", "onnx"}, {"onnx", "onnx"},
                 {"tflite", "tflite"},         {"litert", "tflite"},    {"armnn_tflite", "tflite"},
                 {"identity", "identity"},     {"ensemble", "ensemble"}};
    const char *name = NULL;
    if (text(r, f, &name))
        return r->err->code;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i].theirs) == 0) {
            r->c->backend = names[i].ours;
            return ERR_OK;
        }
    if (!name[0])
        return ERR_OK;
    (void)fail(r, f, "no backend of ours runs this kind of model");
    return err_remedy(r->err, "export the model to ONNX, with platform: \"onnxruntime_onnx\"");
}

static enum err_code cache(struct reader *r, const struct pbtxt *in)
{
    enum err_code code = message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next)
        if (is(f, "enable"))
            code = boolean(r, f, &r->c->response_cache);
    return code;
}

static enum err_code add_tensor(struct reader *r, const struct pbtxt *top, const struct pbtxt *f)
{
    struct triton_config *c = r->c;
    bool is_input = is(f, "input");
    struct triton_tensor **list = is_input ? &c->inputs : &c->outputs;
    size_t *len = is_input ? &c->inputs_len : &c->outputs_len;
    if (!*list)
        *list = arena_array(r->a, struct triton_tensor, count(top, f->name));
    return tensor(r, is_input ? "input" : "output", f, &(*list)[(*len)++]);
}

static enum err_code top_field(struct reader *r, const struct pbtxt *top, const struct pbtxt *f)
{
    struct triton_config *c = r->c;
    if (is(f, "name"))
        return text(r, f, &c->name);
    if (is(f, "platform") || is(f, "backend"))
        return backend(r, f);
    if (is(f, "default_model_filename"))
        return text(r, f, &c->default_model_filename);
    if (is(f, "max_batch_size"))
        return number(r, f, 0, &c->max_batch_size);
    if (is(f, "input") || is(f, "output"))
        return add_tensor(r, top, f);
    if (is(f, "version_policy"))
        return version_policy(r, f);
    if (is(f, "dynamic_batching"))
        return dynamic_batching(r, f);
    if (is(f, "instance_group"))
        return instance_group(r, f);
    if (is(f, "parameters"))
        return parameter(r, top, f);
    if (is(f, "ensemble_scheduling"))
        return ensemble(r, f);
    if (is(f, "response_cache"))
        return cache(r, f);
    unused(r, "", f);
    return ERR_OK;
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
