#include "model/warmup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "model/sample.h"
#include "sys/fd.h"
#include "sys/shm.h"

#define ALIGN 64u

/* ---- reading ---- */

static const char *text_of(struct json_reader *r, struct arena *a)
{
    struct str s = STR("");
    json_string(r, a, &s);
    return s.n ? arena_cstr(a, s) : NULL;
}

static void read_dims(struct json_reader *r, struct warmup_input *in)
{
    int64_t v;
    in->ndim = 0;
    json_array(r);
    while (json_item(r)) {
        if (!json_i64(r, &v))
            return;
        if (in->ndim == TENSOR_DIMS_MAX) {
            json_fail(r, ERR_INVALID, "more than %d dimensions", TENSOR_DIMS_MAX);
            return;
        }
        in->dims[in->ndim++] = v;
    }
}

static void read_input(struct json_reader *r, struct arena *a, struct warmup_input *in)
{
    struct str key, s = STR("");
    *in = (struct warmup_input){.name = "", .ndim = -1};
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "name"))
            in->name = text_of(r, a);
        else if (str_eq_c(key, "data") && json_string(r, a, &s))
            in->fill = str_eq_c(s, "zero") ? WARMUP_ZERO : str_eq_c(s, "file") ? WARMUP_FILE : WARMUP_RANDOM;
        else if (str_eq_c(key, "file"))
            in->file = text_of(r, a);
        else if (str_eq_c(key, "datatype") && json_string(r, a, &s))
            in->datatype = dtype_parse(s);
        else if (str_eq_c(key, "dims"))
            read_dims(r, in);
        else
            json_skip(r, NULL);
    }
    if (!in->name)
        in->name = "";
}

static void read_sample(struct json_reader *r, struct arena *a, struct warmup_sample *s)
{
    struct str key;
    *s = (struct warmup_sample){.name = "", .count = 1};
    s->inputs = arena_array(a, struct warmup_input, WARMUP_INPUTS_MAX);
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "name")) {
            const char *name = text_of(r, a);
            s->name = name ? name : "";
        } else if (str_eq_c(key, "batch_size")) {
            json_i64(r, &s->batch_size);
        } else if (str_eq_c(key, "count")) {
            json_i64(r, &s->count);
        } else if (str_eq_c(key, "inputs")) {
            json_array(r);
            while (json_item(r)) {
                if (s->inputs_len < WARMUP_INPUTS_MAX)
                    read_input(r, a, &s->inputs[s->inputs_len++]);
                else
                    json_fail(r, ERR_INVALID, "more than %d inputs", WARMUP_INPUTS_MAX);
            }
        } else {
            json_skip(r, NULL);
        }
    }
}

void warmup_read(struct json_reader *r, struct arena *a, struct warmup *out)
{
    struct str key;
    *out = (struct warmup){.samples = arena_array(a, struct warmup_sample, WARMUP_SAMPLES_MAX)};
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "folder")) {
            out->folder = text_of(r, a);
        } else if (str_eq_c(key, "samples")) {
            json_array(r);
            while (json_item(r)) {
                if (out->samples_len < WARMUP_SAMPLES_MAX)
                    read_sample(r, a, &out->samples[out->samples_len++]);
                else
                    json_fail(r, ERR_INVALID, "more than %d samples", WARMUP_SAMPLES_MAX);
            }
        } else {
            json_skip(r, NULL);
        }
    }
}

/* ---- making ---- */

/* One sample while it is made. */
struct maker {
    const struct warmup *w;
    const struct warmup_sample *sample; /* NULL: all made up */
    const struct model_desc *d;
    uint32_t rows; /* of made-up inputs */
    uint64_t seed;
    const struct warmup_input *of[MODEL_TENSORS_MAX]; /* what the sample says of each input; NULL: nothing */
    size_t heap[MODEL_TENSORS_MAX];                   /* bytes of strings */
    struct warmup_tensors *out;
    struct err *err;
};

static enum err_code fail(struct maker *m, uint32_t k, const char *what)
{
    return err_set(m->err, ERR_INVALID, "warm-up '%.60s': input '%.60s': %s", m->sample ? m->sample->name : "made up",
                   m->d->inputs[k].name, what);
}

static enum err_code find_inputs(struct maker *m)
{
    for (size_t i = 0; m->sample && i < m->sample->inputs_len; i++) {
        const struct warmup_input *in = &m->sample->inputs[i];
        int k = model_desc_input(m->d, str_c(in->name));
        if (k >= 0) {
            m->of[k] = in;
            continue;
        }
        char names[200] = "";
        size_t at = 0;
        for (uint32_t n = 0; n < m->d->inputs_len && at < sizeof names; n++)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", n ? ", " : "", m->d->inputs[n].name);
        err_set(m->err, ERR_INVALID, "warm-up '%.60s': the model has no input '%.60s'", m->sample->name, in->name);
        return err_remedy(m->err, "its inputs are %s", names);
    }
    return ERR_OK;
}

/* The model's own shape, where it says enough. */
static enum err_code shape_of_model(struct maker *m, uint32_t k, struct backend_tensor *t)
{
    const struct tensor_spec *s = &m->d->inputs[k];
    int64_t batch = m->sample ? m->sample->batch_size : m->rows;
    t->ndim = s->ndim;
    for (int i = 0; i < s->ndim; i++) {
        bool is_rows = i == 0 && s->dims[0] < 0;
        t->dims[i] = !is_rows ? s->dims[i] : batch > 0 ? batch : 1;
        if (t->dims[i] >= 0)
            continue;
        if (m->sample) {
            (void)fail(m, k, "its shape is not fixed");
            return err_remedy(m->err, "give dims");
        }
        t->dims[i] = 8; /* as good as any; a model that refuses it is not compared */
    }
    if (m->sample && batch > 1 && (s->ndim == 0 || s->dims[0] >= 0))
        return fail(m, k, "the model takes no batches, but batch_size is more than 1");
    return ERR_OK;
}

static enum err_code shape_of_sample(struct maker *m, uint32_t k, struct backend_tensor *t)
{
    const struct tensor_spec *s = &m->d->inputs[k];
    const struct warmup_input *in = m->of[k];
    char want[128], got[128], text[320];
    if (m->sample->batch_size > 0)
        t->dims[t->ndim++] = m->sample->batch_size;
    bool fits = t->ndim + in->ndim == s->ndim;
    for (int i = 0; i < in->ndim && t->ndim < TENSOR_DIMS_MAX; i++)
        t->dims[t->ndim++] = in->dims[i];
    for (int i = 0; fits && i < s->ndim; i++)
        fits = t->dims[i] >= 0 && (s->dims[i] < 0 || s->dims[i] == t->dims[i]);
    if (fits)
        return ERR_OK;
    tensor_dims_format(s->dims, s->ndim, want, sizeof want);
    tensor_dims_format(t->dims, t->ndim, got, sizeof got);
    (void)snprintf(text, sizeof text, "batch_size and dims make %s, the model takes %s", got, want);
    return fail(m, k, text);
}

static const char *file_path(struct maker *m, uint32_t k, char *out, size_t out_size)
{
    const char *name = m->of[k]->file;
    int n = snprintf(out, out_size, "%s/%s", m->w->folder ? m->w->folder : "", name ? name : "");
    bool is_plain = name && name[0] != '.' && !strchr(name, '/');
    return is_plain && m->w->folder && n > 0 && (size_t)n < out_size ? out : NULL;
}

/* How long the file is: that much text BYTES need. */
static enum err_code file_size(struct maker *m, uint32_t k, size_t *out)
{
    char path[4400], text[200];
    struct stat st;
    if (!file_path(m, k, path, sizeof path))
        return fail(m, k, "its file must be a plain name in the model's folder warmup/");
    if (stat(path, &st) < 0) {
        (void)snprintf(text, sizeof text, "cannot read warmup/%.100s: %.60s", m->of[k]->file, strerror(errno));
        return fail(m, k, text);
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > WARMUP_BYTES_MAX)
        return fail(m, k, "its file is not a regular one, or larger than 256 MiB");
    *out = (size_t)st.st_size;
    return ERR_OK;
}

static enum err_code plan_input(struct maker *m, uint32_t k)
{
    const struct tensor_spec *s = &m->d->inputs[k];
    struct backend_tensor *t = &m->out->in[k];
    const struct warmup_input *in = m->of[k];
    uint64_t count;
    *t = (struct backend_tensor){.dtype = (enum dtype)s->dtype};
    if (in && in->datatype != DT_NONE && in->datatype != t->dtype) {
        char text[120];
        (void)snprintf(text, sizeof text, "data_type is %s, the model's is %s", dtype_name(in->datatype),
                       dtype_name(t->dtype));
        return fail(m, k, text);
    }
    if (in && in->ndim >= 0 ? shape_of_sample(m, k, t) : shape_of_model(m, k, t))
        return m->err->code;
    if (!tensor_count(t->dims, t->ndim, &count) || count > WARMUP_BYTES_MAX / dtype_size(t->dtype))
        return fail(m, k, "its shape is too large");
    t->bytes = (size_t)count * dtype_size(t->dtype);
    m->heap[k] = t->dtype != DT_BYTES ? 0 : s->is_picture ? SAMPLE_PICTURE_MAX : 1;
    if (in && in->fill == WARMUP_FILE && t->dtype == DT_BYTES && file_size(m, k, &m->heap[k]))
        return m->err->code;
    return ERR_OK;
}

static enum err_code plan(struct maker *m)
{
    size_t total = 0;
    int64_t rows = 0; /* as the first input has them */
    for (uint32_t k = 0; k < m->d->inputs_len; k++) {
        if (!m->of[k] && m->d->inputs[k].is_optional) {
            m->out->in[k] = (struct backend_tensor){.dtype = (enum dtype)m->d->inputs[k].dtype};
            continue;
        }
        if (plan_input(m, k))
            return m->err->code;
        const struct backend_tensor *t = &m->out->in[k];
        if (m->d->has_batch_dim && (t->dims[0] < 1 || t->dims[0] > UINT32_MAX || (rows > 0 && t->dims[0] != rows)))
            return fail(m, k, "it has another number of rows than the inputs before it");
        rows = t->dims[0];
        total += ROUND_UP(t->bytes + m->heap[k], ALIGN) + ALIGN;
        if (total > WARMUP_BYTES_MAX)
            return fail(m, k, "the inputs take more than 256 MiB");
    }
    m->out->rows = m->d->has_batch_dim && rows > 0 ? (uint32_t)rows : 1;
    m->out->bytes = ROUND_UP(total + 1, ALIGN);
    m->out->base = aligned_alloc(ALIGN, m->out->bytes);
    CHECK(m->out->base);
    return ERR_OK;
}

/* Reads exactly n bytes. */
static enum err_code read_file(struct maker *m, uint32_t k, unsigned char *to, size_t n)
{
    char path[4400], text[200];
    size_t have = 0;
    struct stat st;
    size_t size;
    if (file_size(m, k, &size))
        return m->err->code;
    AUTO_FD fd = open(file_path(m, k, path, sizeof path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        (void)snprintf(text, sizeof text, "cannot read warmup/%.100s: %.60s", m->of[k]->file, strerror(errno));
        return fail(m, k, text);
    }
    for (ssize_t got = 1; S_ISREG(st.st_mode) && have < n && got > 0; have += got > 0 ? (size_t)got : 0)
        got = read(fd, to + have, n - have);
    if (have == n && st.st_size == (off_t)n)
        return ERR_OK;
    (void)snprintf(text, sizeof text, "warmup/%.100s has %lld bytes, %zu are needed", m->of[k]->file,
                   (long long)st.st_size, n);
    return fail(m, k, text);
}

/* A file of strings lies behind the references to them; each has its length before it. */
static enum err_code refer_to_file(struct maker *m, uint32_t k, const unsigned char *text, size_t n)
{
    struct backend_tensor *t = &m->out->in[k];
    struct bytes_ref *refs = t->data;
    size_t at = 0, count = t->bytes / sizeof *refs;
    for (size_t i = 0; i < count; i++) {
        uint32_t len = 0;
        if (n - at >= sizeof len)
            memcpy(&len, text + at, sizeof len);
        if (n - at < sizeof len || len > n - at - sizeof len)
            return fail(m, k, "its file has fewer strings than its shape");
        at += sizeof len;
        refs[i] = (struct bytes_ref){.off = (uint32_t)(text + at - m->out->base), .len = len};
        at += len;
    }
    return at == n ? ERR_OK : fail(m, k, "its file has more strings than its shape");
}

static enum err_code fill_strings(struct maker *m, uint32_t k, enum warmup_fill fill)
{
    struct backend_tensor *t = &m->out->in[k];
    struct bytes_ref *refs = t->data;
    unsigned char *text = (unsigned char *)t->data + t->bytes;
    if (fill == WARMUP_FILE)
        return read_file(m, k, text, m->heap[k]) ? m->err->code : refer_to_file(m, k, text, m->heap[k]);
    size_t len = fill == WARMUP_ZERO ? 0 : 1;
    if (m->d->inputs[k].is_picture) /* nothing else would run */
        len = sample_picture(m->seed * 1000 + k + 1, text);
    else
        *text = (unsigned char)('a' + (m->seed + k) % 26);
    for (size_t i = 0; i < t->bytes / sizeof *refs; i++)
        refs[i] = (struct bytes_ref){.off = (uint32_t)(text - m->out->base), .len = (uint32_t)len};
    return ERR_OK;
}

static enum err_code fill_input(struct maker *m, uint32_t k)
{
    struct backend_tensor *t = &m->out->in[k];
    enum warmup_fill fill = m->of[k] ? m->of[k]->fill : WARMUP_RANDOM;
    bool is_dense = t->dtype == DT_INT8 || t->dtype == DT_UINT8;
    if (t->dtype == DT_BYTES)
        return fill_strings(m, k, fill);
    if (fill == WARMUP_FILE)
        return read_file(m, k, t->data, t->bytes);
    if (fill == WARMUP_ZERO) {
        memset(t->data, 0, t->bytes);
        return ERR_OK;
    }
    /* 0 and 1 are valid wherever whole numbers mean categories */
    struct sample_style style = {.seed = m->seed * 1000 + k + 1, .scale = 1, .int_bound = is_dense ? 9 : 1};
    sample_fill(t->dtype, t->bytes / dtype_size(t->dtype), &style, t->data);
    return ERR_OK;
}

enum err_code warmup_make(const struct warmup *w, const struct warmup_sample *sample, const struct model_desc *d,
                          uint32_t rows, uint64_t seed, struct warmup_tensors *out, struct err *err)
{
    struct maker m = {.w = w, .sample = sample, .d = d, .rows = rows, .seed = seed, .out = out, .err = err};
    size_t at = 0;
    *out = (struct warmup_tensors){0};
    enum err_code code = find_inputs(&m);
    code = code ? code : plan(&m);
    for (uint32_t k = 0; k < d->inputs_len && !code; k++) {
        struct backend_tensor *t = &out->in[k];
        if (!m.of[k] && d->inputs[k].is_optional)
            continue;
        t->data = out->base + at;
        at += ROUND_UP(t->bytes + m.heap[k], ALIGN) + ALIGN;
        code = fill_input(&m, k);
    }
    if (code)
        warmup_free(out);
    return code;
}

void warmup_free(struct warmup_tensors *t)
{
    free(t->base);
    t->base = NULL;
}

/* ---- running ---- */

/* Mapped, touched only where written; less where the process may not have so much. */
static enum err_code make_room(struct backend_run *run, struct err *err)
{
    static const size_t sizes[] = {(size_t)512 << 20, (size_t)64 << 20, (size_t)4 << 20};
    void *p = NULL;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(sizes) && !p; i++) {
        run->out_cap = sizes[i];
        code = shm_map_private(sizes[i], &p, err);
        p = code ? NULL : p;
    }
    run->out_base = p;
    return code;
}

/* The rows from `at` on, as many as a run may have. */
static uint32_t cut(const struct warmup_tensors *t, const struct model_desc *d, uint32_t at, struct backend_tensor *in)
{
    uint32_t left = t->rows - at, n = d->has_batch_dim && d->max_batch > 0 && left > d->max_batch ? d->max_batch : left;
    memcpy(in, t->in, sizeof t->in[0] * d->inputs_len);
    for (uint32_t k = 0; k < d->inputs_len && d->has_batch_dim; k++) {
        size_t row = in[k].bytes / t->rows;
        in[k].data = in[k].data ? (unsigned char *)in[k].data + row * at : NULL;
        in[k].bytes = row * n;
        in[k].dims[0] = in[k].ndim > 0 ? (int64_t)n : 0;
    }
    return n;
}

static enum err_code run_once(const struct warmup_tensors *t, const struct backend *b, void *instance,
                              const struct model_desc *d, const struct backend_run *room, struct err *err)
{
    struct backend_tensor in[MODEL_TENSORS_MAX], out[MODEL_TENSORS_MAX];
    for (uint32_t at = 0; at < t->rows;) {
        uint32_t n = cut(t, d, at, in);
        memset(out, 0, sizeof out);
        struct backend_run run = *room;
        run.in = in;
        run.in_len = (int)d->inputs_len;
        run.in_base = t->base;
        run.out = out;
        run.out_len = (int)d->outputs_len;
        run.rows = n;
        if (b->run(instance, &run, err))
            return err->code;
        at += n;
    }
    return ERR_OK;
}

static enum err_code run_sample(const struct warmup *w, const struct warmup_sample *s, const struct backend *b,
                                void *instance, const struct model_desc *d, const struct backend_run *room,
                                struct err *err)
{
    struct warmup_tensors *t = malloc(sizeof *t); /* large for a stack */
    CHECK(t);
    enum err_code code = warmup_make(w, s, d, 1, 0, t, err);
    if (!code) {
        for (int64_t i = 0; i < s->count && !code; i++)
            code = run_once(t, b, instance, d, room, err);
        if (code)
            (void)err_wrap(err, "warm-up '%.60s': the run failed", s->name);
        warmup_free(t);
    }
    free(t);
    return code;
}

enum err_code warmup_run(const struct warmup *w, const struct backend *b, void *instance, const struct model_desc *d,
                         struct err *err)
{
    struct backend_run room = {0};
    enum err_code code = ERR_OK;
    if (w->samples_len == 0)
        return ERR_OK;
    if (make_room(&room, err))
        return err->code;
    for (size_t i = 0; i < w->samples_len && !code; i++)
        code = run_sample(w, &w->samples[i], b, instance, d, &room, err);
    shm_unmap(room.out_base, room.out_cap);
    return code;
}
