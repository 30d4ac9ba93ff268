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

/* A repository in the current folder with a good model and m, which has this config.pbtxt; yaml: more lines of quern.yaml. */
static const struct model_config *among_others(struct config *c, const char *pbtxt, const char *yaml)
{
    struct err err;
    char text[400];
    EXPECT(chdir(t_tmpdir()) == 0);
    EXPECT(mkdir("good", 0700) == 0 && mkdir("m", 0700) == 0);
    put_file("good/1", "model.onnx", "not read here");
    put_file("m/1", "model.onnx", "not read here");
    put_file("m", "config.pbtxt", pbtxt);
    (void)snprintf(text, sizeof text, "repository: {path: .}\n%s", yaml);
    put_file(".", "quern.yaml", text);
    if (config_load(c, "quern.yaml", &err))
        FAIL("%s: %s", pbtxt, err.text);
    const struct model_config *m = c->models.items;
    EXPECT_EQ(c->models.len, 2);
    int of_m = strcmp(m[1].name, "m") == 0;
    EXPECT(m[!of_m].problem == NULL);
    return &m[of_m];
}

/* What is wrong in one file must not keep a server from starting, or others from being taken. */
TEST(what_config_pbtxt_contradicts_is_the_error_of_its_model_alone)
{
    static const char *const cases[][3] = {
        {"dynamic_batching { max_queue_delay_microseconds: 60000000 }", "",
         "/m/config.pbtxt: dynamic_batching.max_queue_delay_microseconds: requests would time out"},
        {"model_warmup { name: \"w\" inputs { key: \"X\" value { data_type: TYPE_FP32 dims: 4 input_data_file: \"a/b\" "
         "} } }",
         "", "/m/config.pbtxt: model_warmup.w.inputs.X.file: a plain name of a file"},
        {"model_warmup { name: \"w\" inputs { key: \"X\" value { data_type: TYPE_NO dims: 4 zero_data: true } } }",
         "models: {m: {instances: 1}}\n", "/m/config.pbtxt: model_warmup.w.inputs.X.datatype: there is no such type"},
        {"max_batch_size: -1", "models: {m: {instances: 1}}\n", "/m/config.pbtxt:1:17: max_batch_size: must not be"},
        {"version_policy { specific { versions: [] } }", "", "/m/config.pbtxt:1:27: specific: names no version"},
        {"version_policy { specific { versions: [1, 7] } }", "", "/m/config.pbtxt: version_policy: version 7 has no"},
        {"max_batch_size: 99999999999999999999", "", "/m/config.pbtxt:1:17: max_batch_size: is too large"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config c;
        const struct model_config *m = among_others(&c, cases[i][0], cases[i][1]);
        if (!m->problem || !strstr(m->problem, cases[i][2]))
            FAIL("%s: %s", cases[i][0], m->problem ? m->problem : "no problem");
        config_done(&c);
    }
}

TEST(a_model_of_a_repository_that_was_removed_keeps_no_other_from_being_taken)
{
    struct config c;
    const struct model_config *m = among_others(&c, "", "models: {good: {instances: 1}}\n");
    EXPECT(m->problem == NULL);
    config_done(&c);
    struct err err;
    EXPECT(unlink("m/config.pbtxt") == 0 && unlink("m/1/model.onnx") == 0 && rmdir("m/1") == 0 && rmdir("m") == 0);
    put_file(".", "quern.yaml", "repository: {path: .}\nmodels: {m: {instances: 1}}\n");
    EXPECT_EQ(config_load(&c, "quern.yaml", &err), ERR_OK);
    m = c.models.items;
    EXPECT_EQ(c.models.len, 2);
    EXPECT_CSTR(m[0].name, "m");
    EXPECT(m[0].problem && strstr(m[0].problem, "quern.yaml:2:10: models.m: no folder of repository.path has a model"));
    EXPECT(m[1].problem == NULL);
    config_done(&c);
}

TEST(what_quern_yaml_says_of_a_model_of_a_repository_is_its_own_error)
{
    struct config c;
    struct err err;
    EXPECT(chdir(t_tmpdir()) == 0);
    EXPECT(mkdir("m", 0700) == 0);
    put_file("m/1", "model.onnx", "not read here");
    put_file("m", "config.pbtxt", "max_batch_size: 4");
    put_file(".", "quern.yaml", "repository: {path: .}\nmodels: {m: {batching: {delay: 40s}}}\n");
    EXPECT_EQ(config_load(&c, "quern.yaml", &err), ERR_INVALID);
    EXPECT(strstr(err.text, "quern.yaml:2:32: models.m.batching.delay: requests would time out") != NULL);
}

/* As Triton: models come with parameters that are for other backends. */
TEST(parameters_of_config_pbtxt_that_the_backend_does_not_know_are_named_and_not_passed)
{
    struct config c;
    const struct model_config *m =
        among_others(&c,
                     "parameters { key: \"execution_mode\" value: { string_value: \"0\" } }\n"
                     "parameters { key: \"arena\" value: { string_value: \"off\" } }\n",
                     "");
    EXPECT(m->problem == NULL);
    EXPECT_EQ(m->parameters.len, 1);
    const struct setting_text_pair *p = m->parameters.items;
    EXPECT_CSTR(p[0].name, "arena");
    EXPECT_EQ(m->notes.len, 1);
    EXPECT_CSTR(*(const char *const *)m->notes.items, "parameters: execution_mode (line 1)");
    config_done(&c);
}

TEST(values_of_config_pbtxt_beyond_ours_count_as_the_most_and_are_named)
{
    struct config c;
    const struct model_config *m =
        among_others(&c,
                     "max_batch_size: 16 dynamic_batching { preferred_batch_size: [ 32, 8, 4, 8 ]\n"
                     "default_queue_policy { default_timeout_microseconds: 9223372036854775807\n"
                     "max_queue_size: 4294967295 } }",
                     "");
    EXPECT(m->problem == NULL);
    const char *const *sizes = m->batching.preferred.items;
    EXPECT_EQ(m->batching.preferred.len, 2);
    EXPECT_CSTR(sizes[0], "4");
    EXPECT_CSTR(sizes[1], "8");
    EXPECT_EQ(m->queue_timeout_ns, (uint64_t)24 * 3600 * 1000000000);
    EXPECT_EQ(m->queue_max, 1000000);
    EXPECT_EQ(m->notes.len, 3);
    config_done(&c);
}

/* A time to wait in is not one to answer in: a model that runs longer serves all the same. */
TEST(queue_policies_of_config_pbtxt)
{
    struct config c;
    const struct model_config *m =
        among_others(&c,
                     "dynamic_batching { priority_levels: 12 default_queue_policy { timeout_action: DELAY\n"
                     "default_timeout_microseconds: 3000 max_queue_size: 6 } priority_queue_policy [\n"
                     "{ key: 1 value { default_timeout_microseconds: 500 max_queue_size: 2 } },\n"
                     "{ key: 12 value { max_queue_size: 2 } }, { key: 3 value { timeout_action: DELAY } } ] }",
                     "");
    EXPECT(m->problem == NULL);
    EXPECT_EQ(m->timeout_ns, 30000000000);
    EXPECT_EQ(m->queue_timeout_ns, 3000000);
    EXPECT_EQ(m->queue_late, QUEUE_DELAY);
    EXPECT_EQ(m->queue_max, 6);
    EXPECT_EQ(m->priorities.len, 2);
    const struct priority_config *p = m->priorities.items;
    EXPECT_CSTR(p[0].name, "1");
    EXPECT_EQ(p[0].queue_timeout_ns, 500000);
    EXPECT_EQ(p[0].queue_max, 2);
    EXPECT_EQ(p[0].queue_late, QUEUE_REJECT);
    EXPECT_CSTR(p[1].name, "3");
    EXPECT_EQ(p[1].queue_late, QUEUE_REJECT); /* without a time nobody is late */
    EXPECT_EQ(m->notes.len, 2);               /* priority_levels and the twelfth */
    config_done(&c);
}

/* What Triton's own answers to GET /config say where nobody said anything. */
TEST(fields_of_config_pbtxt_that_are_empty_are_as_if_they_were_left_out)
{
    struct config c;
    const struct model_config *m =
        among_others(&c,
                     "\xEF\xBB\xBF"
                     "default_model_filename: \"\" platform: \"\" instance_group { count: 0 } max_batch_size: 0",
                     "");
    EXPECT(m->problem == NULL);
    EXPECT(strstr(m->path, "/m/1/model.onnx") != NULL);
    EXPECT_EQ(m->instances, 1);
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
