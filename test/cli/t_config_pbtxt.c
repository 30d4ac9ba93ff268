/* What a folder's config.pbtxt makes of our settings. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/config.h"
#include "run_cli.h"
#include "t.h"

static int64_t max_batch_of(const char *pbtxt)
{
    struct config c;
    struct err err;
    EXPECT(chdir(t_tmpdir()) == 0);
    EXPECT(mkdir("m", 0700) == 0);
    EXPECT(mkdir("m/1", 0700) == 0);
    put_file("m/1", "model.onnx", "not read here");
    put_file("m", "config.pbtxt", pbtxt);
    put_file(".", "quern.yaml", "models: {m: {path: m}}\n");
    EXPECT_EQ(config_load(&c, "quern.yaml", &err), ERR_OK);
    EXPECT_EQ(c.models.len, 1);
    const struct model_config *m = c.models.items;
    EXPECT(m->problem == NULL);
    int64_t rows = config_max_batch(m);
    config_done(&c);
    return rows;
}

/* In Triton requests share a run only with dynamic_batching. 0: the measurement finds out whether it gains anything. */
TEST(max_batch_size_alone_does_not_make_requests_share_a_run)
{
    EXPECT_EQ(max_batch_of("max_batch_size: 64"), 0);
    EXPECT_EQ(max_batch_of("max_batch_size: 64 dynamic_batching {}"), 64);
    EXPECT_EQ(max_batch_of("max_batch_size: 1"), 1);
    EXPECT_EQ(max_batch_of("max_batch_size: 0 dynamic_batching {}"), 0);
}

/* Every name in it is allowed by itself; a thousand such files are more than a configuration may take. */
TEST_SLOW(huge_files_of_many_models_are_refused_and_end_nobody, 120)
{
    static char name[3901], path[64];
    struct config c;
    struct err err;
    EXPECT(chdir(t_tmpdir()) == 0);
    put_file("m0", "config.pbtxt", "platform: \"ensemble\"\n");
    FILE *f = fopen("m0/config.pbtxt", "a");
    EXPECT(f != NULL);
    memset(name, 'a', sizeof name - 1);
    for (int i = 0; i < 260; i++)
        EXPECT(fprintf(f, "input { name: \"%d%s\" }\n", i, name) > 0);
    EXPECT(fputs("ensemble_scheduling { step { model_name: \"id\" input_map { key: \"a\" value: \"b\" } } }\n", f) > 0);
    EXPECT(fclose(f) == 0);
    for (int i = 1; i < 220; i++) {
        (void)snprintf(path, sizeof path, "m%d", i);
        EXPECT(mkdir(path, 0700) == 0);
        (void)snprintf(path, sizeof path, "m%d/config.pbtxt", i);
        EXPECT(link("m0/config.pbtxt", path) == 0);
    }
    put_file(".", "quern.yaml", "repository: {path: .}\nmodels: {id: {path: 'builtin:identity'}}\n");
    EXPECT_EQ(config_load(&c, "quern.yaml", &err), ERR_OK);
    EXPECT_EQ(c.models.len, 221);
    const struct model_config *m = c.models.items;
    size_t too_large = 0;
    for (size_t i = 0; i < c.models.len; i++) {
        EXPECT((m[i].problem == NULL) == (strcmp(m[i].name, "id") == 0));
        too_large += m[i].problem && strstr(m[i].problem, "of all models together are too large") != NULL;
    }
    EXPECT(too_large > 0 && too_large < 200);
    config_done(&c);
}

TEST(what_lies_in_a_repository_is_told_without_controlling_a_terminal)
{
    struct config c;
    struct err err;
    EXPECT(chdir(t_tmpdir()) == 0);
    put_file(".", "\x1b[31mred.onnx", "x");
    put_file(".", "quern.yaml", "repository: {path: .}\n");
    EXPECT_EQ(config_load(&c, "quern.yaml", &err), ERR_OK);
    EXPECT_EQ(c.left_out.len, 1);
    const char *told = *(const char *const *)c.left_out.items;
    EXPECT(strstr(told, "/?[31mred.onnx is left out") && !strchr(told, 0x1b));
    config_done(&c);
}

TEST(a_folder_with_too_many_versions_is_a_model_that_says_so)
{
    char path[64];
    struct config c;
    struct err err;
    EXPECT(chdir(t_tmpdir()) == 0);
    EXPECT(mkdir("m", 0700) == 0);
    for (int i = 1; i <= 1001; i++) {
        (void)snprintf(path, sizeof path, "m/%d", i);
        put_file(path, "model.onnx", "x");
    }
    put_file(".", "quern.yaml", "repository: {path: .}\n");
    EXPECT_EQ(config_load(&c, "quern.yaml", &err), ERR_OK);
    EXPECT_EQ(c.models.len, 1);
    const struct model_config *m = c.models.items;
    EXPECT(m->problem && strstr(m->problem, "more than 1000 versions"));
    config_done(&c);
}
