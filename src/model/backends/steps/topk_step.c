/* Backend "topk": the k greatest scores of each row, with their labels. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/utf8.h"
#include "model/backends/steps/steps_int.h"

#define K_MAX             1000
#define LABELS_BYTES_MAX  (16 << 20)
#define LABELS_MAX        1000000
#define DEFAULT_MAX_BATCH 1024
#define MAX_BATCH_MAX     65536

static const char *const no_extensions[] = {NULL};

struct topk {
    int64_t k, max_batch;
    int is_softmax;
    struct str text; /* the labels' file */
    struct str *labels;
    size_t labels_len; /* 0: labels are the numbers of the classes */
};

/* ---- labels ---- */

static enum err_code read_file(const char *path, struct str *out, struct err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        (void)err_sys(err, ERR_IO, errno, "cannot read the labels' file %.200s", path);
    } else if (st.st_size <= 0 || st.st_size > LABELS_BYTES_MAX) {
        err_set(err, ERR_INVALID, "the labels' file %.200s has %lld bytes; 1 to %d are read", path,
                (long long)st.st_size, LABELS_BYTES_MAX);
    } else {
        char *p = malloc((size_t)st.st_size);
        CHECK(p);
        ssize_t got = read(fd, p, (size_t)st.st_size);
        *out = (struct str){p, got > 0 ? (size_t)got : 0};
    }
    if (fd >= 0)
        (void)close(fd);
    return err->code;
}

static enum err_code split_labels(struct topk *t, const char *path, struct err *err)
{
    if (utf8_check(t->text) != t->text.n)
        return err_set(err, ERR_INVALID, "the labels' file %.200s is not UTF-8 text", path);
    size_t lines = 1;
    for (size_t i = 0; i < t->text.n; i++)
        lines += t->text.p[i] == '\n';
    if (lines > LABELS_MAX)
        return err_set(err, ERR_INVALID, "the labels' file %.200s has %zu lines; at most %d are read", path, lines,
                       LABELS_MAX);
    t->labels = calloc(lines, sizeof *t->labels);
    CHECK(t->labels);
    for (struct str rest = t->text; rest.n > 0;) {
        struct str line = str_cut(rest, '\n', &rest);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        t->labels[t->labels_len++] = line;
    }
    return ERR_OK;
}

static enum err_code load_labels(struct topk *t, const char *path, struct err *err)
{
    if (!path)
        return ERR_OK;
    if (read_file(path, &t->text, err) || split_labels(t, path, err))
        return err->code;
    if ((size_t)t->k > t->labels_len)
        return err_set(err, ERR_INVALID, "parameter k is %lld, but the labels' file %.200s has %zu lines",
                       (long long)t->k, path, t->labels_len);
    return ERR_OK;
}

static void unload(void *instance)
{
    struct topk *t = instance;
    free(t->labels);
    free((void *)(uintptr_t)t->text.p); /* ours, from malloc */
    free(t);
}

static enum err_code load(const struct backend_load *opt, void **out_instance, struct err *err)
{
    static const char *const no_yes[] = {"false", "true", NULL};
    if (opt->max_batch < 0 || opt->max_batch > MAX_BATCH_MAX)
        return err_set(err, ERR_INVALID, "max_batch is %lld; 1 to %d rows are possible", (long long)opt->max_batch,
                       MAX_BATCH_MAX);
    struct topk *t = calloc(1, sizeof *t);
    CHECK(t);
    t->k = 5;
    t->max_batch = opt->max_batch > 0 ? opt->max_batch : DEFAULT_MAX_BATCH;
    const struct step_param params[] = {
        {.key = "k", .kind = STEP_INT, .to = &t->k, .min = 1, .max = K_MAX},
        {.key = "softmax", .kind = STEP_CHOICE, .to = &t->is_softmax, .choices = no_yes},
    };
    err->code = ERR_OK;
    if (step_params_read(opt, params, ARRAY_LEN(params), err) || load_labels(t, opt->path, err)) {
        unload(t);
        return err->code;
    }
    *out_instance = t;
    return ERR_OK;
}

static enum err_code describe(void *instance, struct model_desc *out, struct err *err)
{
    const struct topk *t = instance;
    int64_t classes = t->labels_len > 0 ? (int64_t)t->labels_len : -1;
    (void)err; /* cannot fail; the table's signature has it */
    memset(out, 0, sizeof *out);
    (void)str_copy(out->backend, sizeof out->backend, STR("topk"));
    (void)str_copy(out->platform, sizeof out->platform, STR("quern_topk"));
    (void)str_copy(out->description, sizeof out->description, STR("the greatest scores with their labels"));
    (void)str_copy(out->batch_reason, sizeof out->batch_reason, STR("rows are looked at one by one"));
    step_tensor(&out->inputs[0], "SCORES", DT_FP32, &classes, 1);
    step_tensor(&out->outputs[0], "LABEL", DT_BYTES, &t->k, 1);
    step_tensor(&out->outputs[1], "SCORE", DT_FP32, &t->k, 1);
    step_tensor(&out->outputs[2], "INDEX", DT_INT64, &t->k, 1);
    out->inputs_len = 1;
    out->outputs_len = 3;
    out->has_batch_dim = out->may_share = 1;
    out->max_batch = (uint32_t)t->max_batch;
    return ERR_OK;
}

/* ---- run ---- */

/* Not a number is less than anything. */
static bool is_greater(float a, float b)
{
    return a > b || (isnan(b) && !isnan(a));
}

/* Of equal scores the first class comes first. */
static void best_of(const float *scores, size_t n, size_t k, int64_t *index)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (len == k && !is_greater(scores[i], scores[index[k - 1]]))
            continue;
        size_t at = len < k ? len++ : k - 1;
        for (; at > 0 && is_greater(scores[i], scores[index[at - 1]]); at--)
            index[at] = index[at - 1];
        index[at] = (int64_t)i;
    }
}

/* Greatest first, so that nothing overflows. */
static void put_scores(const struct topk *t, const float *scores, size_t n, const int64_t *index, float *out)
{
    double sum = 0, top = (double)scores[index[0]];
    for (size_t i = 0; t->is_softmax && i < n; i++)
        sum += exp((double)scores[i] - top);
    for (int64_t i = 0; i < t->k; i++) {
        float v = scores[index[i]];
        out[i] = t->is_softmax ? (float)(exp((double)v - top) / sum) : v;
    }
}

static bool put_labels(const struct topk *t, struct backend_run *r, const int64_t *index, unsigned char *refs)
{
    for (int64_t i = 0; i < t->k; i++) {
        char number[24];
        struct bytes_ref ref;
        (void)snprintf(number, sizeof number, "%lld", (long long)index[i]);
        if (!backend_out_bytes(r, t->labels_len > 0 ? t->labels[index[i]] : str_c(number), &ref))
            return false;
        memcpy(refs + (size_t)i * sizeof ref, &ref, sizeof ref);
    }
    return true;
}

static enum err_code run(void *instance, struct backend_run *r, struct err *err)
{
    static const enum dtype types[3] = {DT_BYTES, DT_FP32, DT_INT64};
    const struct topk *t = instance;
    const struct backend_tensor *in = &r->in[0];
    size_t rows = (size_t)in->dims[0], n = (size_t)in->dims[1], k = (size_t)t->k;
    if (n < k)
        return err_set(err, ERR_INVALID, "'SCORES' has %zu classes, and the %zu greatest are asked for", n, k);
    bool has_room = true;
    for (int o = 0; o < 3; o++) {
        struct backend_tensor *out = &r->out[o];
        *out = (struct backend_tensor){.dtype = types[o], .ndim = 2, .dims = {(int64_t)rows, t->k}};
        out->bytes = rows * k * dtype_size(types[o]);
        out->data = backend_out_alloc(r, out->bytes);
        has_room = has_room && out->data;
    }
    for (size_t row = 0; row < rows && has_room; row++) {
        const float *scores = (const float *)in->data + row * n;
        int64_t *index = (int64_t *)r->out[2].data + row * k;
        best_of(scores, n, k, index);
        put_scores(t, scores, n, index, (float *)r->out[1].data + row * k);
        has_room = put_labels(t, r, index, (unsigned char *)r->out[0].data + row * k * sizeof(struct bytes_ref));
    }
    return has_room ? ERR_OK
                    : err_set(err, ERR_TOO_LARGE, "the answer to %zu rows does not fit in a batch block", rows);
}

const struct backend backend_topk = {
    .name = "topk",
    .extensions = no_extensions,
    .may_have_file = true,
    .load = load,
    .describe = describe,
    .run = run,
    .unload = unload,
};
