#include "serve/proto_classes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "serve/shared.h"
#include "sys/fd.h"

#define LABELS_BYTES_MAX ((size_t)1 << 20)
#define LABELS_MAX       100000

struct labels {
    uint32_t len;
    struct str *lines;
    struct arena arena;
};

/* ---- labels ---- */

static bool is_digits(struct str s)
{
    uint64_t v;
    return str_to_u64(s, &v);
}

#define PLACES 5

/* Where labels may lie, by the model's file and the name that its config.pbtxt gives; the empty string when there is no such place. */
static void places(struct str path, const char *named, char out[PLACES][700])
{
    struct str folder = str_sub(path, 0, (size_t)(str_rchr(path, '/') + 1));
    struct str file = str_sub(path, folder.n, path.n);
    ptrdiff_t dot = str_rchr(file, '.');
    struct str stem = dot > 0 ? str_sub(file, 0, (size_t)dot) : file;
    struct str above = folder.n > 0 ? str_sub(folder, 0, folder.n - 1) : folder;
    struct str version = str_sub(above, (size_t)(str_rchr(above, '/') + 1), above.n);
    bool is_versioned = is_digits(version);
    int n = 0;
    memset(out, 0, PLACES * sizeof out[0]);
    struct str model = is_versioned ? str_sub(above, 0, above.n - version.n) : folder;
    if (named[0]) {
        (void)snprintf(out[n++], sizeof out[0], "%.*s%s", STR_F(model), named);
        (void)snprintf(out[n++], sizeof out[0], "%.*s%s", STR_F(folder), named);
    }
    (void)snprintf(out[n++], sizeof out[0], "%.*s%.*s.labels.txt", STR_F(folder), STR_F(stem));
    if (!is_versioned)
        return; /* a folder of many models has no labels of one */
    (void)snprintf(out[n++], sizeof out[0], "%.*slabels.txt", STR_F(folder));
    (void)snprintf(out[n++], sizeof out[0], "%.*slabels.txt", STR_F(model));
}

static void split_lines(struct labels *l, struct str text)
{
    l->lines = arena_array(&l->arena, struct str, LABELS_MAX);
    while (text.n > 0 && l->len < LABELS_MAX) {
        struct str line = str_cut(text, '\n', &text);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        l->lines[l->len++] = line;
    }
}

static struct labels *labels_read(const char *path, const char *named)
{
    char files[PLACES][700];
    struct labels *l = calloc(1, sizeof *l);
    CHECK(l);
    arena_init(&l->arena, 4096, 2 * LABELS_BYTES_MAX + LABELS_MAX * sizeof(struct str));
    places(str_c(path), named, files);
    for (int i = 0; i < PLACES; i++) {
        struct str text;
        struct err err;
        if (!files[i][0] || file_read(files[i], LABELS_BYTES_MAX, &l->arena, &text, &err))
            continue;
        split_lines(l, text);
        break;
    }
    return l;
}

static struct labels *labels_drop(struct labels *l)
{
    if (l)
        arena_done(&l->arena);
    free(l);
    return NULL;
}

const struct labels *labels_of(struct model_shared *m)
{
    struct labels *l = atomic_load_explicit(&m->labels, memory_order_acquire);
    if (l)
        return l;
    struct labels *mine = labels_read(m->path, m->labels_file);
    if (atomic_compare_exchange_strong(&m->labels, &l, mine))
        return mine;
    (void)labels_drop(mine); /* another thread was faster */
    return l;
}

struct str labels_get(const struct labels *l, uint32_t index)
{
    return index < l->len ? l->lines[index] : STR("");
}

void labels_free(struct model_shared *m)
{
    (void)labels_drop(atomic_load(&m->labels));
}

/* ---- values ---- */

struct class_value {
    double v;
    uint32_t index;
};

bool classes_allowed(enum dtype type)
{
    return type != DT_BYTES && type != DT_FP16 && type != DT_BF16 && type != DT_NONE;
}

static int64_t whole_at(const struct infer_tensor *t, uint64_t e)
{
    size_t size = dtype_size(t->dtype);
    uint64_t bits = 0;
    memcpy(&bits, t->data + e * size, size); /* little-endian, as everywhere in blocks */
    bool is_signed = t->dtype == DT_INT8 || t->dtype == DT_INT16 || t->dtype == DT_INT32;
    if (is_signed && (bits >> (8 * size - 1)) != 0)
        bits |= UINT64_MAX << (8 * size);
    return (int64_t)bits;
}

static double value_at(const struct infer_tensor *t, uint64_t e)
{
    float f;
    double d;
    if (t->dtype == DT_FP32) {
        memcpy(&f, t->data + e * sizeof f, sizeof f);
        return (double)f;
    }
    if (t->dtype == DT_FP64) {
        memcpy(&d, t->data + e * sizeof d, sizeof d);
        return d;
    }
    int64_t v = whole_at(t, e);
    return t->dtype == DT_UINT64 ? (double)(uint64_t)v : (double)v;
}

static int compare(const void *a, const void *b)
{
    const struct class_value *x = a, *y = b;
    bool x_nan = isnan(x->v), y_nan = isnan(y->v);
    if (x_nan != y_nan)
        return x_nan ? 1 : -1;
    if (!x_nan && x->v != y->v)
        return x->v > y->v ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

enum err_code classes_init(struct classes *c, struct arena *a, const struct infer_tensor *t, const struct labels *l,
                           uint32_t wanted, bool has_rows, struct err *err)
{
    uint64_t elements = t->bytes / dtype_size(t->dtype);
    *c = (struct classes){.t = t, .labels = l, .rows = has_rows ? (uint64_t)t->dims[0] : 1};
    if (elements > CLASSES_ELEMENTS_MAX)
        return err_set(err, ERR_INVALID, "classification takes outputs of at most %d elements, this one has %llu",
                       CLASSES_ELEMENTS_MAX, (unsigned long long)elements);
    c->row_len = c->rows > 0 ? elements / c->rows : 0;
    c->n = wanted < c->row_len ? wanted : (uint32_t)c->row_len;
    c->best = arena_try_alloc(a, 2 * (size_t)c->n * sizeof *c->best + 1);
    if (!c->best)
        return err_set(err, ERR_TOO_LARGE, "the classes do not fit in the request's memory");
    return ERR_OK;
}

/* Keeps up to twice as many as are wanted; when it is full, sorts and drops the worse half. */
void classes_row(struct classes *c, uint64_t row)
{
    size_t len = 0;
    c->row = row;
    for (uint64_t e = 0; e < c->row_len && c->n > 0; e++) {
        c->best[len++] = (struct class_value){value_at(c->t, row * c->row_len + e), (uint32_t)e};
        if (len < 2 * (size_t)c->n)
            continue;
        qsort(c->best, len, sizeof *c->best, compare);
        len = c->n;
    }
    if (len > 0)
        qsort(c->best, len, sizeof *c->best, compare);
}

size_t classes_text(const struct classes *c, uint32_t at, char *out, size_t out_size)
{
    const struct class_value *v = &c->best[at];
    struct str label = labels_get(c->labels, v->index);
    int label_n = (int)(label.n < 256 ? label.n : 256);
    const char *sep = label.n > 0 ? ":" : "";
    bool is_float = c->t->dtype == DT_FP32 || c->t->dtype == DT_FP64;
    int64_t whole = is_float ? 0 : whole_at(c->t, c->row * c->row_len + v->index);
    int n;
    if (is_float)
        n = snprintf(out, out_size, "%f:%u%s%.*s", v->v, v->index, sep, label_n, label.n ? label.p : "");
    else if (c->t->dtype == DT_UINT64)
        n = snprintf(out, out_size, "%llu:%u%s%.*s", (unsigned long long)whole, v->index, sep, label_n,
                     label.n ? label.p : "");
    else
        n = snprintf(out, out_size, "%lld:%u%s%.*s", (long long)whole, v->index, sep, label_n, label.n ? label.p : "");
    return n < 0 ? 0 : (size_t)n < out_size ? (size_t)n : out_size - 1;
}
