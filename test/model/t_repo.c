#include "model/repo/repo.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sys/fd.h"
#include "t.h"

static struct arena arena;
static char dir[200];

static void put(const char *version, const char *name)
{
    char path[400];
    struct err err;
    (void)snprintf(path, sizeof path, "%s/%s", dir, version);
    EXPECT_EQ(dir_make(path, 0700, &err), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/%s/%s", dir, version, name);
    EXPECT_EQ(file_replace(path, STR("x"), false, &err), ERR_OK);
}

static void begin(void)
{
    arena_init(&arena, 4096, (size_t)32 << 20);
    (void)snprintf(dir, sizeof dir, "%s/m", t_tmpdir());
    struct err err;
    EXPECT_EQ(dir_make(dir, 0700, &err), ERR_OK);
}

TEST(repo_finds_versions_in_their_order)
{
    struct repo_version *v;
    size_t len;
    struct err err;
    begin();
    put("10", "model.onnx");
    put("9", "model.onnx");
    put("2", "model.tflite");
    put("3", "weights.onnx"); /* no model file */
    put("007", "model.onnx");
    put("0", "model.onnx");
    put("x1", "model.onnx");
    put("-4", "model.onnx");
    put("99999999999999999999", "model.onnx");
    EXPECT_EQ(repo_versions(dir, NULL, &arena, &v, &len, &err), ERR_OK);
    EXPECT_EQ(len, 3);
    EXPECT_EQ(v[0].number, 2);
    EXPECT_EQ(v[1].number, 9);
    EXPECT_EQ(v[2].number, 10);
    EXPECT(strstr(v[0].file, "/m/2/model.tflite"));
    EXPECT_EQ(repo_versions(dir, "weights.onnx", &arena, &v, &len, &err), ERR_OK);
    EXPECT_EQ(len, 1);
    EXPECT_EQ(v[0].number, 3);
    EXPECT(repo_is_model(dir));
    arena_done(&arena);
}

TEST(repo_a_folder_without_versions_is_no_model_but_with_a_config_it_is)
{
    struct repo_version *v;
    size_t len = 1;
    struct err err;
    begin();
    EXPECT(!repo_is_model(dir));
    EXPECT_EQ(repo_versions(dir, NULL, &arena, &v, &len, &err), ERR_OK);
    EXPECT_EQ(len, 0);
    put(".", REPO_CONFIG_FILE);
    EXPECT(repo_is_model(dir));
    EXPECT_EQ(repo_versions("/nowhere/at/all", NULL, &arena, &v, &len, &err), ERR_INVALID);
    arena_done(&arena);
}

static enum err_code choose(const char *const *texts, size_t n, size_t *chosen, uint64_t out[4], struct err *err)
{
    struct repo_version v[] = {{2, "a"}, {9, "b"}, {10, "c"}};
    struct repo_policy p;
    enum err_code code = repo_policy_parse(texts, n, &arena, &p, err);
    if (!code)
        code = repo_choose(&p, v, 3, chosen, err);
    for (size_t i = 0; !code && i < *chosen; i++)
        out[i] = v[i].number;
    return code;
}

TEST(repo_policies_choose)
{
    size_t n;
    uint64_t got[4];
    struct err err;
    arena_init(&arena, 4096, 1 << 20);
    EXPECT_EQ(choose(NULL, 0, &n, got, &err), ERR_OK);
    EXPECT(n == 1 && got[0] == 10);
    EXPECT_EQ(choose((const char *const[]){"latest:2"}, 1, &n, got, &err), ERR_OK);
    EXPECT(n == 2 && got[0] == 9 && got[1] == 10);
    EXPECT_EQ(choose((const char *const[]){"latest:7"}, 1, &n, got, &err), ERR_OK);
    EXPECT(n == 3 && got[0] == 2);
    EXPECT_EQ(choose((const char *const[]){"all"}, 1, &n, got, &err), ERR_OK);
    EXPECT(n == 3);
    EXPECT_EQ(choose((const char *const[]){"10", "2"}, 2, &n, got, &err), ERR_OK);
    EXPECT(n == 2 && got[0] == 2 && got[1] == 10);
    EXPECT_EQ(choose((const char *const[]){"2", "3"}, 2, &n, got, &err), ERR_NOT_FOUND);
    EXPECT_CSTR(err.text, "version 3 has no model file");
    arena_done(&arena);
}

TEST(repo_policies_that_are_none_are_refused)
{
    static const char *const bad[] = {"latest:0", "latest:x", "latest:", "newest", "0", "01", "-1", ""};
    struct repo_policy p;
    struct err err;
    arena_init(&arena, 4096, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (repo_policy_parse(&bad[i], 1, &arena, &p, &err) != ERR_INVALID)
            FAIL("\"%s\" was taken", bad[i]);
    EXPECT_EQ(repo_policy_parse((const char *const[]){"all", "2"}, 2, &arena, &p, &err), ERR_INVALID);
    arena_done(&arena);
}
