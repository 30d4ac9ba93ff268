#include "t.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/backends/onnx/ort.h"
#include "model/onnx_ends.h"
#include "onnx_rig.h"

#define DATA "test/data/"

static const float flower[4] = {5.1f, 3.5f, 1.4f, 0.2f};

TEST(old_engines_are_told_by_their_version)
{
    EXPECT(ort_version_is_enough("1.17.0"));
    EXPECT(ort_version_is_enough("1.32.0"));
    EXPECT(ort_version_is_enough("2.0.0"));
    EXPECT(!ort_version_is_enough("1.16.3"));
    EXPECT(!ort_version_is_enough("0.99.0"));
    EXPECT(!ort_version_is_enough(""));
    EXPECT(!ort_version_is_enough("new"));
}

TEST(iris_answers)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, DATA "iris.onnx", NULL), ERR_OK);
    EXPECT_EQ(model_desc_check(&r.desc, &r.err) == ERR_OK || r.desc.max_batch == 0, 1);
    EXPECT_CSTR(r.desc.inputs[0].name, "X");
    EXPECT_EQ(r.desc.outputs_len, 2);
    EXPECT_CSTR(r.desc.outputs[0].name, "output_label");
    EXPECT_CSTR(r.desc.outputs[1].name, "output_probability"); /* a ZipMap in the file, a matrix here */
    EXPECT_EQ(r.desc.outputs[1].dtype, DT_FP32);
    EXPECT_EQ(r.desc.outputs[1].ndim, 2);
    EXPECT_EQ(r.desc.outputs[1].dims[0], -1);
    EXPECT_EQ(r.desc.outputs[1].dims[1], 3);
    EXPECT(strstr(r.desc.producer, "skl2onnx") != NULL);
    EXPECT(r.desc.file_bytes > 0 && r.desc.load_ns > 0);
    rig_in(&r, DT_FP32, flower, sizeof flower, 2, (int64_t[]){1, 4});
    EXPECT_EQ(rig_run(&r), ERR_OK);
    EXPECT_EQ(*(int64_t *)r.out[0].data, 0);
    const float *p = r.out[1].data;
    EXPECT_EQ(r.out[1].dims[1], 3);
    EXPECT_NEAR(p[0] + p[1] + p[2], 1.0, 1e-5);
    EXPECT(p[0] > 0.9f);
    rig_free(&r);
}

TEST(zipmap_removed_gives_the_same_numbers)
{
    static struct rig a, b;
    rig_need_engine();
    EXPECT_EQ(rig_load(&a, DATA "iris.onnx", NULL), ERR_OK);
    EXPECT_EQ(rig_load(&b, DATA "iris_tensor.onnx", NULL), ERR_OK);
    float pa[3], pb[3];
    rig_in(&a, DT_FP32, flower, sizeof flower, 2, (int64_t[]){1, 4});
    EXPECT_EQ(rig_run(&a), ERR_OK);
    memcpy(pa, a.out[1].data, sizeof pa);
    rig_in(&b, DT_FP32, flower, sizeof flower, 2, (int64_t[]){1, 4});
    EXPECT_EQ(rig_run(&b), ERR_OK);
    memcpy(pb, b.out[1].data, sizeof pb);
    for (int i = 0; i < 3; i++)
        EXPECT_NEAR(pa[i], pb[i], 0);
    rig_free(&a);
    rig_free(&b);
}

TEST(classes_with_names)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, DATA "iris_names.onnx", NULL), ERR_OK);
    EXPECT_EQ(r.desc.outputs[0].dtype, DT_BYTES);
    float two[8] = {5.1f, 3.5f, 1.4f, 0.2f, 6.5f, 3.0f, 5.8f, 2.2f};
    rig_in(&r, DT_FP32, two, sizeof two, 2, (int64_t[]){2, 4});
    EXPECT_EQ(rig_run(&r), ERR_OK);
    EXPECT_STR(rig_text(&r, 0, 0), "setosa");
    EXPECT_STR(rig_text(&r, 0, 1), "virginica");
    rig_free(&r);
}

TEST(every_type_goes_through)
{
    static struct rig r;
    static const struct {
        const char *name;
        enum dtype type;
    } types[] = {{"bool", DT_BOOL},     {"uint8", DT_UINT8}, {"uint16", DT_UINT16}, {"uint32", DT_UINT32},
                 {"uint64", DT_UINT64}, {"int8", DT_INT8},   {"int16", DT_INT16},   {"int32", DT_INT32},
                 {"int64", DT_INT64},   {"fp16", DT_FP16},   {"bf16", DT_BF16},     {"fp32", DT_FP32},
                 {"fp64", DT_FP64}};
    rig_need_engine();
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        char path[64];
        uint64_t x[6] = {1, 0x0101010101010101, 0, 0x0001000100010001, 1, 0x0100010001000100};
        (void)snprintf(path, sizeof path, DATA "identity_%s.onnx", types[i].name);
        EXPECT_EQ(rig_load(&r, path, NULL), ERR_OK);
        EXPECT_EQ(r.desc.inputs[0].dtype, types[i].type);
        size_t bytes = 6 * dtype_size(types[i].type);
        rig_in(&r, types[i].type, x, bytes, 2, (int64_t[]){2, 3});
        EXPECT_EQ(rig_run(&r), ERR_OK);
        EXPECT_EQ(r.out[0].bytes, bytes);
        EXPECT_EQ(r.out[0].dims[1], 3);
        EXPECT_EQ(memcmp(r.out[0].data, x, bytes), 0);
        rig_free(&r);
    }
}

TEST(strings_go_through)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, DATA "identity_string.onnx", NULL), ERR_OK);
    struct {
        struct bytes_ref refs[4];
        char text[16];
    } in = {{{32, 2}, {34, 0}, {34, 3}, {37, 4}}, "ab\xc3\xa9x0\0\0z"}; /* one empty, one with NULs inside */
    rig_in(&r, DT_BYTES, &in, sizeof in.refs, 2, (int64_t[]){2, 2});
    EXPECT_EQ(rig_run(&r), ERR_OK);
    EXPECT_STR(rig_text(&r, 0, 0), "ab");
    EXPECT_EQ(rig_text(&r, 0, 1).n, 0);
    EXPECT_STR(rig_text(&r, 0, 2), "\xc3\xa9x");
    EXPECT_EQ(rig_text(&r, 0, 3).n, 4);
    EXPECT_EQ(memcmp(rig_text(&r, 0, 3).p, "0\0\0z", 4), 0);
    rig_in(&r, DT_BYTES, &in, 0, 2, (int64_t[]){0, 2}); /* no rows at all */
    EXPECT_EQ(rig_run(&r), ERR_OK);
    EXPECT_EQ(r.out[0].bytes, 0);
    rig_free(&r);
}

TEST(declared_shapes_that_do_not_hold_are_corrected)
{
    static struct rig r;
    rig_need_engine();
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    EXPECT_EQ(rig_load(&r, DATA "output_lies.onnx", NULL), ERR_OK);
    EXPECT_EQ(r.desc.outputs[0].dims[1], -1); /* the file says 3, a run gives 4 */
    rig_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){2, 4});
    EXPECT_EQ(rig_run(&r), ERR_OK);
    EXPECT_EQ(r.out[0].dims[1], 4);
    for (int i = 0; i < 8; i++)
        EXPECT_NEAR(((const float *)r.out[0].data)[i], x[i], 0);
    rig_free(&r);
}

TEST(sizes_that_depend_on_values_are_copied)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, DATA "bad_nonzero.onnx", NULL), ERR_OK);
    float x[8] = {0, 2, 0, 4, 5, 0, 0, 0};
    rig_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){2, 4});
    EXPECT_EQ(rig_run(&r), ERR_OK);
    EXPECT_EQ(r.out[0].dims[0], 2);
    EXPECT_EQ(r.out[0].dims[1], 3);
    rig_free(&r);
}

TEST(parts_of_the_format_run)
{
    static struct rig r;
    static const char *const names[] = {"sparse_initializer", "if_subgraph", "local_function", "old_initializer_inputs",
                                        "external_ok"};
    rig_need_engine();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, DATA "%s.onnx", names[i]);
        EXPECT_EQ(rig_load(&r, path, "test/data"), ERR_OK);
        EXPECT_EQ(r.desc.inputs_len, 1);
        rig_in(&r, DT_FP32, flower, sizeof flower, 2, (int64_t[]){1, 4});
        EXPECT_EQ(rig_run(&r), ERR_OK);
        rig_free(&r);
    }
}

TEST(what_cannot_be_served_says_why)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, DATA "sequence_output.onnx", NULL), ERR_UNSUPPORTED);
    EXPECT_CSTR(r.err.text, "output 'y' is a sequence; only tensors are served");
    EXPECT_EQ(rig_load(&r, DATA "missing.onnx", NULL), ERR_NOT_FOUND);
    EXPECT_EQ(rig_load(&r, "/dev/null.onnx", NULL), ERR_NOT_FOUND);
    EXPECT_EQ(rig_load(&r, DATA "unknown_domain.onnx", NULL), ERR_UNSUPPORTED);
}

TEST(errors_of_the_engine_have_no_source_places)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, DATA "embedding.onnx", NULL), ERR_OK);
    int64_t ids[2] = {3, 99}, mask[2] = {1, 1};
    rig_in(&r, DT_INT64, ids, sizeof ids, 2, (int64_t[]){1, 2});
    rig_in(&r, DT_INT64, mask, sizeof mask, 2, (int64_t[]){1, 2});
    EXPECT_EQ(rig_run(&r), ERR_BACKEND);
    EXPECT(strstr(r.err.text, "idx=99") != NULL);
    EXPECT(strstr(r.err.text, "/onnxruntime") == NULL);
    ids[1] = 4; /* the model works on */
    rig_in(&r, DT_INT64, ids, sizeof ids, 2, (int64_t[]){1, 2});
    rig_in(&r, DT_INT64, mask, sizeof mask, 2, (int64_t[]){1, 2});
    EXPECT_EQ(rig_run(&r), ERR_OK);
    rig_free(&r);
}

TEST(output_over_the_block_is_refused)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, DATA "identity_fp32.onnx", NULL), ERR_OK);
    static float big[(1 << 18) + 1];
    rig_in(&r, DT_FP32, big, sizeof big, 2, (int64_t[]){1, ARRAY_LEN(big)});
    EXPECT_EQ(rig_run(&r), ERR_TOO_LARGE);
    rig_free(&r);
}

static _Atomic bool has_ended;

/* Again and again: one that comes before the run has begun ends nothing. */
static void *abort_it(void *arg)
{
    struct rig *r = arg;
    while (!atomic_load(&has_ended)) {
        (void)usleep(20000);
        r->b->abort(r->instance);
    }
    return NULL;
}

TEST(abort_ends_a_run)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, DATA "slow_loop.onnx", NULL), ERR_OK);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, abort_it, &r), 0);
    int64_t n = INT64_C(1) << 50;
    rig_in(&r, DT_FP32, flower, sizeof flower, 2, (int64_t[]){1, 4});
    rig_in(&r, DT_INT64, &n, sizeof n, 0, NULL);
    EXPECT_EQ(rig_run(&r), ERR_CANCELLED);
    atomic_store(&has_ended, true);
    (void)pthread_join(thread, NULL);
    n = 1;
    rig_in(&r, DT_FP32, flower, sizeof flower, 2, (int64_t[]){1, 4});
    rig_in(&r, DT_INT64, &n, sizeof n, 0, NULL);
    EXPECT_EQ(rig_run(&r), ERR_OK);
    rig_free(&r);
}

/* What `quern check` goes by must never contradict what a load finds. */
TEST_SLOW(files_say_what_the_engine_finds, 60)
{
    static struct rig r;
    static struct model_desc d;
    struct err err;
    int compared = 0;
    rig_need_engine();
    DIR *dir = opendir(DATA);
    EXPECT(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[300];
        (void)snprintf(path, sizeof path, DATA "%.200s", e->d_name);
        if (!str_ends(str_c(path), STR(".onnx")) || str_starts(str_c(e->d_name), STR("external_")))
            continue;
        if (rig_load(&r, path, "test/data") != ERR_OK) {
            rig_free(&r);
            continue;
        }
        if (onnx_describe_file(path, &d, &err))
            FAIL("%s: %s", path, err.text);
        EXPECT_EQ(d.inputs_len, r.desc.inputs_len);
        EXPECT_EQ(d.outputs_len, r.desc.outputs_len);
        for (uint32_t i = 0; i < d.inputs_len + d.outputs_len; i++) {
            const struct tensor_spec *a = i < d.inputs_len ? &d.inputs[i] : &d.outputs[i - d.inputs_len];
            const struct tensor_spec *b = i < d.inputs_len ? &r.desc.inputs[i] : &r.desc.outputs[i - d.inputs_len];
            if (strcmp(a->name, b->name) != 0 || !tensor_specs_fit(a, b))
                FAIL("%s: %s", path, b->name);
            compared++;
        }
        rig_free(&r);
    }
    (void)closedir(dir);
    EXPECT(compared > 60);
}
