/* Settings written into a configuration: the text around them stays as it is, whatever its layout. */
#include "cli/config_edit.h"

#include "t.h"

static struct err err;
static char result[4000];

static const struct config_change two[] = {{"instances", "2", false}, {"threads", "1", false}};
static const struct config_change all[] = {
    {"instances", "2", false}, {"threads", "1", false}, {"max_batch", "8", false}, {"batching.delay", "200us", false}};

static enum err_code edit(const char *yaml, const char *model, const struct config_change *c, size_t n)
{
    struct buf out;
    buf_init(&out, sizeof result);
    enum err_code code = config_edit("q.yaml", str_c(yaml), model, c, n, &out, &err);
    (void)str_copy(result, sizeof result, buf_view(&out));
    buf_done(&out);
    return code;
}

static void expect(const char *yaml, const struct config_change *c, size_t n, const char *want)
{
    enum err_code code = edit(yaml, "iris", c, n);
    if (code != ERR_OK)
        FAIL("%s", err.text);
    EXPECT_CSTR(result, want);
}

#define EXPECT_EDIT(yaml, changes, want) expect((yaml), (changes), ARRAY_LEN(changes), (want))

TEST(edit_values_that_are_there)
{
    EXPECT_EDIT(
        "# mine\nmodels:\n  iris:\n    path: iris.onnx  # small\n    instances: 7   # too many\n    threads: \"3\"\n"
        "log: {level: error}\n",
        two,
        "# mine\nmodels:\n  iris:\n    path: iris.onnx  # small\n    instances: 2   # too many\n    threads: 1\n"
        "log: {level: error}\n");
}

TEST(edit_adds_lines_below_the_models_name)
{
    EXPECT_EDIT(
        "models:\n  other: o.onnx\n  iris:   # flowers\n    # the file\n    path: iris.onnx\n\n  last: l.onnx\n", all,
        "models:\n  other: o.onnx\n  iris:   # flowers\n    batching: {delay: 200us}\n    max_batch: 8\n"
        "    threads: 1\n    instances: 2\n    # the file\n    path: iris.onnx\n\n  last: l.onnx\n");
}

TEST(edit_the_short_form)
{
    EXPECT_EDIT("models:\n  iris: iris.onnx  # small\n", two,
                "models:\n  iris: {threads: 1, path: iris.onnx, instances: 2}  # small\n");
    EXPECT_EDIT("models: {iris: iris.onnx, b: b.onnx}", two,
                "models: {iris: {threads: 1, path: iris.onnx, instances: 2}, b: b.onnx}");
    EXPECT_EDIT("models:\n  iris: 'a # b.onnx'\n", two,
                "models:\n  iris: {threads: 1, path: 'a # b.onnx', instances: 2}\n");
}

TEST(edit_the_form_with_braces)
{
    EXPECT_EDIT("models: {iris: {path: iris.onnx, instances: auto}, b: b.onnx}\n", two,
                "models: {iris: {threads: 1, path: iris.onnx, instances: 2}, b: b.onnx}\n");
}

TEST(edit_sections)
{
    expect(
        "models:\n  iris:\n    path: i.onnx\n    batching:\n      # wait\n      preferred: [8]\n", &all[3], 1,
        "models:\n  iris:\n    path: i.onnx\n    batching:\n      # wait\n      delay: 200us\n      preferred: [8]\n");
}

TEST(edit_sections_with_braces_and_values_in_them)
{
    static const struct config_change delay[] = {{"batching.delay", "200us", false}};
    EXPECT_EDIT("models: {iris: {path: i.onnx, batching: {ordered: true}}}\n", delay,
                "models: {iris: {path: i.onnx, batching: {delay: 200us, ordered: true}}}\n");
    EXPECT_EDIT("models: {iris: {path: i.onnx, batching: {delay: 5ms, ordered: true}}}\n", delay,
                "models: {iris: {path: i.onnx, batching: {delay: 200us, ordered: true}}}\n");
    EXPECT_EDIT("models: {iris: {path: i.onnx, batching: {}}}\n", delay,
                "models: {iris: {path: i.onnx, batching: {delay: 200us}}}\n");
}

TEST(edit_defaults_are_written_only_over_others)
{
    static const struct config_change plain[] = {{"max_batch", "0", true}, {"batching.delay", "0", true}};
    EXPECT_EDIT("models: {iris: i.onnx}\n", plain, "models: {iris: i.onnx}\n");
    EXPECT_EDIT("models: {iris: {path: i.onnx, max_batch: 4}}\n", plain,
                "models: {iris: {path: i.onnx, max_batch: 0}}\n");
}

TEST(edit_a_last_line_without_an_end)
{
    EXPECT_EDIT("models:\n  iris:\n    path: i.onnx", two,
                "models:\n  iris:\n    threads: 1\n    instances: 2\n    path: i.onnx");
}

TEST(edit_lines_that_end_as_on_windows)
{
    EXPECT_EQ(edit("models:\r\n  iris:\r\n    path: i.onnx\r\n    instances: 4\r\n", "iris", two, 1), ERR_OK);
    EXPECT_CSTR(result, "models:\r\n  iris:\r\n    path: i.onnx\r\n    instances: 2\r\n");
}

TEST(edit_other_models_and_names_that_look_alike_stay)
{
    EXPECT_EDIT("models:\n  iris2: {path: a.onnx, instances: 5}\n  iris: {path: b.onnx, instances: 5}\n", two,
                "models:\n  iris2: {path: a.onnx, instances: 5}\n  iris: {threads: 1, path: b.onnx, instances: 2}\n");
}

TEST(edit_a_model_that_does_not_stand_there)
{
    EXPECT_EQ(edit("log: {level: error}\n", "iris", two, 2), ERR_NOT_FOUND);
    EXPECT(str_contains(str_c(err.remedy), STR("models: {iris: {instances: 2}}")));
    EXPECT_CSTR(result, "");
}

/* Laid out in ways that are not understood: said, not guessed. */
TEST(edit_refuses_what_it_does_not_understand)
{
    static const char *const texts[] = {"models:\n  ? iris\n  : {path: i.onnx}\n",
                                        "models:\n  iris:\n    {path: i.onnx}\n", "models:\n  iris: |-\n    i.onnx\n",
                                        "models:\n  iris: a, b.onnx\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (edit(texts[i], "iris", two, 2) == ERR_OK)
            FAIL("%s became %s", texts[i], result);
        EXPECT_CSTR(result, "");
    }
}

TEST(edit_refuses_values_that_are_wrong)
{
    static const struct config_change wrong[] = {{"instances", "many", false}};
    EXPECT(edit("models: {iris: i.onnx}\n", "iris", wrong, 1) != ERR_OK);
    EXPECT_CSTR(result, "");
}
