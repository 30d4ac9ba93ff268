#include "model/trial.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "model/sample.h"
#include "sys/shm.h"

/* Made-up inputs above this are not worth their memory: such models are run as requests come. */
#define IN_BYTES_MAX ((size_t)256 << 20)
/* Room for outputs: mapped, touched only where written. The smaller one is for processes with a tight limit of memory. */
#define OUT_BYTES     ((uint64_t)64 << 20)
#define OUT_BYTES_MIN ((uint64_t)4 << 20)
#define TEXT_BYTES    64

/* Spread and sign of each row. Small, large, all positive: sums, maxima and normalisations over rows react to at least one of them. */
static const struct {
    double scale;
    bool is_positive;
} styles[TRIAL_ROWS] = {{1, false},   {0.05, true}, {8, false}, {1, true},
                        {100, false}, {0.3, false}, {3, true},  {30, false}};

/* Texts for BYTES inputs, by row; "1" and "a" first because text that must be a number or a known category is common. */
static const char texts[] = "a1bctextA0word";

static bool is_rows(const struct tensor_spec *s)
{
    return s->ndim > 0 && s->dims[0] == -1;
}

static bool row_count(const struct tensor_spec *s, int64_t free_dim, uint64_t *count)
{
    int64_t dims[TENSOR_DIMS_MAX];
    for (int i = 0; i < s->ndim; i++)
        dims[i] = s->dims[i] >= 0 ? s->dims[i] : i == 0 ? 1 : free_dim;
    return tensor_count(dims, s->ndim, count);
}

static void fill_row(struct trial *t, uint32_t input, int row, unsigned char *out)
{
    enum dtype type = (enum dtype)t->desc->inputs[input].dtype;
    size_t n = t->row_bytes[input] / dtype_size(type);
    if (type == DT_BYTES) { /* texts lie at the start of the input area, see trial_run */
        struct bytes_ref *refs = (struct bytes_ref *)(void *)out;
        for (size_t i = 0; i < n; i++)
            refs[i] = (struct bytes_ref){.off = (uint32_t)((i + (size_t)row) % (sizeof texts - 1)), .len = 1};
        return;
    }
    struct sample_style style = {.seed = (uint64_t)input * 1000 + (uint64_t)row + 1,
                                 .scale = styles[row].scale,
                                 .is_positive = styles[row].is_positive,
                                 .int_bound = t->int_bound};
    sample_fill(type, n, &style, out);
}

static void free_rows(struct trial *t)
{
    for (uint32_t k = 0; k < t->desc->inputs_len; k++) {
        free(t->rows[k]);
        t->rows[k] = NULL;
    }
    free(t->in_base);
    t->in_base = NULL;
}

static enum err_code make_rows(struct trial *t, struct err *err)
{
    free_rows(t);
    size_t total = TEXT_BYTES;
    for (uint32_t k = 0; k < t->desc->inputs_len; k++) {
        const struct tensor_spec *s = &t->desc->inputs[k];
        uint64_t count;
        if (!row_count(s, t->free_dim, &count) || count > IN_BYTES_MAX / 16)
            return err_set(err, ERR_TOO_LARGE, "a row of input '%s' is too large to try", s->name);
        t->row_bytes[k] = (size_t)count * dtype_size((enum dtype)s->dtype);
        total += ROUND_UP(t->row_bytes[k] * TRIAL_ROWS, 64) + 64;
    }
    if (total > IN_BYTES_MAX)
        return err_set(err, ERR_TOO_LARGE, "%d rows of input take over %zu MiB", TRIAL_ROWS, IN_BYTES_MAX >> 20);
    t->in_cap = ROUND_UP(total, 64);
    t->in_base = aligned_alloc(64, t->in_cap);
    if (t->in_base == NULL)
        return err_set(err, ERR_TOO_LARGE, "no memory for made-up rows");
    for (uint32_t k = 0; k < t->desc->inputs_len; k++) {
        int n = is_rows(&t->desc->inputs[k]) ? TRIAL_ROWS : 1;
        t->rows[k] = malloc(t->row_bytes[k] * (size_t)n + 1);
        if (t->rows[k] == NULL)
            return err_set(err, ERR_TOO_LARGE, "no memory for made-up rows");
        for (int r = 0; r < n; r++)
            fill_row(t, k, r, t->rows[k] + (size_t)r * t->row_bytes[k]);
    }
    return ERR_OK;
}

/* Input k: the rows of the order one behind the other, or its one whole tensor. */
static void gather(struct trial *t, uint32_t k, const int *order, uint32_t n)
{
    const struct tensor_spec *s = &t->desc->inputs[k];
    struct backend_tensor *in = &t->in[k];
    size_t row = t->row_bytes[k];
    uint32_t copies = is_rows(s) ? n : 1;
    t->in_used = ROUND_UP(t->in_used, 64);
    CHECK(row * copies <= t->in_cap - t->in_used);
    *in = (struct backend_tensor){
        .dtype = (enum dtype)s->dtype, .ndim = s->ndim, .data = t->in_base + t->in_used, .bytes = row * copies};
    for (int i = 0; i < s->ndim; i++)
        in->dims[i] = s->dims[i] >= 0 ? s->dims[i] : i == 0 ? (int64_t)n : t->free_dim;
    for (uint32_t i = 0; i < copies && row > 0; i++)
        memcpy(t->in_base + t->in_used + i * row, t->rows[k] + (is_rows(s) ? (size_t)order[i] : 0) * row, row);
    t->in_used += row * copies;
}

enum err_code trial_run(struct trial *t, const int *order, uint32_t n, const uint32_t *rows_of, struct err *err)
{
    CHECK(n >= 1 && n <= t->rows_max && t->in_base != NULL);
    if (clock_now_ns() > t->deadline_ns)
        return err_set(err, ERR_TIMEOUT, "out of time");
    _Static_assert(sizeof texts <= TEXT_BYTES, "the texts fit");
    memcpy(t->in_base, texts, sizeof texts);
    t->in_used = TEXT_BYTES;
    for (uint32_t k = 0; k < t->desc->inputs_len; k++)
        gather(t, k, order, rows_of != NULL ? rows_of[k] : n);
    memset(t->out, 0, sizeof t->out);
    struct backend_run run = {.in = t->in,
                              .in_len = (int)t->desc->inputs_len,
                              .in_base = t->in_base,
                              .out = t->out,
                              .out_len = (int)t->desc->outputs_len,
                              .out_base = t->out_base,
                              .out_cap = t->out_cap,
                              .rows = n};
    t->runs++;
    uint64_t start_ns = clock_now_ns();
    enum err_code code = t->backend->run(t->instance, &run, err);
    t->run_ns = clock_now_ns() - start_ns;
    t->out_used = run.out_used;
    return code;
}

static bool has_inner_free_dim(const struct model_desc *d)
{
    for (uint32_t k = 0; k < d->inputs_len; k++)
        for (int i = 1; i < d->inputs[k].ndim; i++)
            if (d->inputs[k].dims[i] == -1)
                return true;
    return false;
}

/* Sizes to try: short sequences, then those at which networks with free image sizes have something left after their strides. */
static enum err_code find_sizes(struct trial *t, struct err *err)
{
    static const int64_t sizes[] = {8, 1, 32, 64, 224, 320};
    static const uint32_t bounds[] = {9, 1}; /* 0 and 1 are valid where there are only two categories */
    static const int first[] = {0};
    size_t sizes_len = has_inner_free_dim(t->desc) ? ARRAY_LEN(sizes) : 1;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < sizes_len; i++) {
        for (size_t k = 0; k < ARRAY_LEN(bounds); k++) {
            t->free_dim = sizes[i];
            t->int_bound = bounds[k];
            code = make_rows(t, err);
            if (code == ERR_OK)
                code = trial_run(t, first, 1, NULL, err);
            if (code == ERR_OK || code == ERR_TIMEOUT)
                return code;
        }
    }
    return code;
}

enum err_code trial_init(struct trial *t, const struct backend *b, void *instance, const struct model_desc *d,
                         uint64_t deadline_ns, struct err *err)
{
    memset(t, 0, sizeof *t);
    t->backend = b;
    t->instance = instance;
    t->desc = d;
    t->deadline_ns = deadline_ns;
    t->rows_max = TRIAL_ROWS;
    void *out;
    t->out_cap = OUT_BYTES;
    enum err_code code = shm_map_private(t->out_cap, &out, err);
    if (code != ERR_OK) {
        t->out_cap = OUT_BYTES_MIN;
        code = shm_map_private(t->out_cap, &out, err);
    }
    if (code != ERR_OK)
        return code;
    t->out_base = out;
    code = find_sizes(t, err);
    if (code != ERR_OK)
        trial_done(t);
    return code;
}

enum err_code trial_grow(struct trial *t, uint32_t rows_max, struct err *err)
{
    size_t total = TEXT_BYTES;
    for (uint32_t k = 0; k < t->desc->inputs_len; k++) {
        if (t->row_bytes[k] > IN_BYTES_MAX / rows_max)
            return err_set(err, ERR_TOO_LARGE, "%u rows of input '%s' are too large to try", rows_max,
                           t->desc->inputs[k].name);
        total += ROUND_UP(t->row_bytes[k] * rows_max, 64) + 64;
    }
    total = ROUND_UP(total, 64);
    if (total <= t->in_cap) {
        t->rows_max = rows_max > t->rows_max ? rows_max : t->rows_max;
        return ERR_OK;
    }
    unsigned char *base = total <= IN_BYTES_MAX ? aligned_alloc(64, total) : NULL;
    if (base == NULL)
        return err_set(err, ERR_TOO_LARGE, "no memory for %u made-up rows", rows_max);
    free(t->in_base);
    t->in_base = base;
    t->in_cap = total;
    t->rows_max = rows_max;
    return ERR_OK;
}

void trial_done(struct trial *t)
{
    free_rows(t);
    shm_unmap(t->out_base, t->out_cap);
    t->out_base = NULL;
}
