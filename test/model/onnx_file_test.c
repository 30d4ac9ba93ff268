#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "model/onnx_file.h"
#include "model/wire.h"
#include "sys/fd.h"

static struct onnx_info info;
static struct err err;
static struct arena arena;

static struct str read_data(const char *name)
{
    char path[96];
    struct str s = {NULL, 0};
    if (arena.max_bytes == 0)
        arena_init(&arena, 65536, 8 << 20);
    (void)snprintf(path, sizeof path, "test/data/%s.onnx", name);
    if (file_read(path, 1 << 20, &arena, &s, &err) != ERR_OK)
        FAIL("%s", err.text);
    return s;
}

static enum err_code check(const char *name)
{
    return onnx_check(read_data(name), "test/data", &info, &err);
}

static void expect_refused(const char *name, enum err_code code, const char *text)
{
    enum err_code got = check(name);
    if (got != code || strstr(err.text, text) == NULL)
        FAIL("%s: %s: %s", name, err_code_name(got), err.text);
}

TEST(reads_what_a_classifier_says)
{
    EXPECT_EQ(check("iris"), ERR_OK);
    EXPECT_EQ(info.inputs_len, 1);
    EXPECT_EQ(info.outputs_len, 2);
    EXPECT_EQ(info.opset_ml, 1);
    EXPECT(info.opset > 0);
    EXPECT_EQ(info.zipmaps_len, 1);
    EXPECT_CSTR(info.zipmap_outputs[0], "output_probability");
    EXPECT_CSTR(info.zipmap_inputs[0], "probabilities");
    EXPECT(info.input_has_rank[0]);
    EXPECT_EQ(check("iris_tensor"), ERR_OK);
    EXPECT_EQ(info.zipmaps_len, 0);
}

TEST(constants_are_no_inputs)
{
    EXPECT_EQ(check("old_initializer_inputs"), ERR_OK);
    EXPECT_EQ(info.inputs_len, 1);
    EXPECT_EQ(info.initializers, 1);
    EXPECT_EQ(info.initializer_bytes, 16);
}

TEST(all_parts_of_the_format)
{
    EXPECT_EQ(check("sparse_initializer"), ERR_OK);
    EXPECT_EQ(info.initializers, 2);
    EXPECT_EQ(check("if_subgraph"), ERR_OK);
    EXPECT_EQ(info.nodes, 6);
    EXPECT_EQ(check("slow_loop"), ERR_OK);
    EXPECT_EQ(check("local_function"), ERR_OK);
    EXPECT_EQ(check("output_unranked"), ERR_OK);
    EXPECT(!info.output_has_rank[0]);
    EXPECT_EQ(check("external_ok"), ERR_OK);
    EXPECT_EQ(info.external_files, 1);
}

TEST(versions_and_domains)
{
    expect_refused("unknown_domain", ERR_UNSUPPORTED,
                   "operator DecodeImage of the unknown domain 'com.example.ops' (node 'decode')");
    expect_refused("opset_too_new", ERR_UNSUPPORTED, "version 99 of the operator set ai.onnx");
    expect_refused("opset_ml_too_new", ERR_UNSUPPORTED, "version 99 of the operator set ai.onnx.ml");
    expect_refused("ir_too_new", ERR_UNSUPPORTED, "version 99 of the format");
}

TEST(external_data_stays_in_the_folder)
{
    expect_refused("external_up", ERR_DENIED, "leaves the folder");
    expect_refused("external_inner_up", ERR_DENIED, "leaves the folder");
    expect_refused("external_absolute", ERR_DENIED, "absolute path");
    expect_refused("external_memory", ERR_DENIED, "address in memory");
    expect_refused("external_missing", ERR_NOT_FOUND, "missing.bin");
    EXPECT_EQ(onnx_check(read_data("external_ok"), NULL, &info, &err), ERR_DENIED);
}

TEST(external_data_by_links_is_refused)
{
    char path[512], target[512];
    const char *dir = t_tmpdir();
    struct str link = read_data("external_link"), folder = read_data("external_folder_link");
    (void)snprintf(path, sizeof path, "%s/weights.bin", dir);
    char *bytes = arena_zalloc(&arena, 64);
    EXPECT_EQ(file_replace(path, (struct str){bytes, 64}, false, &err), ERR_OK);
    EXPECT_EQ(onnx_check(read_data("external_ok"), dir, &info, &err), ERR_OK);
    (void)snprintf(target, sizeof target, "%s/link.bin", dir);
    EXPECT_EQ(symlink("weights.bin", target), 0);
    EXPECT_EQ(onnx_check(link, dir, &info, &err), ERR_DENIED);
    (void)snprintf(target, sizeof target, "%s/sub", dir);
    EXPECT_EQ(symlink(".", target), 0);
    EXPECT_EQ(onnx_check(folder, dir, &info, &err), ERR_DENIED);
    EXPECT_EQ(unlink(target), 0);
    EXPECT_EQ(mkdir(target, 0755), 0);
    (void)snprintf(path, sizeof path, "%s/sub/weights.bin", dir);
    EXPECT_EQ(mkfifo(path, 0600), 0); /* must not hang */
    EXPECT_EQ(onnx_check(folder, dir, &info, &err), ERR_DENIED);
    EXPECT_EQ(unlink(path), 0);
    EXPECT_EQ(file_replace(path, (struct str){bytes, 63}, false, &err), ERR_OK);
    EXPECT_EQ(onnx_check(folder, dir, &info, &err), ERR_INVALID); /* one byte too short */
    EXPECT(strstr(err.text, "63 bytes") != NULL);
}

TEST(every_cut_is_refused)
{
    static const char *const names[] = {"iris", "if_subgraph", "sparse_initializer", "embedding", "local_function"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str whole = read_data(names[i]);
        for (size_t n = 0; n < whole.n; n++) {
            char *copy = malloc(n + 1); /* exact, so that the sanitizer sees a read behind it */
            memcpy(copy, whole.p, n);
            enum err_code code = onnx_check((struct str){copy, n}, NULL, &info, &err);
            free(copy);
            /* A cut between two fields of the outermost message leaves a whole message, which may miss only what is optional. */
            if (code == ERR_OK && n + 64 < whole.n)
                FAIL("%s cut at %zu passes", names[i], n);
            EXPECT(code == ERR_OK || err.text[0] != 0);
        }
    }
}

TEST(every_flipped_bit_is_survived)
{
    struct str whole = read_data("if_subgraph");
    char *copy = malloc(whole.n);
    size_t refused = 0;
    for (size_t bit = 0; bit < whole.n * 8; bit++) {
        memcpy(copy, whole.p, whole.n);
        copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
        refused += onnx_check((struct str){copy, whole.n}, NULL, &info, &err) != ERR_OK;
    }
    free(copy);
    EXPECT(refused > whole.n); /* most flips of tags and lengths show */
}

TEST(other_files_are_no_models)
{
    EXPECT_EQ(onnx_check(STR("#!/bin/sh\necho this is no model\n"), NULL, &info, &err), ERR_INVALID);
    EXPECT_EQ(onnx_check((struct str){NULL, 0}, NULL, &info, &err), ERR_INVALID);
    static const char zeros[64];
    EXPECT_EQ(onnx_check((struct str){zeros, sizeof zeros}, NULL, &info, &err), ERR_INVALID);
}

/* ---- hand-made messages ---- */

struct message {
    struct buf b;
};

static struct message message(void)
{
    struct message m;
    buf_init(&m.b, 1 << 20);
    return m;
}

/* A model around the fields of a graph; frees them. */
static enum err_code check_graph(struct message *graph)
{
    struct message opset = message(), m = message();
    wire_put_number(&opset.b, 2, 17);
    wire_put_number(&m.b, 1, 8);
    wire_put_bytes(&m.b, 8, buf_view(&opset.b));
    wire_put_bytes(&m.b, 7, buf_view(&graph->b));
    enum err_code code = onnx_check(buf_view(&m.b), NULL, &info, &err);
    buf_done(&opset.b);
    buf_done(&m.b);
    buf_done(&graph->b);
    return code;
}

static enum err_code check_tensor(const int64_t *dims, size_t ndim, uint64_t type, size_t raw)
{
    static const char bytes[256];
    struct message t = message(), g = message();
    for (size_t i = 0; i < ndim; i++)
        wire_put_number(&t.b, 1, (uint64_t)dims[i]);
    wire_put_number(&t.b, 2, type);
    wire_put_bytes(&t.b, 9, (struct str){bytes, raw});
    wire_put_bytes(&g.b, 5, buf_view(&t.b));
    buf_done(&t.b);
    return check_graph(&g);
}

TEST(sizes_of_tensors_match_their_data)
{
    EXPECT_EQ(check_tensor((int64_t[]){2, 3}, 2, 1, 24), ERR_OK);
    EXPECT_EQ(check_tensor((int64_t[]){2, 3}, 2, 1, 23), ERR_INVALID);
    EXPECT_EQ(check_tensor((int64_t[]){2, 3}, 2, 1, 25), ERR_INVALID);
    EXPECT_EQ(check_tensor((int64_t[]){2, 3}, 2, 10, 12), ERR_OK);
    EXPECT_EQ(check_tensor((int64_t[]){3}, 1, 22, 2), ERR_OK); /* three numbers of 4 bits */
    EXPECT_EQ(check_tensor((int64_t[]){5}, 1, 26, 2), ERR_OK); /* five of 2 bits */
    EXPECT_EQ(check_tensor((int64_t[]){-1, 3}, 2, 1, 12), ERR_INVALID);
    EXPECT_EQ(check_tensor((int64_t[]){INT64_MAX, INT64_MAX}, 2, 1, 12), ERR_INVALID);
    EXPECT_EQ(check_tensor((int64_t[]){1}, 1, 99, 4), ERR_INVALID);
    EXPECT_EQ(check_tensor((int64_t[]){1}, 1, 0, 4), ERR_INVALID);
    EXPECT_EQ(check_tensor((int64_t[]){1}, 1, 8, 4), ERR_INVALID); /* strings are never raw */
    EXPECT_EQ(check_tensor((int64_t[]){0, 5}, 2, 1, 0), ERR_OK);
}

TEST(deep_nesting_is_refused)
{
    /* A type of a sequence of a sequence ... */
    struct message inner = message(), g = message(), v = message();
    for (int i = 0; i < 100; i++) {
        struct message seq = message(), type = message();
        wire_put_bytes(&seq.b, 1, buf_view(&inner.b));
        wire_put_bytes(&type.b, 4, buf_view(&seq.b));
        buf_done(&inner.b);
        buf_done(&seq.b);
        inner = type;
    }
    wire_put_bytes(&v.b, 2, buf_view(&inner.b));
    wire_put_bytes(&g.b, 12, buf_view(&v.b));
    buf_done(&inner.b);
    buf_done(&v.b);
    EXPECT_EQ(check_graph(&g), ERR_TOO_LARGE);
    EXPECT(strstr(err.text, "nested over 64") != NULL);
}

TEST(too_many_outputs_are_refused)
{
    struct message g = message();
    for (int i = 0; i <= MODEL_TENSORS_MAX; i++)
        wire_put_bytes(&g.b, 12, (struct str){NULL, 0});
    EXPECT_EQ(check_graph(&g), ERR_TOO_LARGE);
}

TEST(two_graphs_are_refused)
{
    struct str whole = read_data("mlp");
    struct buf twice;
    buf_init(&twice, 1 << 20);
    buf_str(&twice, whole);
    buf_str(&twice, whole);
    EXPECT_EQ(onnx_check(buf_view(&twice), NULL, &info, &err), ERR_INVALID);
    buf_done(&twice);
}

TEST(wrong_wire_type_is_refused)
{
    struct message g = message();
    wire_put_number(&g.b, 1, 5); /* a node that is a number */
    EXPECT_EQ(check_graph(&g), ERR_INVALID);
    EXPECT(strstr(err.text, "wrong type") != NULL);
}

TEST(without_zipmap_the_file_is_whole)
{
    struct str whole = read_data("iris");
    EXPECT_EQ(check("iris"), ERR_OK);
    struct onnx_info before = info;
    struct buf out;
    buf_init(&out, 1 << 20);
    EXPECT_EQ(onnx_drop_zipmaps(whole, &before, &out, &err), ERR_OK);
    EXPECT_EQ(onnx_check(buf_view(&out), NULL, &info, &err), ERR_OK);
    EXPECT_EQ(info.zipmaps_len, 0);
    EXPECT_EQ(info.nodes, before.nodes);
    EXPECT_EQ(info.outputs_len, 2);
    EXPECT(info.output_has_rank[1]);
    buf_done(&out);
}
