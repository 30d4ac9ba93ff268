#include "model/warmup.h"

#include <stdio.h>
#include <string.h>

#include "model/image/image.h"
#include "sys/fd.h"
#include "t.h"

static struct model_desc desc;
static struct warmup_input inputs[4];
static struct warmup_sample sample;
static struct warmup warmup;
static struct warmup_tensors made;
static struct err err;
static char folder[200];

static void tensor(uint32_t k, const char *name, enum dtype type, int ndim, int64_t a, int64_t b)
{
    struct tensor_spec *s = &desc.inputs[k];
    *s = (struct tensor_spec){.dtype = type, .ndim = ndim, .dims = {a, b}};
    (void)str_copy(s->name, sizeof s->name, str_c(name));
    desc.inputs_len = k + 1;
}

static void begin(void)
{
    tensor(0, "x", DT_FP32, 2, -1, 3);
    desc.has_batch_dim = 1;
    desc.max_batch = 4;
    (void)snprintf(folder, sizeof folder, "%s", t_tmpdir());
    inputs[0] = (struct warmup_input){.name = "x", .ndim = -1};
    sample = (struct warmup_sample){.name = "s", .count = 1, .inputs = inputs, .inputs_len = 1};
    warmup = (struct warmup){.folder = folder, .samples = &sample, .samples_len = 1};
}

static void put(const char *name, const void *bytes, size_t n)
{
    char path[400];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    EXPECT_EQ(file_replace(path, (struct str){bytes, n}, false, &err), ERR_OK);
}

static enum err_code make(void)
{
    err = (struct err){0};
    return warmup_make(&warmup, &sample, &desc, 1, 0, &made, &err);
}

static void refused(const char *words)
{
    if (make() == ERR_OK)
        FAIL("taken, instead of: %s", words);
    if (!strstr(err.text, words))
        FAIL("%s", err.text);
}

TEST(warmup_shapes_follow_the_model_and_the_sample)
{
    begin();
    EXPECT_EQ(make(), ERR_OK);
    EXPECT(made.rows == 1 && made.in[0].dims[0] == 1 && made.in[0].dims[1] == 3 && made.in[0].bytes == 12);
    warmup_free(&made);
    sample.batch_size = 8;
    EXPECT_EQ(make(), ERR_OK);
    EXPECT(made.rows == 8 && made.in[0].bytes == 96);
    warmup_free(&made);
    inputs[0].ndim = 1;
    inputs[0].dims[0] = 3;
    EXPECT_EQ(make(), ERR_OK);
    EXPECT_EQ(made.rows, 8);
    warmup_free(&made);
    inputs[0].dims[0] = 4;
    refused("warm-up 's': input 'x': batch_size and dims make [8,4], the model takes [-1,3]");
    sample.batch_size = 0;
    refused("make [4], the model takes [-1,3]");
    inputs[0] = (struct warmup_input){.name = "x", .ndim = 2, .dims = {5, 3}};
    EXPECT_EQ(make(), ERR_OK);
    EXPECT_EQ(made.rows, 5);
    warmup_free(&made);
    inputs[0].datatype = DT_INT64;
    refused("data_type is INT64, the model's is FP32");
    inputs[0] = (struct warmup_input){.name = "y", .ndim = -1};
    refused("the model has no input 'y'");
    EXPECT_CSTR(err.remedy, "its inputs are x");
    inputs[0].name = "x";
    tensor(0, "x", DT_FP32, 2, -1, -1);
    refused("its shape is not fixed");
    inputs[0].ndim = 1;
    inputs[0].dims[0] = INT64_MAX / 8;
    sample.batch_size = 1;
    refused("its shape is too large");
    tensor(0, "x", DT_FP32, 2, 2, 3);
    desc.has_batch_dim = 0;
    inputs[0].ndim = -1;
    sample.batch_size = 2;
    refused("takes no batches");
}

TEST(warmup_inputs_have_the_same_rows)
{
    begin();
    tensor(1, "z", DT_INT32, 2, -1, 1);
    inputs[1] = (struct warmup_input){.name = "z", .ndim = 2, .dims = {3, 1}};
    sample.inputs_len = 2;
    inputs[0] = (struct warmup_input){.name = "x", .ndim = 2, .dims = {2, 3}};
    refused("input 'z': it has another number of rows");
    inputs[0].dims[0] = 1; /* one row is not as good as any number */
    refused("input 'z': it has another number of rows");
    desc.inputs[1].is_optional = 1;
    sample.inputs_len = 1;
    EXPECT_EQ(make(), ERR_OK);
    EXPECT(made.in[1].data == NULL && made.in[0].data != NULL);
    warmup_free(&made);
}

TEST(warmup_fills)
{
    begin();
    sample.batch_size = 2;
    EXPECT_EQ(make(), ERR_OK);
    float first[6];
    memcpy(first, made.in[0].data, sizeof first);
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += first[i] > 0 ? first[i] : -first[i];
    EXPECT(sum > 0.1f);
    warmup_free(&made);
    EXPECT_EQ(warmup_make(&warmup, NULL, &desc, 2, 1, &made, &err), ERR_OK);
    EXPECT(made.rows == 2 && memcmp(first, made.in[0].data, sizeof first) != 0); /* another seed */
    warmup_free(&made);
    inputs[0].fill = WARMUP_ZERO;
    EXPECT_EQ(make(), ERR_OK);
    for (int i = 0; i < 6; i++)
        EXPECT_NEAR(((float *)made.in[0].data)[i], 0, 0);
    warmup_free(&made);
    inputs[0].fill = WARMUP_FILE;
    inputs[0].file = "x.bin";
    refused("cannot read warmup/x.bin: No such file");
    float want[6] = {1, 2, 3, 4, 5, 6};
    put("x.bin", want, sizeof want);
    EXPECT_EQ(make(), ERR_OK);
    EXPECT_EQ(memcmp(made.in[0].data, want, sizeof want), 0);
    warmup_free(&made);
    put("x.bin", want, sizeof want - 1);
    refused("warmup/x.bin has 23 bytes, 24 are needed");
    static const char *const outside[] = {"../x.bin", "a/x.bin", ".x", NULL};
    for (size_t i = 0; i < ARRAY_LEN(outside); i++) {
        inputs[0].file = outside[i];
        refused("a plain name");
    }
    inputs[0].file = "x.bin";
    warmup.folder = NULL;
    refused("a plain name");
}

TEST(warmup_pictures_are_pictures_and_differ)
{
    const struct image_limits limits = {.side_max = 100, .pixels_max = 1000};
    unsigned char first[64 * IMAGE_CHANNELS];
    begin();
    tensor(0, "x", DT_BYTES, 2, -1, 1);
    desc.inputs[0].is_picture = 1;
    sample.batch_size = 2;
    for (int i = 0; i < 4; i++) {
        struct image m;
        inputs[0].fill = i % 2 ? WARMUP_ZERO : WARMUP_RANDOM;
        EXPECT_EQ(warmup_make(&warmup, &sample, &desc, 1, (uint64_t)i / 2, &made, &err), ERR_OK);
        const struct bytes_ref *r = made.in[0].data;
        EXPECT(r[1].off == r[0].off && r[0].off + r[0].len <= made.bytes);
        if (image_decode((struct str){(char *)made.base + r[0].off, r[0].len}, &limits, &m, &err))
            FAIL("%s", err.text);
        EXPECT(m.width == 8 && m.height == 8);
        if (i == 0)
            memcpy(first, m.pixels, sizeof first);
        EXPECT_EQ(memcmp(first, m.pixels, sizeof first) == 0, i < 2);
        image_done(&m);
        warmup_free(&made);
    }
    desc.inputs[0].is_picture = 0;
}

TEST(warmup_strings_come_from_files_as_they_are_sent)
{
    static const char text[] = "\3\0\0\0abc\0\0\0\0\1\0\0\0z";
    begin();
    tensor(0, "x", DT_BYTES, 2, -1, 3);
    inputs[0].fill = WARMUP_FILE;
    inputs[0].file = "t";
    put("t", text, sizeof text - 1);
    EXPECT_EQ(make(), ERR_OK);
    const struct bytes_ref *r = made.in[0].data;
    EXPECT_STR(((struct str){(char *)made.base + r[0].off, r[0].len}), "abc");
    EXPECT_EQ(r[1].len, 0);
    EXPECT_STR(((struct str){(char *)made.base + r[2].off, r[2].len}), "z");
    warmup_free(&made);
    sample.batch_size = 2;
    refused("fewer strings than its shape");
    sample.batch_size = 0;
    put("t", "\3\0\0\0abc\0\0\0\0\1\0\0\0z\0\0\0\0", 20);
    refused("more strings");
    put("t",
        "\xff\xff\xff\xff"
        "abc",
        7);
    refused("fewer strings");
    put("t", "", 0);
    refused("fewer strings");
    inputs[0].fill = WARMUP_RANDOM;
    EXPECT_EQ(make(), ERR_OK);
    r = made.in[0].data;
    EXPECT(r[2].len == 1 && made.base[r[2].off] >= 'a');
    warmup_free(&made);
}

/* ---- runs ---- */

static uint32_t runs, rows_seen;
static float sum_seen;
static enum err_code fail_with;

static enum err_code run(void *instance, struct backend_run *r, struct err *e)
{
    (void)instance;
    const float *x = r->in[0].data;
    runs++;
    rows_seen += r->rows;
    EXPECT(r->rows <= desc.max_batch && r->in[0].dims[0] == (int64_t)r->rows && r->in[0].bytes == 12 * r->rows);
    for (uint32_t i = 0; i < 3 * r->rows; i++)
        sum_seen += x[i];
    EXPECT(backend_out_alloc(r, 100) != NULL);
    return fail_with ? err_set(e, fail_with, "no such row") : ERR_OK;
}

TEST(warmup_runs_in_parts_of_max_batch_as_often_as_it_says)
{
    static const struct backend b = {.name = "fake", .run = run};
    float x[30], sum = 0;
    begin();
    for (int i = 0; i < 30; i++)
        sum += x[i] = (float)i;
    put("x", x, sizeof x);
    inputs[0].fill = WARMUP_FILE;
    inputs[0].file = "x";
    sample.batch_size = 10;
    sample.count = 3;
    EXPECT_EQ(warmup_run(&warmup, &b, NULL, &desc, &err), ERR_OK);
    EXPECT_EQ(runs, 9); /* 4 + 4 + 2 rows, three times */
    EXPECT_EQ(rows_seen, 30);
    EXPECT_NEAR(sum_seen, 3 * sum, 0.01);
    fail_with = ERR_BACKEND;
    EXPECT_EQ(warmup_run(&warmup, &b, NULL, &desc, &err), ERR_BACKEND);
    EXPECT_CSTR(err.text, "warm-up 's': the run failed: no such row");
    EXPECT_EQ(runs, 10);
    warmup.samples_len = 0;
    EXPECT_EQ(warmup_run(&warmup, &b, NULL, &desc, &err), ERR_OK);
    EXPECT_EQ(runs, 10);
}

TEST(warmup_is_read_from_the_masters_words)
{
    static const char text[] =
        "{\"folder\":\"/f\",\"samples\":[{\"name\":\"a\",\"batch_size\":2,\"count\":5,\"inputs\":["
        "{\"name\":\"x\",\"data\":\"file\",\"file\":\"n\",\"datatype\":\"FP32\",\"dims\":[3,2]},"
        "{\"name\":\"y\",\"data\":\"zero\",\"dims\":[]},{\"name\":\"z\"}]}]}";
    struct buf b;
    struct json_reader r;
    struct arena a;
    struct warmup w;
    buf_init(&b, 4096);
    buf_c(&b, text);
    buf_pad(&b);
    arena_init(&a, 4096, 1 << 20);
    json_init(&r, buf_view(&b), 8);
    warmup_read(&r, &a, &w);
    EXPECT_EQ(json_end(&r), ERR_OK);
    EXPECT_CSTR(w.folder, "/f");
    EXPECT(w.samples_len == 1 && w.samples[0].batch_size == 2 && w.samples[0].count == 5);
    const struct warmup_input *in = w.samples[0].inputs;
    EXPECT(w.samples[0].inputs_len == 3 && in[0].fill == WARMUP_FILE && in[0].datatype == DT_FP32 && in[0].ndim == 2);
    EXPECT(in[1].fill == WARMUP_ZERO && in[1].ndim == 0);
    EXPECT(in[2].fill == WARMUP_RANDOM && in[2].ndim == -1);
    arena_done(&a);
    buf_done(&b);
}
