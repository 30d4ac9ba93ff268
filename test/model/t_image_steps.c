/* The operators "image" and "topk" as backends. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/backends/steps/steps.h"
#include "t.h"

#define AREA 65536

static char area_in[AREA];
static _Alignas(64) unsigned char area_out[AREA];
static size_t area_used;

static void *load(const struct backend *b, const char *path, const struct backend_param *params, size_t n)
{
    const struct backend_load opt = {.name = "m", .path = path, .params = params, .params_len = n, .threads = 1};
    struct model_desc d;
    struct err err = {0};
    void *instance = NULL;
    if (b->load(&opt, &instance, &err) || b->describe(instance, &d, &err) || model_desc_check(&d, &err))
        FAIL("%s", err.text);
    area_used = 0;
    return instance;
}

static void expect_load_error(const struct backend *b, const char *path, const struct backend_param *params, size_t n,
                              const char *part)
{
    const struct backend_load opt = {.name = "m", .path = path, .params = params, .params_len = n};
    struct err err = {0};
    void *instance = NULL;
    EXPECT_EQ(b->load(&opt, &instance, &err) != ERR_OK, 1);
    if (!str_contains(str_c(err.text), str_c(part)))
        FAIL("%s", err.text);
}

static struct bytes_ref put_file(const char *name)
{
    char path[200];
    (void)snprintf(path, sizeof path, "test/data/images/%s", name);
    FILE *f = fopen(path, "rb");
    EXPECT(f != NULL);
    size_t n = fread(area_in + area_used, 1, AREA - area_used, f);
    (void)fclose(f);
    struct bytes_ref ref = {(uint32_t)area_used, (uint32_t)n};
    area_used += n;
    return ref;
}

static enum err_code run_images(void *instance, struct bytes_ref *refs, int64_t rows, struct backend_tensor *out,
                                struct err *err)
{
    struct backend_tensor in = {.dtype = DT_BYTES, .ndim = 2, .dims = {rows, 1}, .data = refs};
    in.bytes = (size_t)rows * sizeof *refs;
    struct backend_run run = {.in = &in,
                              .in_len = 1,
                              .in_base = (const unsigned char *)area_in,
                              .out = out,
                              .out_len = 1,
                              .out_base = area_out,
                              .out_cap = AREA,
                              .rows = (uint32_t)rows};
    *err = (struct err){0};
    return backend_image.run(instance, &run, err);
}

TEST(image_step_lays_out_and_normalises)
{
    const struct backend_param params[] = {{"width", "9"},  {"height", "7"}, {"color", "bgr"},
                                           {"mean", "0.5"}, {"std", "0.25"}, {"filter", "nearest"}};
    void *m = load(&backend_image, NULL, params, 6);
    struct bytes_ref refs[2] = {put_file("rgb.png"), put_file("rgb.png")};
    struct backend_tensor out = {0};
    struct err err;
    EXPECT_EQ(run_images(m, refs, 2, &out, &err), ERR_OK);
    EXPECT_EQ(out.dtype, DT_FP32);
    EXPECT_EQ(out.bytes, 2 * 3 * 7 * 9 * 4);
    EXPECT_EQ(out.dims[1], 3);
    EXPECT_EQ(out.dims[2], 7);
    EXPECT_EQ(out.dims[3], 9);
    const float *v = out.data;
    EXPECT_NEAR(v[3 * 9 + 4], ((double)((4 * 3 * 11 + 40) % 256) / 255 - 0.5) / 0.25, 1e-5);      /* blue first */
    EXPECT_NEAR(v[3 * 63 + 2 * 63 + 3 * 9 + 4], ((double)(4 * 29 + 9) / 255 - 0.5) / 0.25, 1e-5); /* row 1, red */
    backend_image.unload(m);
}

TEST(image_step_gives_bytes_in_nhwc_and_gray)
{
    const struct backend_param params[] = {
        {"width", "9"}, {"height", "7"}, {"layout", "nhwc"}, {"datatype", "uint8"}, {"color", "gray"}};
    void *m = load(&backend_image, NULL, params, 5);
    struct bytes_ref ref = put_file("rgb.png");
    struct backend_tensor out = {0};
    struct err err;
    EXPECT_EQ(run_images(m, &ref, 1, &out, &err), ERR_OK);
    EXPECT_EQ(out.bytes, 63);
    EXPECT_EQ(out.dims[3], 1);
    EXPECT_EQ(((unsigned char *)out.data)[3 * 9 + 4], 169);
    backend_image.unload(m);
}

TEST(image_step_pads_with_the_fill)
{
    const struct backend_param params[] = {
        {"width", "20"}, {"height", "7"},   {"fit", "pad"}, {"fill", "127.5"}, {"scale", "0.00392156862745098"},
        {"mean", "0.5"}, {"place", "start"}};
    void *m = load(&backend_image, NULL, params, 7);
    struct bytes_ref ref = put_file("rgb.png");
    struct backend_tensor out = {0};
    struct err err;
    EXPECT_EQ(run_images(m, &ref, 1, &out, &err), ERR_OK);
    const float *v = out.data;
    EXPECT_NEAR(v[8], 8 * 29 / 255.0 - 0.5, 1e-5); /* the picture's last column */
    EXPECT_NEAR(v[9], 0, 1e-6);
    EXPECT_NEAR(v[19], 0, 1e-6);
    backend_image.unload(m);
}

TEST(image_step_crops_the_middle)
{
    const struct backend_param params[] = {
        {"width", "5"}, {"height", "5"}, {"fit", "crop"}, {"shorter", "7"}, {"datatype", "uint8"}};
    void *m = load(&backend_image, NULL, params, 5);
    struct bytes_ref ref = put_file("rgb.png");
    struct backend_tensor out = {0};
    struct err err;
    EXPECT_EQ(run_images(m, &ref, 1, &out, &err), ERR_OK);
    EXPECT_EQ(((unsigned char *)out.data)[0], 2 * 29 + 3); /* red of (2, 1) */
    backend_image.unload(m);
}

TEST(image_step_names_the_bad_row)
{
    const struct backend_param params[] = {{"width", "4"}, {"height", "4"}};
    void *m = load(&backend_image, NULL, params, 2);
    struct bytes_ref refs[3] = {put_file("rgb.png"), put_file("base.jpg"), put_file("rgb.png")};
    refs[2].len = 50;
    struct backend_tensor out = {0};
    struct err err;
    EXPECT_EQ(run_images(m, refs, 3, &out, &err), ERR_INVALID);
    EXPECT(str_starts(str_c(err.text), STR("row 2 of 'IMAGE': damaged PNG file")));
    backend_image.unload(m);
}

TEST(image_step_refuses_bad_parameters)
{
    const struct backend_param none[] = {{"width", "4"}};
    const struct backend_param unknown[] = {{"size", "4"}};
    const struct backend_param range[] = {{"width", "0"}};
    const struct backend_param choice[] = {{"fit", "zoom"}};
    const struct backend_param numbers[] = {{"mean", "1,2"}};
    const struct backend_param zero[] = {{"width", "4"}, {"height", "4"}, {"std", "0"}};
    expect_load_error(&backend_image, NULL, none, 1, "parameters width and height are missing");
    expect_load_error(&backend_image, NULL, unknown, 1, "there is no parameter 'size'");
    expect_load_error(&backend_image, NULL, range, 1, "parameter width is '0'");
    expect_load_error(&backend_image, NULL, choice, 1, "one of stretch, crop, pad is expected");
    expect_load_error(&backend_image, NULL, numbers, 1, "one for each channel");
    expect_load_error(&backend_image, NULL, zero, 3, "parameter std is 0");
}

static void run_topk(void *instance, float *scores, int64_t rows, int64_t classes, struct backend_tensor out[3],
                     struct err *err)
{
    struct backend_tensor in = {.dtype = DT_FP32, .ndim = 2, .dims = {rows, classes}, .data = scores};
    in.bytes = (size_t)(rows * classes) * sizeof *scores;
    struct backend_run run = {.in = &in,
                              .in_len = 1,
                              .out = out,
                              .out_len = 3,
                              .out_base = area_out,
                              .out_cap = AREA,
                              .rows = (uint32_t)rows};
    *err = (struct err){0};
    (void)backend_topk.run(instance, &run, err);
}

static struct str label(const struct backend_tensor *t, size_t i)
{
    struct bytes_ref ref;
    memcpy(&ref, (const unsigned char *)t->data + i * sizeof ref, sizeof ref);
    return (struct str){(const char *)area_out + ref.off, ref.len};
}

TEST(topk_orders_and_labels)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/labels.txt", t_tmpdir());
    FILE *f = fopen(path, "w");
    EXPECT(f != NULL);
    (void)fputs("cat\r\ndog\nbird, small\nfish", f);
    (void)fclose(f);
    const struct backend_param params[] = {{"k", "2"}};
    void *m = load(&backend_topk, path, params, 1);
    float scores[8] = {1, 5, 5, 0, NAN, -1, -3, NAN};
    struct backend_tensor out[3] = {{0}};
    struct err err;
    run_topk(m, scores, 2, 4, out, &err);
    EXPECT_EQ(err.code, ERR_OK);
    EXPECT_STR(label(&out[0], 0), "dog"); /* of equals the first */
    EXPECT_STR(label(&out[0], 1), "bird, small");
    EXPECT_STR(label(&out[0], 2), "dog"); /* NaN is never best */
    EXPECT_EQ(((int64_t *)out[2].data)[3], 2);
    EXPECT_NEAR(((float *)out[1].data)[0], 5, 0);
    backend_topk.unload(m);
}

TEST(topk_without_labels_gives_numbers_and_softmax_shares)
{
    const struct backend_param params[] = {{"k", "3"}, {"softmax", "true"}};
    void *m = load(&backend_topk, NULL, params, 2);
    float scores[3] = {1000, 1001, 999};
    struct backend_tensor out[3] = {{0}};
    struct err err;
    run_topk(m, scores, 1, 3, out, &err);
    EXPECT_STR(label(&out[0], 0), "1");
    const float *v = out[1].data;
    EXPECT_NEAR(v[0], 0.66524, 1e-4);
    EXPECT_NEAR(v[0] + v[1] + v[2], 1, 1e-5);
    run_topk(m, scores, 1, 2, out, &err);
    EXPECT_CSTR(err.text, "'SCORES' has 2 classes, and the 3 greatest are asked for");
    backend_topk.unload(m);
}

TEST(topk_refuses_bad_labels)
{
    const struct backend_param params[] = {{"k", "3"}};
    expect_load_error(&backend_topk, "/nowhere/labels.txt", params, 1, "cannot read the labels' file");
    expect_load_error(&backend_topk, "test/data/images/rgb.png", params, 1, "is not UTF-8 text");
}
