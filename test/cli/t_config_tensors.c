/* What `quern check` sees of inputs and outputs, in files that nobody has loaded. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/config.h"
#include "cli/exit.h"
#include "run_cli.h"
#include "t.h"

#define EXPECT_HAS(text, part)                                                                                         \
    (strstr((text), (part)) ? (void)0 : t_fail(__FILE__, __LINE__, "\"%s\" is not in:\n%s", (part), (text)))

/* Folder NAME with version 1 of a file of test/data, for each pair up to the first NULL; then the working folder is there. */
static void enter(const char *const *pairs)
{
    char from[16][PATH_MAX], to[300];
    size_t n = 0;
    for (; pairs[2 * n]; n++) {
        (void)snprintf(to, sizeof to, "test/data/%s.onnx", pairs[2 * n + 1]);
        EXPECT(realpath(to, from[n]) != NULL);
    }
    EXPECT(chdir(t_tmpdir()) == 0);
    EXPECT(setenv("QUERN_DATA", "/tmp/quern-data-of-test", 1) == 0);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(to, sizeof to, "%s/1", pairs[2 * i]);
        EXPECT(mkdir(pairs[2 * i], 0700) == 0 && mkdir(to, 0700) == 0);
        (void)snprintf(to, sizeof to, "%s/1/model.onnx", pairs[2 * i]);
        EXPECT(symlink(from[i], to) == 0);
    }
}

static void expect_check(int code, const char *part)
{
    const struct cli_result *r = run_cli("check q.yaml");
    if (r->code != code)
        FAIL("code %d: %s%s", r->code, r->out, r->err);
    if (part[0])
        EXPECT_HAS(r->out, part);
    else
        EXPECT(!strstr(r->out, "cannot be served"));
}

static void declare(const char *pbtxt)
{
    put_file("m", "config.pbtxt", pbtxt);
    put_file(".", "q.yaml", "models: {m: {path: m}}\n");
}

TEST(check_holds_a_config_pbtxt_against_the_onnx_file)
{
    enter((const char *const[]){"m", "iris_tensor", NULL});
    declare("max_batch_size: 8\ninput { name: \"X\" data_type: TYPE_FP32 dims: [ 4 ] }\n"
            "output { name: \"probabilities\" data_type: TYPE_FP32 dims: [ 3 ] }\n");
    expect_check(EXIT_FINE, "");
    declare("max_batch_size: 8\ninput { name: \"X\" data_type: TYPE_INT64 dims: [ 4 ] }\n");
    expect_check(EXIT_CONFIG, "m cannot be served: version 1: ");
    expect_check(EXIT_CONFIG, "/m/config.pbtxt:2: input 'X': data_type is TYPE_INT64, the model has TYPE_FP32");
    declare("max_batch_size: 8\n\ninput { name: \"X\" dims: [ 5 ] }\n");
    expect_check(EXIT_CONFIG,
                 "/m/config.pbtxt:3: input 'X': the shape is [-1,5] (rows, and dims), the model has [-1,4]");
    declare("output { name: \"scores\" }\n");
    expect_check(EXIT_CONFIG, "/m/config.pbtxt:1: the model has no output 'scores'; it has 'label', 'probabilities'");
}

TEST(check_leaves_to_the_load_what_the_file_does_not_tell)
{
    enter((const char *const[]){"m", "iris",
                                NULL}); /* its output is a list of maps, of which the engine makes a tensor */
    declare("output { name: \"output_probability\" data_type: TYPE_FP32 dims: [ -1, 3 ] }\n");
    expect_check(EXIT_FINE, "");
}

TEST(check_looks_at_the_inputs_of_warm_up_samples)
{
    enter((const char *const[]){"m", "iris_tensor", NULL});
    put_file(".", "q.yaml", "models:\n  m:\n    path: m\n    warm_up:\n      first: {inputs: {X: zero}}\n");
    expect_check(EXIT_FINE, "");
    put_file(".", "q.yaml", "models:\n  m:\n    path: m\n    warm_up:\n      first: {inputs: {Y: zero}}\n");
    expect_check(EXIT_CONFIG, "q.yaml:5:24: models.m.warm_up.first.inputs.Y: the model has no such input");
    put_file(".", "q.yaml", "models:\n  m:\n    path: m\n    warm_up:\n      first: {inputs: {X: {datatype: INT8}}}\n");
    expect_check(EXIT_CONFIG, "inputs.X: the datatype is INT8, the model has FP32");
}

/* copy makes y of x, net makes probabilities of X. */
static void ensemble(const char *wires)
{
    char text[1000];
    (void)snprintf(
        text, sizeof text,
        "models:\n  copy: {path: copy}\n  net: {path: net}\n  id: {path: 'builtin:identity', parameters: {dims: '5'}}\n"
        "  both:\n    ensemble:\n      inputs: [a]\n      outputs: [c]\n      steps:\n"
        "        one: {model: copy, inputs: {x: a}, outputs: {y: b}}\n        two: %s\n",
        wires);
    put_file(".", "q.yaml", text);
}

TEST(check_holds_the_tensors_of_an_ensemble_against_each_other)
{
    enter((const char *const[]){"copy", "layernorm", "net", "iris_tensor", NULL});
    ensemble("{model: net, inputs: {X: b}, outputs: {probabilities: c}}");
    expect_check(EXIT_FINE, "");
    ensemble("{model: net, inputs: {Z: b}, outputs: {probabilities: c}}");
    expect_check(
        EXIT_CONFIG,
        "both cannot be served: q.yaml:11:35: models.both.ensemble.steps.two.inputs: model \"net\" has no input \"Z\"");
    ensemble("{model: net, inputs: {X: b}, outputs: {probability: c}}");
    expect_check(EXIT_CONFIG, "has no output \"probability\"");
    ensemble("{model: id, inputs: {INPUT0: b}, outputs: {OUTPUT0: c}}");
    expect_check(EXIT_CONFIG,
                 "tensor \"b\" does not fit: \"y\" of step one is FP32 [-1,4], but \"INPUT0\" is FP32 [-1,5]");
    ensemble("{model: id, inputs: {INPUT0: a}, outputs: {OUTPUT0: c}}");
    expect_check(EXIT_CONFIG, "tensor \"a\" does not fit"); /* two steps take it */
    EXPECT(unlink("copy/1/model.onnx") == 0);
    put_file("copy/1", "model.onnx", "no model");
    ensemble("{model: id, inputs: {INPUT0: b}, outputs: {OUTPUT0: c}}");
    const struct cli_result *r = run_cli("check q.yaml"); /* the member's fault is the member's */
    EXPECT(r->code == EXIT_CONFIG && strstr(r->out, "copy cannot be served") &&
           !strstr(r->out, "both cannot be served"));
}

TEST(check_names_the_line_of_an_ensembles_config_pbtxt)
{
    enter((const char *const[]){"copy", "layernorm", "net", "iris_tensor", NULL});
    put_file("both", "config.pbtxt",
             "platform: \"ensemble\"\ninput { name: \"a\" }\noutput { name: \"c\" }\nensemble_scheduling {\n"
             "  step { model_name: \"copy\" model_version: -1\n    input_map { key: \"x\" value: \"a\" } output_map { "
             "key: \"y\" value: \"b\" } }\n"
             "  step { model_name: \"net\" model_version: -1\n    input_map { key: \"W\" value: \"b\" } output_map { "
             "key: \"label\" value: \"c\" } }\n}\n");
    put_file(".", "q.yaml", "repository: {path: .}\n");
    expect_check(EXIT_CONFIG,
                 "/both/config.pbtxt:7: step 'net': model \"net\" has no input \"W\"; it has for example \"X\"");
}
