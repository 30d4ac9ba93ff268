/* An ensemble's graph in the configuration. */
#include <stdio.h>
#include <string.h>

#include "cli/config.h"
#include "t.h"

#define MEMBERS "models:\n  a: {backend: identity}\n  b: {backend: identity}\n  e:\n"
#define STEP(name, model, in, out)                                                                                     \
    "        " name ": {model: " model ", inputs: {INPUT0: " in "}, outputs: {OUTPUT0: " out "}}\n"
#define FRAME(in, out) MEMBERS "    ensemble:\n      inputs: [" in "]\n      outputs: [" out "]\n      steps:\n"

static enum err_code load(const char *yaml, struct config *c, struct err *err)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/q.yaml", t_tmpdir());
    FILE *f = fopen(path, "w");
    EXPECT(f != NULL);
    (void)fputs(yaml, f);
    (void)fclose(f);
    *err = (struct err){0};
    return config_load(c, path, err);
}

static void expect_refused(const char *yaml, const char *text, const char *remedy)
{
    struct config c;
    struct err err;
    EXPECT_EQ(load(yaml, &c, &err), ERR_INVALID);
    if (!str_contains(str_c(err.text), str_c(text)) || !str_contains(str_c(err.remedy), str_c(remedy)))
        FAIL("%s; %s", err.text, err.remedy);
}

TEST(config_takes_an_ensemble)
{
    struct config c;
    struct err err;
    if (load(FRAME("x", "z") STEP("two", "b", "y", "z") STEP("one", "a", "x", "y"), &c, &err))
        FAIL("%s", err.text);
    const struct model_config *m = (const struct model_config *)c.models.items + 2;
    const struct ensemble_step_config *steps = m->ensemble.steps.items;
    EXPECT_CSTR(m->backend, "ensemble");
    EXPECT_EQ(m->ensemble.steps.len, 2);
    EXPECT_CSTR(steps[0].name, "two");
    EXPECT_CSTR(steps[1].model, "a");
    EXPECT_EQ(m->ensemble.memory_bytes, 256 << 20);
    config_done(&c);
}

TEST(config_tells_who_is_in_a_cycle)
{
    expect_refused(FRAME("x", "w") STEP("in", "a", "x", "v") STEP("one", "a", "z", "y") STEP("two", "b", "y", "z")
                       STEP("after", "b", "z", "w"),
                   "models.e.ensemble.steps: the steps wait for each other:", "");
    expect_refused(FRAME("x", "y") STEP("in", "a", "x", "v") STEP("self", "a", "y", "y"), "self needs \"y\" of self",
                   "");
}

TEST(config_tells_unknown_members_and_tensors)
{
    expect_refused(FRAME("x", "y") STEP("one", "aa", "x", "y"), "steps.one.model: there is no model \"aa\"",
                   "name one of `models`");
    expect_refused(FRAME("x", "y") STEP("one", "e", "x", "y"), "a member cannot be an ensemble", "");
    expect_refused(FRAME("pixels", "y") STEP("one", "a", "pixel", "y"), "gets tensor \"pixel\", which nothing makes",
                   "did you mean \"pixels\"?");
    expect_refused(FRAME("x", "scores") STEP("one", "a", "x", "score"), "no step makes \"scores\"",
                   "did you mean \"score\"?");
    expect_refused(FRAME("x, q", "y") STEP("one", "a", "x", "y"), "inputs: no step takes \"q\"", "");
    expect_refused(FRAME("x", "y") "        one: {model: a, version: 7, inputs: {INPUT0: x}, outputs: {OUTPUT0: y}}\n",
                   "steps.one", "");
}

TEST(config_tells_tensors_with_two_sources)
{
    expect_refused(FRAME("x", "y") STEP("one", "a", "x", "y") STEP("two", "b", "x", "y"),
                   "tensor \"y\" comes from step \"one\" already", "");
    expect_refused(FRAME("x", "y") STEP("one", "a", "x", "y") STEP("two", "b", "y", "x"),
                   "tensor \"x\" is an input of the ensemble already", "");
}

TEST(config_tells_what_an_ensemble_lacks)
{
    expect_refused(MEMBERS "    ensemble: {steps: {one: {model: a, inputs: {INPUT0: x}, outputs: {OUTPUT0: y}}}}\n",
                   "which nothing makes", "");
    expect_refused(FRAME("x", "y") "        one: {inputs: {INPUT0: x}, outputs: {OUTPUT0: y}}\n",
                   "a step needs a model", "");
    expect_refused(FRAME("x", "y") "        one: {model: a, outputs: {OUTPUT0: y}}\n", "no input gets a tensor", "");
    expect_refused(MEMBERS "    backend: ensemble\n", "an ensemble has 1 to 32 steps", "");
    expect_refused(FRAME("x", "y"), "models.e.ensemble.steps: an ensemble has 1 to 32 steps", "");
    expect_refused(FRAME("x, x", "y") STEP("one", "a", "x", "y"), "models.e.ensemble.inputs: \"x\" stands there twice",
                   "");
    expect_refused(FRAME("x", "y, z, y") STEP("one", "a", "x", "y") STEP("two", "a", "x", "z"),
                   "models.e.ensemble.outputs: \"y\" stands there twice", "");
    expect_refused(FRAME("x", "x") STEP("one", "a", "x", "y"), "an input cannot be an output as it is", "");
}
