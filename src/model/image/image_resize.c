/* Resampling in two passes, rows first, each target pixel a weighted sum of a window of source pixels. Between the passes values are rounded to
 * bytes, as Pillow does, so that results agree with it. */
#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "model/image/image.h"

struct window {
    uint32_t from, len;
};

struct weights {
    struct window *windows; /* one for each target pixel */
    float *w;               /* `most` of each */
    uint32_t most;
};

static double triangle(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* How far around its place a target pixel looks, in source pixels. */
static double reach(enum image_filter filter, double scale)
{
    double wide = scale > 1 ? scale : 1;
    switch (filter) {
    case IMAGE_NEAREST:
        return 0.5;
    case IMAGE_LINEAR:
        return 1;
    case IMAGE_BILINEAR:
        return wide;
    case IMAGE_BICUBIC:
        break;
    }
    return 2 * wide;
}

static double weigh(enum image_filter filter, double distance, double scale)
{
    double wide = scale > 1 ? scale : 1;
    switch (filter) {
    case IMAGE_NEAREST:
        return 1;
    case IMAGE_LINEAR:
        return triangle(distance);
    case IMAGE_BILINEAR:
        return triangle(distance / wide);
    case IMAGE_BICUBIC:
        break;
    }
    return cubic(distance / wide);
}

static void set_window(struct weights *t, uint32_t i, enum image_filter filter, double center, double scale,
                       uint32_t size)
{
    struct window *win = &t->windows[i];
    float *w = t->w + (size_t)i * t->most;
    double around = reach(filter, scale), sum = 0;
    double from = filter == IMAGE_NEAREST ? floor(center) : ceil(center - around - 0.5);
    double to = filter == IMAGE_NEAREST ? from : floor(center + around - 0.5); /* pixel p lies at p + 0.5 */
    if (filter == IMAGE_LINEAR) {                                              /* beyond the edge its pixel goes on */
        from = floor(center - 0.5);
        to = from + 1;
    }
    double last = (double)size - 1;
    win->from = (uint32_t)fmin(fmax(from, 0), last);
    uint32_t end = (uint32_t)fmin(fmax(to, 0), last);
    win->len = end - win->from + 1 < t->most ? end - win->from + 1 : t->most;
    for (uint32_t k = 0; k < win->len; k++) {
        double v = win->len == 1 ? 1 : weigh(filter, win->from + k + 0.5 - center, scale);
        w[k] = (float)v;
        sum += v;
    }
    for (uint32_t k = 0; k < win->len && sum != 0; k++)
        w[k] = (float)((double)w[k] / sum);
}

static bool weights_make(struct weights *t, enum image_filter filter, double begin, double length, uint32_t size,
                         uint32_t target)
{
    double scale = length / target;
    t->most = (uint32_t)(2 * reach(filter, scale)) + 3;
    t->windows = calloc(target, sizeof *t->windows);
    t->w = calloc((size_t)target * t->most, sizeof *t->w);
    if (!t->windows || !t->w)
        return false;
    for (uint32_t i = 0; i < target; i++)
        set_window(t, i, filter, begin + (i + 0.5) * scale, scale, size);
    return true;
}

static void weights_done(struct weights *t)
{
    free(t->windows);
    free(t->w);
}

static unsigned char to_byte(float v)
{
    /* NOLINTNEXTLINE(bugprone-incorrect-roundings): exact below 256 */
    return v <= 0 ? 0 : v >= 255 ? 255 : (unsigned char)(v + 0.5f);
}

/* One target pixel: `in` is the first source pixel of its window, the next lie `step` bytes apart. */
static void sum_pixel(const unsigned char *in, size_t step, const float *w, uint32_t len, unsigned char *out)
{
    float r = 0, g = 0, b = 0;
    for (uint32_t k = 0; k < len; k++, in += step) {
        r += w[k] * in[0];
        g += w[k] * in[1];
        b += w[k] * in[2];
    }
    out[0] = to_byte(r);
    out[1] = to_byte(g);
    out[2] = to_byte(b);
}

/* Source rows first ... end - 1, each at the target's width. */
static void pass_rows(const struct image *in, const struct weights *x, uint32_t width, uint32_t first, uint32_t end,
                      unsigned char *out)
{
    for (uint32_t row = first; row < end; row++) {
        const unsigned char *from = in->pixels + (size_t)row * in->width * IMAGE_CHANNELS;
        for (uint32_t i = 0; i < width; i++, out += IMAGE_CHANNELS)
            sum_pixel(from + (size_t)x->windows[i].from * IMAGE_CHANNELS, IMAGE_CHANNELS, x->w + (size_t)i * x->most,
                      x->windows[i].len, out);
    }
}

static void pass_columns(const unsigned char *in, const struct weights *y, uint32_t width, uint32_t height,
                         uint32_t first, unsigned char *out)
{
    size_t row = (size_t)width * IMAGE_CHANNELS;
    for (uint32_t i = 0; i < height; i++) {
        const unsigned char *from = in + (y->windows[i].from - first) * row;
        for (uint32_t x = 0; x < width; x++, out += IMAGE_CHANNELS)
            sum_pixel(from + (size_t)x * IMAGE_CHANNELS, row, y->w + (size_t)i * y->most, y->windows[i].len, out);
    }
}

enum err_code image_resize(const struct image *in, struct image_box box, enum image_filter filter, uint32_t width,
                           uint32_t height, unsigned char *out, struct err *err)
{
    struct weights x = {0}, y = {0};
    unsigned char *between = NULL;
    bool is_ok = weights_make(&x, filter, box.x, box.width, in->width, width) &&
                 weights_make(&y, filter, box.y, box.height, in->height, height);
    if (is_ok) {
        uint32_t first = y.windows[0].from, end = y.windows[height - 1].from + y.windows[height - 1].len;
        CHECK(end > first && width > 0);
        between = malloc((size_t)(end - first) * width * IMAGE_CHANNELS);
        is_ok = between != NULL;
        if (is_ok) {
            pass_rows(in, &x, width, first, end, between);
            pass_columns(between, &y, width, height, first, out);
        }
    }
    weights_done(&x);
    weights_done(&y);
    free(between);
    return is_ok ? ERR_OK : err_set(err, ERR_TOO_LARGE, "no memory to resize a picture to %u x %u", width, height);
}
