/* model_warmup of config.pbtxt. */
#include "model/repo/triton_int.h"

/* TYPE_FP32 is FP32, TYPE_STRING is BYTES. */
static enum err_code data_type(struct reader *r, const struct pbtxt *f, const char **out)
{
    static const struct str prefix = {"TYPE_", 5};
    if (f->kind != PBTXT_WORD || !str_starts(f->value, prefix))
        return reader_fail(r, f, "expected a type like TYPE_FP32");
    struct str name = str_sub(f->value, prefix.n, f->value.n);
    *out = str_eq_c(name, "STRING") ? "BYTES" : arena_cstr(r->a, name);
    return ERR_OK;
}

/* zero_data, random_data, input_data_file: one of them. */
static enum err_code fill(struct reader *r, const struct pbtxt *f, struct triton_warmup_input *out, bool *has_fill)
{
    bool is_said = true;
    if (*has_fill)
        return reader_fail(r, f, "an input has one of zero_data, random_data and input_data_file");
    *has_fill = true;
    if (reader_is(f, "input_data_file")) {
        out->fill = TRITON_FILE;
        return reader_text(r, f, &out->file);
    }
    out->fill = reader_is(f, "zero_data") ? TRITON_ZERO : TRITON_RANDOM;
    if (reader_bool(r, f, &is_said))
        return r->err->code;
    return is_said ? ERR_OK : reader_fail(r, f, "says false: leave it out");
}

static enum err_code input_value(struct reader *r, const struct pbtxt *in, struct triton_warmup_input *out)
{
    bool has_fill = false;
    enum err_code code = reader_message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (reader_is(f, "data_type"))
            code = data_type(r, f, &out->data_type);
        else if (reader_is(f, "dims"))
            code = reader_add_number(r, in, f, 1, &out->dims, &out->dims_len);
        else if (reader_is(f, "zero_data") || reader_is(f, "random_data") || reader_is(f, "input_data_file"))
            code = fill(r, f, out, &has_fill);
        else
            reader_unused(r, "model_warmup.inputs", f);
    }
    if (!code && !has_fill)
        return reader_fail(r, in, "needs zero_data, random_data or input_data_file");
    return code;
}

static enum err_code input(struct reader *r, const struct pbtxt *in, struct triton_warmup_input *out)
{
    bool has_value = false;
    enum err_code code = reader_message(r, in);
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (reader_is(f, "key")) {
            code = reader_text(r, f, &out->name);
        } else if (reader_is(f, "value")) {
            code = has_value ? reader_fail(r, f, "stands here more than once") : input_value(r, f, out);
            has_value = true;
        } else {
            reader_unused(r, "model_warmup.inputs", f);
        }
    }
    if (code)
        return code;
    return out->name && has_value ? ERR_OK : reader_fail(r, in, "an entry needs a key and a value");
}

enum err_code reader_warmup(struct reader *r, const struct pbtxt *top, const struct pbtxt *in)
{
    struct triton_config *c = r->c;
    if (reader_message(r, in))
        return r->err->code;
    if (!c->warmups)
        c->warmups = arena_array(r->a, struct triton_warmup, reader_count(top, in->name));
    struct triton_warmup *w = &c->warmups[c->warmups_len++];
    enum err_code code = ERR_OK;
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (reader_is(f, "name")) {
            code = reader_text(r, f, &w->name);
        } else if (reader_is(f, "batch_size")) {
            code = reader_number(r, f, 0, &w->batch_size);
        } else if (reader_is(f, "count")) {
            code = reader_number(r, f, 0, &w->count);
        } else if (reader_is(f, "inputs")) {
            if (!w->inputs)
                w->inputs = arena_array(r->a, struct triton_warmup_input, reader_count(in, f->name));
            code = input(r, f, &w->inputs[w->inputs_len++]);
        } else {
            reader_unused(r, "model_warmup", f);
        }
    }
    return code;
}
