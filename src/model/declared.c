#include "model/declared.h"

#include <stdio.h>
#include <string.h>

/* ---- to JSON and back ---- */

static void write_dims(const struct triton_tensor *t, struct json_writer *w)
{
    const int64_t *dims = t->has_reshape ? t->reshape : t->dims;
    size_t len = t->has_reshape ? t->reshape_len : t->dims_len;
    if (t->is_ragged || (len == 0 && !t->has_reshape))
        return;
    jw_key(w, "dims");
    jw_array(w);
    for (size_t i = 0; i < len; i++)
        jw_i64(w, dims[i]);
    jw_array_end(w);
}

static void write_side(const char *key, const struct triton_tensor *t, size_t len, struct json_writer *w)
{
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; i < len; i++) {
        jw_object(w);
        jw_kv_c(w, "name", t[i].name ? t[i].name : "");
        jw_kv_u64(w, "line", t[i].line);
        jw_kv_u64(w, "type", t[i].datatype);
        if (t[i].is_shape_tensor)
            jw_kv_bool(w, "has_no_rows", true);
        write_dims(&t[i], w);
        jw_object_end(w);
    }
    jw_array_end(w);
}

bool declared_write(const char *file, const struct triton_config *c, struct buf *out)
{
    struct json_writer w;
    if (c->inputs_len + c->outputs_len == 0)
        return false;
    jw_init(&w, out);
    jw_object(&w);
    jw_kv_c(&w, "file", file);
    jw_kv_i64(&w, "max_batch_size", c->max_batch_size);
    write_side("inputs", c->inputs, c->inputs_len, &w);
    write_side("outputs", c->outputs, c->outputs_len, &w);
    jw_object_end(&w);
    return !out->failed && out->len <= DECLARED_TEXT_MAX;
}

static void read_dims(struct json_reader *r, struct declared_tensor *t)
{
    int64_t v;
    t->ndim = 0;
    json_array(r);
    while (json_item(r))
        if (json_i64(r, &v)) {
            if (t->ndim < TENSOR_DIMS_MAX)
                t->dims[t->ndim] = v;
            t->ndim++; /* more than we can serve is a contradiction too */
        }
}

static void read_tensor(struct json_reader *r, struct arena *a, struct declared_tensor *t)
{
    struct str key, s = STR("");
    uint64_t v = 0;
    *t = (struct declared_tensor){.name = "", .ndim = -1};
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "name") && json_string(r, a, &s))
            t->name = arena_cstr(a, s);
        else if (str_eq_c(key, "line") && json_u64(r, &v))
            t->line = (uint32_t)v;
        else if (str_eq_c(key, "type") && json_u64(r, &v))
            t->datatype = v < DT_MAX_ ? (enum dtype)v : DT_NONE;
        else if (str_eq_c(key, "has_no_rows"))
            json_bool(r, &t->has_no_rows);
        else if (str_eq_c(key, "dims"))
            read_dims(r, t);
        else
            json_skip(r, NULL);
    }
}

static struct declared_tensor *read_side(struct json_reader *r, struct arena *a, size_t *len)
{
    struct declared_tensor *list = arena_array(a, struct declared_tensor, MODEL_TENSORS_MAX);
    struct declared_tensor one;
    *len = 0;
    json_array(r);
    while (json_item(r)) {
        read_tensor(r, a, &one);
        if (*len < MODEL_TENSORS_MAX) /* no model has more: one of the first is not the model's */
            list[(*len)++] = one;
    }
    return list;
}

void declared_read(struct json_reader *r, struct arena *a, struct declared *out)
{
    struct str key, s = STR("");
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "file") && json_string(r, a, &s))
            out->file = arena_cstr(a, s);
        else if (str_eq_c(key, "max_batch_size"))
            json_i64(r, &out->max_batch_size);
        else if (str_eq_c(key, "inputs"))
            out->inputs = read_side(r, a, &out->inputs_len);
        else if (str_eq_c(key, "outputs"))
            out->outputs = read_side(r, a, &out->outputs_len);
        else
            json_skip(r, NULL);
    }
}

/* ---- the comparison ---- */

struct side {
    const char *word; /* "input" */
    const struct declared_tensor *declared;
    size_t declared_len;
    const struct tensor_spec *specs;
    uint32_t specs_len;
};

/* As config.pbtxt writes it. */
static const char *type_name(uint32_t t)
{
    return t == DT_BYTES ? "STRING" : dtype_name((enum dtype)t);
}

static enum err_code unknown(const struct declared *d, const struct side *s, const struct declared_tensor *t,
                             struct err *err)
{
    char names[160];
    size_t at = 0;
    names[0] = '\0';
    for (uint32_t i = 0; i < s->specs_len && at + 1 < sizeof names; i++) {
        int n = snprintf(names + at, sizeof names - at, "%s'%s'", i ? ", " : "", s->specs[i].name);
        at += n > 0 ? (size_t)n : 0;
    }
    return err_set(err, ERR_INVALID, "%s:%u: the model has no %s '%.60s'; it has %s", d->file, t->line, s->word,
                   t->name, names[0] ? names : "none");
}

/* The whole shape that is declared; false: it cannot be one of ours. */
static bool whole_shape(const struct declared *d, const struct declared_tensor *t, int64_t out[TENSOR_DIMS_MAX],
                        int *ndim)
{
    int rows = d->max_batch_size > 0 && !t->has_no_rows;
    if (t->ndim + rows > TENSOR_DIMS_MAX)
        return false;
    out[0] = -1;
    memcpy(out + rows, t->dims, (size_t)t->ndim * sizeof out[0]);
    *ndim = t->ndim + rows;
    return true;
}

static bool do_dims_fit(const int64_t *a, const int64_t *b, int ndim)
{
    for (int i = 0; i < ndim; i++)
        if (a[i] != -1 && b[i] != -1 && a[i] != b[i])
            return false;
    return true;
}

static enum err_code check_dims(const struct declared *d, const struct side *s, const struct declared_tensor *t,
                                const struct tensor_spec *spec, struct err *err)
{
    int64_t whole[TENSOR_DIMS_MAX] = {0};
    int ndim = 0;
    char said[128], has[128];
    bool has_rows = d->max_batch_size > 0 && !t->has_no_rows;
    if (t->ndim < 0 || spec->ndim < 0)
        return ERR_OK;
    tensor_dims_format(spec->dims, spec->ndim, has, sizeof has);
    if (has_rows && (spec->ndim == 0 || spec->dims[0] != -1)) {
        err_set(err, ERR_INVALID,
                "%s:%u: %s '%.60s': with max_batch_size %lld its first dimension must be free, the model has %s",
                d->file, t->line, s->word, t->name, (long long)d->max_batch_size, has);
        return err_remedy(err, "say max_batch_size: 0, and in dims the whole shape");
    }
    if (whole_shape(d, t, whole, &ndim) && ndim == spec->ndim && do_dims_fit(whole, spec->dims, ndim))
        return ERR_OK;
    if (ndim == 0 && t->ndim > 0)
        return err_set(err, ERR_INVALID, "%s:%u: %s '%.60s': %d dims, the model has %s", d->file, t->line, s->word,
                       t->name, t->ndim, has);
    tensor_dims_format(whole, ndim, said, sizeof said);
    err_set(err, ERR_INVALID, "%s:%u: %s '%.60s': the shape is %s%s, the model has %s", d->file, t->line, s->word,
            t->name, said, has_rows ? " (rows, and dims)" : " (max_batch_size 0)", has);
    return has_rows || ndim >= spec->ndim
               ? err->code
               : err_remedy(err, "with max_batch_size 0 dims are the whole shape, the dimension of the rows too");
}

static enum err_code check_side(const struct declared *d, const struct side *s, struct err *err)
{
    for (size_t i = 0; i < s->declared_len; i++) {
        const struct declared_tensor *t = &s->declared[i];
        const struct tensor_spec *spec = NULL;
        for (uint32_t k = 0; k < s->specs_len && !spec; k++)
            if (strcmp(s->specs[k].name, t->name) == 0)
                spec = &s->specs[k];
        if (!spec)
            return unknown(d, s, t, err);
        if (t->datatype != DT_NONE && spec->dtype != DT_NONE && t->datatype != (enum dtype)spec->dtype)
            return err_set(err, ERR_INVALID, "%s:%u: %s '%.60s': data_type is TYPE_%s, the model has TYPE_%s", d->file,
                           t->line, s->word, t->name, type_name(t->datatype), type_name(spec->dtype));
        if (check_dims(d, s, t, spec, err))
            return err->code;
    }
    return ERR_OK;
}

enum err_code declared_check(const struct declared *d, const struct model_desc *m, struct err *err)
{
    struct side in = {"input", d->inputs, d->inputs_len, m->inputs, m->inputs_len};
    struct side out = {"output", d->outputs, d->outputs_len, m->outputs, m->outputs_len};
    if (!d->file)
        return ERR_OK;
    return check_side(d, &in, err) ? err->code : check_side(d, &out, err);
}
