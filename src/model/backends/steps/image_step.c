/* Backend "image": files of pictures in, tensors for a network out. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/backends/steps/steps_int.h"
#include "model/image/image.h"

#define SIDE_MAX          8192 /* of the output */
#define DEFAULT_MAX_BATCH 64
#define MAX_BATCH_MAX     65536

static const char *const no_extensions[] = {NULL};

enum fit { FIT_STRETCH, FIT_CROP, FIT_PAD };
enum color { COLOR_RGB, COLOR_BGR, COLOR_GRAY };

struct image_step {
    int64_t width, height, shorter, max_pixels, max_side, max_batch;
    int fit, filter, color, is_nhwc, is_uint8, is_at_start;
    double fill[STEP_NUMBERS_MAX], scale[STEP_NUMBERS_MAX], mean[STEP_NUMBERS_MAX], std[STEP_NUMBERS_MAX];
    float table[STEP_NUMBERS_MAX][256]; /* what a channel's byte becomes */
    unsigned char *canvas;              /* one picture at its final size */
    _Atomic bool is_aborted;
};

/* ---- load ---- */

static enum err_code read_params(struct image_step *s, const struct backend_load *opt, struct err *err)
{
    static const char *const fits[] = {"stretch", "crop", "pad", NULL};                      /* as enum fit */
    static const char *const filters[] = {"nearest", "linear", "bilinear", "bicubic", NULL}; /* as enum image_filter */
    static const char *const colors[] = {"rgb", "bgr", "gray", NULL};                        /* as enum color */
    static const char *const layouts[] = {"nchw", "nhwc", NULL};
    static const char *const types[] = {"fp32", "uint8", NULL};
    static const char *const places[] = {"center", "start", NULL};
    const struct step_param params[] = {
        {.key = "width", .kind = STEP_INT, .to = &s->width, .min = 1, .max = SIDE_MAX},
        {.key = "height", .kind = STEP_INT, .to = &s->height, .min = 1, .max = SIDE_MAX},
        {.key = "fit", .kind = STEP_CHOICE, .to = &s->fit, .choices = fits},
        {.key = "shorter", .kind = STEP_INT, .to = &s->shorter, .min = 1, .max = SIDE_MAX},
        {.key = "place", .kind = STEP_CHOICE, .to = &s->is_at_start, .choices = places},
        {.key = "fill", .kind = STEP_FLOATS, .to = s->fill},
        {.key = "filter", .kind = STEP_CHOICE, .to = &s->filter, .choices = filters},
        {.key = "color", .kind = STEP_CHOICE, .to = &s->color, .choices = colors},
        {.key = "layout", .kind = STEP_CHOICE, .to = &s->is_nhwc, .choices = layouts},
        {.key = "datatype", .kind = STEP_CHOICE, .to = &s->is_uint8, .choices = types},
        {.key = "scale", .kind = STEP_FLOATS, .to = s->scale},
        {.key = "mean", .kind = STEP_FLOATS, .to = s->mean},
        {.key = "std", .kind = STEP_FLOATS, .to = s->std},
        {.key = "max_pixels", .kind = STEP_INT, .to = &s->max_pixels, .min = 1, .max = INT64_C(1) << 30},
        {.key = "max_side", .kind = STEP_INT, .to = &s->max_side, .min = 1, .max = 65535},
    };
    return step_params_read(opt, params, ARRAY_LEN(params), err);
}

static enum err_code check_params(const struct image_step *s, const struct backend_load *opt, struct err *err)
{
    if (opt->max_batch < 0 || opt->max_batch > MAX_BATCH_MAX)
        return err_set(err, ERR_INVALID, "max_batch is %lld; 1 to %d rows are possible", (long long)opt->max_batch,
                       MAX_BATCH_MAX);
    if (s->width == 0 || s->height == 0) {
        err_set(err, ERR_INVALID, "parameters width and height are missing");
        return err_remedy(err, "give the size that the network takes: parameters: {width: 224, height: 224}");
    }
    if (s->shorter != 0 && s->fit != FIT_CROP)
        return err_set(err, ERR_INVALID, "parameter shorter goes with fit: crop only");
    if (s->shorter != 0 && (s->shorter < s->width || s->shorter < s->height))
        return err_set(err, ERR_INVALID, "parameter shorter is %lld, less than width or height", (long long)s->shorter);
    for (int c = 0; c < STEP_NUMBERS_MAX; c++)
        if (s->std[c] == 0)
            return err_set(err, ERR_INVALID, "parameter std is 0: nothing can be divided by it");
    return ERR_OK;
}

static void make_table(struct image_step *s)
{
    for (int c = 0; c < STEP_NUMBERS_MAX; c++)
        for (int v = 0; v < 256; v++)
            s->table[c][v] = s->is_uint8 ? (float)v : (float)((v * s->scale[c] - s->mean[c]) / s->std[c]);
}

static enum err_code load(const struct backend_load *opt, void **out_instance, struct err *err)
{
    struct image_step *s = calloc(1, sizeof *s);
    CHECK(s);
    s->max_pixels = 50000000;
    s->max_side = 16384;
    s->filter = IMAGE_BILINEAR;
    s->max_batch = opt->max_batch > 0 ? opt->max_batch : DEFAULT_MAX_BATCH;
    for (int c = 0; c < STEP_NUMBERS_MAX; c++) {
        s->scale[c] = 1.0 / 255;
        s->std[c] = 1;
    }
    if (read_params(s, opt, err) || check_params(s, opt, err)) {
        free(s);
        return err->code;
    }
    make_table(s);
    s->canvas = malloc((size_t)(s->width * s->height) * IMAGE_CHANNELS);
    CHECK(s->canvas);
    *out_instance = s;
    return ERR_OK;
}

static void unload(void *instance)
{
    struct image_step *s = instance;
    free(s->canvas);
    free(s);
}

static int channels(const struct image_step *s)
{
    return s->color == COLOR_GRAY ? 1 : IMAGE_CHANNELS;
}

static void row_dims(const struct image_step *s, int64_t dims[3])
{
    int64_t c = channels(s);
    const int64_t nhwc[3] = {s->height, s->width, c}, nchw[3] = {c, s->height, s->width};
    memcpy(dims, s->is_nhwc ? nhwc : nchw, sizeof nhwc);
}

static enum err_code describe(void *instance, struct model_desc *out, struct err *err)
{
    const struct image_step *s = instance;
    const int64_t one = 1;
    int64_t dims[3];
    (void)err; /* cannot fail; the table's signature has it */
    memset(out, 0, sizeof *out);
    (void)str_copy(out->backend, sizeof out->backend, STR("image"));
    (void)str_copy(out->platform, sizeof out->platform, STR("quern_image"));
    (void)str_copy(out->description, sizeof out->description, STR("JPEG and PNG files to tensors"));
    (void)str_copy(out->batch_reason, sizeof out->batch_reason,
                   STR("a damaged picture must not fail the requests of others: each request runs alone"));
    row_dims(s, dims);
    step_tensor(&out->inputs[0], "IMAGE", DT_BYTES, &one, 1);
    out->inputs[0].is_picture = 1;
    step_tensor(&out->outputs[0], "PIXELS", s->is_uint8 ? DT_UINT8 : DT_FP32, dims, 3);
    out->inputs_len = out->outputs_len = 1;
    out->has_batch_dim = 1;
    out->max_batch = (uint32_t)s->max_batch;
    return ERR_OK;
}

/* ---- run ---- */

/* Where on the canvas the picture goes. */
struct place {
    uint32_t x, y, width, height;
};

/* As large as it fits, whole. */
static struct place place_padded(const struct image_step *s, const struct image *m)
{
    double f = fmin((double)s->width / m->width, (double)s->height / m->height);
    double w = fmin(fmax(round(m->width * f), 1), (double)s->width);
    double h = fmin(fmax(round(m->height * f), 1), (double)s->height);
    struct place p = {.width = (uint32_t)w, .height = (uint32_t)h};
    if (!s->is_at_start) {
        p.x = ((uint32_t)s->width - p.width) / 2;
        p.y = ((uint32_t)s->height - p.height) / 2;
    }
    return p;
}

/* The middle of the picture that fills the canvas when the shorter side has `shorter` pixels. */
static struct image_box box_cropped(const struct image_step *s, const struct image *m)
{
    double f = fmax((double)s->width / m->width, (double)s->height / m->height);
    double asked = s->shorter ? (double)s->shorter / (m->width < m->height ? m->width : m->height) : 0;
    f = fmax(f, asked);
    double w = fmin((double)s->width / f, m->width), h = fmin((double)s->height / f, m->height);
    return (struct image_box){(m->width - w) / 2, (m->height - h) / 2, w, h};
}

static unsigned char gray_of(const unsigned char *p)
{
    return (unsigned char)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16); /* ITU-R 601, as Pillow */
}

static unsigned char channel_of(const struct image_step *s, const unsigned char *p, int c)
{
    if (s->color == COLOR_GRAY)
        return gray_of(p);
    return p[s->color == COLOR_BGR ? IMAGE_CHANNELS - 1 - c : c];
}

static size_t element_at(const struct image_step *s, size_t x, size_t y, int c)
{
    size_t width = (size_t)s->width, n = (size_t)channels(s);
    return s->is_nhwc ? (y * width + x) * n + (size_t)c : ((size_t)c * (size_t)s->height + y) * width + x;
}

static void fill_all(const struct image_step *s, unsigned char *out)
{
    for (int c = 0; c < channels(s); c++) {
        double v =
            s->is_uint8 ? fmin(fmax(round(s->fill[c]), 0), 255) : (s->fill[c] * s->scale[c] - s->mean[c]) / s->std[c];
        for (size_t y = 0; y < (size_t)s->height; y++)
            for (size_t x = 0; x < (size_t)s->width; x++) {
                size_t e = element_at(s, x, y, c);
                if (s->is_uint8)
                    out[e] = (unsigned char)v;
                else
                    ((float *)(void *)out)[e] = (float)v;
            }
    }
}

static void put_canvas(const struct image_step *s, struct place at, unsigned char *out)
{
    float *floats = (void *)out;
    for (int c = 0; c < channels(s); c++) {
        const unsigned char *p = s->canvas;
        for (uint32_t y = 0; y < at.height; y++) {
            size_t e = element_at(s, at.x, at.y + y, c), step = s->is_nhwc ? (size_t)channels(s) : 1;
            for (uint32_t x = 0; x < at.width; x++, p += IMAGE_CHANNELS, e += step) {
                unsigned char v = channel_of(s, p, c);
                if (s->is_uint8)
                    out[e] = v;
                else
                    floats[e] = s->table[c][v];
            }
        }
    }
}

static enum err_code put_picture(const struct image_step *s, const struct image *m, unsigned char *out, struct err *err)
{
    struct place at = {0, 0, (uint32_t)s->width, (uint32_t)s->height};
    struct image_box box = {0, 0, m->width, m->height};
    if (s->fit == FIT_PAD)
        at = place_padded(s, m);
    if (s->fit == FIT_CROP)
        box = box_cropped(s, m);
    if (image_resize(m, box, (enum image_filter)s->filter, at.width, at.height, s->canvas, err))
        return err->code;
    if (s->fit == FIT_PAD)
        fill_all(s, out);
    put_canvas(s, at, out);
    return ERR_OK;
}

static enum err_code run_row(const struct image_step *s, struct str file, unsigned char *out, struct err *err)
{
    const struct image_limits limits = {.side_max = (uint32_t)s->max_side, .pixels_max = (uint64_t)s->max_pixels};
    struct image m;
    if (image_decode(file, &limits, &m, err))
        return err->code;
    enum err_code code = put_picture(s, &m, out, err);
    image_done(&m);
    return code;
}

static enum err_code run(void *instance, struct backend_run *r, struct err *err)
{
    struct image_step *s = instance;
    const struct backend_tensor *in = &r->in[0];
    struct backend_tensor *out = &r->out[0];
    size_t rows = in->bytes / sizeof(struct bytes_ref);
    size_t row = (size_t)(s->width * s->height) * (size_t)channels(s) * (s->is_uint8 ? 1 : sizeof(float));
    atomic_store(&s->is_aborted, false);
    out->dtype = s->is_uint8 ? DT_UINT8 : DT_FP32;
    out->ndim = 4;
    out->dims[0] = (int64_t)rows;
    row_dims(s, out->dims + 1);
    out->bytes = rows * row;
    out->data = backend_out_alloc(r, out->bytes);
    if (!out->data) {
        err_set(err, ERR_TOO_LARGE, "%zu pictures need %zu bytes as tensors, more than a batch block has", rows,
                out->bytes);
        return err_remedy(err, "send fewer pictures at once, or raise http.body_max");
    }
    for (size_t i = 0; i < rows; i++) {
        struct bytes_ref ref;
        if (atomic_load(&s->is_aborted))
            return err_set(err, ERR_CANCELLED, "nobody waits for this any more");
        memcpy(&ref, (const unsigned char *)in->data + i * sizeof ref, sizeof ref);
        struct str file = {(const char *)r->in_base + ref.off, ref.len};
        if (run_row(s, file, (unsigned char *)out->data + i * row, err))
            return err_wrap(err, "row %zu of 'IMAGE'", i);
    }
    return ERR_OK;
}

static void step_abort(void *instance)
{
    struct image_step *s = instance;
    atomic_store(&s->is_aborted, true);
}

const struct backend backend_image = {
    .name = "image",
    .extensions = no_extensions,
    .load = load,
    .describe = describe,
    .run = run,
    .abort = step_abort,
    .unload = unload,
};
