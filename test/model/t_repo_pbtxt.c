#include <stdio.h>
#include <string.h>

#include "model/repo/pbtxt.h"
#include "model/repo/triton.h"
#include "t.h"

static struct arena arena;
static struct err err;

static struct pbtxt tree(const char *text)
{
    struct pbtxt top;
    arena_init(&arena, 4096, (size_t)32 << 20);
    if (pbtxt_parse("c", str_c(text), &arena, &top, &err))
        FAIL("%s", err.text);
    return top;
}

static const struct pbtxt *field(const struct pbtxt *in, const char *name, int nth)
{
    for (const struct pbtxt *f = in->first; f; f = f->next)
        if (str_eq_c(f->name, name) && nth-- == 0)
            return f;
    FAIL("no field %s", name);
}

TEST(pbtxt_reads_every_form_of_the_format)
{
    struct pbtxt t = tree("# a comment\n"
                          "a: 1; b: \"x\" 'y'\n\t\"z\", c { d: -3 } e: { f: true }\n"
                          "g < h: 1.5e3f > i [ { j: 1 }, { j: 2 } ] k: [1,2 , 3] l: [] "
                          "[type.example/x.Y] { m: ENUM_NAME } n: - 7 k: 4");
    EXPECT_STR(field(&t, "a", 0)->value, "1");
    EXPECT_STR(field(&t, "b", 0)->value, "xyz");
    EXPECT_EQ(field(&t, "b", 0)->line, 2);
    EXPECT_STR(field(field(&t, "c", 0), "d", 0)->value, "-3");
    EXPECT_STR(field(field(&t, "e", 0), "f", 0)->value, "true");
    EXPECT_STR(field(field(&t, "g", 0), "h", 0)->value, "1.5e3f");
    EXPECT_STR(field(field(&t, "i", 1), "j", 0)->value, "2");
    EXPECT_STR(field(&t, "k", 3)->value, "4");
    EXPECT_STR(field(field(&t, "type.example/x.Y", 0), "m", 0)->value, "ENUM_NAME");
    EXPECT_STR(field(&t, "n", 0)->value, "-7");
    arena_done(&arena);
    EXPECT(tree("  # nothing\n").first == NULL);
}

TEST(pbtxt_reads_escapes)
{
    struct pbtxt t = tree("a: \"\\n\\t\\\\\\\"\\'\\x41\\101\\u00e9\\U0001F600\" b: ''");
    EXPECT_STR(field(&t, "a", 0)->value, "\n\t\\\"'AA\xC3\xA9\xF0\x9F\x98\x80");
    EXPECT_EQ(field(&t, "b", 0)->value.n, 0);
}

TEST(pbtxt_long_strings_are_whole)
{
    char text[5000];
    memset(text, 'x', sizeof text);
    memcpy(text, "a: \"", 4);
    memcpy(text + 4500, "\"", 2);
    struct pbtxt t = tree(text);
    EXPECT_EQ(field(&t, "a", 0)->value.n, 4496);
}

TEST(pbtxt_errors_name_the_place)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"a", "c:1:2: expected \":\" or \"{\""},
        {"a:\n  b: }", "c:2:4: expected the name"},
        {"a {\n", "c:2:1: a message does not end"},
        {"a: [1 2]", "c:1:7: expected \",\" or \"]\""},
        {"a: [1,]", "expected a value behind the comma"},
        {"a: [1", "a list does not end"},
        {"a: \"x", "a string does not end"},
        {"a: \"x\ny\"", "c:1:6: a string must end on its line"},
        {"a: \"\\q\"", "malformed escape"},
        {"a: \"\\ud800\"", "malformed escape"},
        {"a: \"\\400\"", "malformed escape"},
        {"a: {]}", "expected the name"},
        {"a { b: 1 >", "expected the name"},
        {"}", "expected the name"},
        {"a:", "expected a value"},
        {": 1", "expected the name"},
    };
    struct pbtxt top;
    arena_init(&arena, 4096, (size_t)32 << 20);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (pbtxt_parse("c", str_c(bad[i].text), &arena, &top, &err) == ERR_OK)
            FAIL("taken: %s", bad[i].text);
        if (!strstr(err.text, bad[i].words))
            FAIL("%s: %s", bad[i].text, err.text);
    }
}

TEST(pbtxt_depth_has_a_limit)
{
    char text[200];
    struct pbtxt top;
    arena_init(&arena, 4096, (size_t)32 << 20);
    for (int i = 0; i < 40; i++)
        memcpy(text + 2 * i, "a{", 2);
    EXPECT_EQ(pbtxt_parse("c", (struct str){text, 80}, &arena, &top, &err), ERR_INVALID);
    EXPECT(strstr(err.text, "nested too deeply"));
}

/* ---- Triton's fields ---- */

static struct triton_config config(const char *text)
{
    struct triton_config c;
    arena_init(&arena, 4096, (size_t)32 << 20);
    if (triton_parse("c", str_c(text), &arena, &c, &err))
        FAIL("%s", err.text);
    return c;
}

TEST(triton_config_is_read_whole)
{
    struct triton_config c = config(
        "name: \"ocr\" platform: \"onnxruntime_onnx\" max_batch_size: 16\n"
        "input [ { name: \"x\" data_type: TYPE_FP32 dims: [ 3, -1 ] format: FORMAT_NONE } ]\n"
        "output { name: \"y\" data_type: TYPE_FP32 dims: 10 label_filename: \"l.txt\" }\n"
        "version_policy: { specific { versions: [1, 3] } }\n"
        "dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 100 preserve_ordering: true\n"
        "  default_queue_policy { max_queue_size: 7 default_timeout_microseconds: 2000 }\n"
        "  priority_queue_policy [ { key: 2 value { max_queue_size: 5 } },\n"
        "    { key: 1 value: { timeout_action: DELAY default_timeout_microseconds: 9 allow_timeout_override: true } } "
        "] "
        "}\n"
        "instance_group [ { count: 2 kind: KIND_CPU }, { kind: KIND_GPU gpus: [0] } ]\n"
        "parameters { key: \"intra_op_thread_count\" value: { string_value: \"4\" } }\n"
        "parameters { key: \"k\" value { string_value: \"v\" } }\n"
        "response_cache { enable: true }\n"
        "optimization { graph { level: 1 } }\nsequence_batching {}\n");
    EXPECT_CSTR(c.name, "ocr");
    EXPECT_CSTR(c.backend, "onnx");
    EXPECT_EQ(c.max_batch_size, 16);
    EXPECT_EQ(c.inputs_len, 1);
    EXPECT_EQ(c.inputs[0].dims[1], -1);
    EXPECT_CSTR(c.labels_file, "l.txt");
    EXPECT_EQ(c.policy, TRITON_SPECIFIC);
    EXPECT(c.versions_len == 2 && c.versions[1] == 3);
    EXPECT(c.preferred_len == 2 && c.preferred[1] == 8);
    EXPECT_EQ(c.max_queue_delay_us, 100);
    EXPECT(c.preserve_ordering && c.response_cache);
    EXPECT_EQ(c.queue.max_queue_size, 7);
    EXPECT_EQ(c.queue.default_timeout_us, 2000);
    EXPECT(!c.queue.is_delay);
    EXPECT_EQ(c.queues_len, 2);
    EXPECT_EQ(c.queues[0].level, 2);
    EXPECT_EQ(c.queues[0].max_queue_size, 5);
    EXPECT(!c.queues[0].is_delay);
    EXPECT_EQ(c.queues[1].level, 1);
    EXPECT_EQ(c.queues[1].default_timeout_us, 9);
    EXPECT(c.queues[1].is_delay);
    EXPECT_EQ(c.instances, 3);
    EXPECT_EQ(c.threads, 4);
    EXPECT_EQ(c.parameters_len, 1);
    EXPECT_CSTR(c.parameters[0].value, "v");
    EXPECT_EQ(c.unused_len, 4);
    EXPECT_CSTR(c.unused[0], "instance_group.kind (line 9)");
    EXPECT_CSTR(c.unused[2], "optimization (line 13)");
    EXPECT_CSTR(c.unused[3], "sequence_batching (line 14)");
}

/* Every field of Triton's ModelConfig and of the messages that we look into: one line each, the marked ones without effect here. */
static const struct {
    const char *text;
    const char *unused; /* as it is named; NULL: taken, or what happens here anyway */
} fields[] = {
    {"name: \"m\"", NULL},
    {"platform: \"onnxruntime_onnx\"", NULL},
    {"backend: \"onnxruntime\"", NULL},
    {"runtime: \"libtriton_onnxruntime.so\"", "runtime"},
    {"version_policy { all {} }", NULL},
    {"max_batch_size: 8", NULL},
    {"input { name: \"a\" data_type: TYPE_FP32 dims: [ 2 ] format: FORMAT_NONE }", NULL},
    {"input { name: \"b\" format: FORMAT_NCHW }", "input.format"},
    {"input { name: \"b\" reshape { shape: [ 1, 2 ] } }", "input.reshape"},
    {"input { name: \"b\" is_shape_tensor: true }", "input.is_shape_tensor"},
    {"input { name: \"b\" allow_ragged_batch: true }", "input.allow_ragged_batch"},
    {"input { name: \"b\" optional: true }", "input.optional"},
    {"input { name: \"b\" is_non_linear_format_io: true }", "input.is_non_linear_format_io"},
    {"output { name: \"y\" data_type: TYPE_STRING dims: 2 label_filename: \"labels.txt\" }", NULL},
    {"output { name: \"z\" label_filename: \"classes.txt\" }", "output.label_filename"},
    {"output { name: \"z\" label_filename: \"../classes.txt\" }", "output.label_filename"},
    {"output { name: \"z\" reshape { shape: [] } }", "output.reshape"},
    {"output { name: \"z\" is_shape_tensor: false }", "output.is_shape_tensor"},
    {"output { name: \"z\" is_non_linear_format_io: false }", "output.is_non_linear_format_io"},
    {"batch_input { kind: BATCH_ELEMENT_COUNT target_name: [ \"a\" ] data_type: TYPE_FP32 source_input: \"b\" }",
     "batch_input"},
    {"batch_output { target_name: \"y\" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: \"a\" }", "batch_output"},
    {"optimization { graph { level: 1 } priority: PRIORITY_MAX cuda { graphs: true } gather_kernel_buffer_threshold: 0 "
     "}",
     "optimization"},
    {"dynamic_batching {\n preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 5 preserve_ordering: true\n"
     "priority_levels: 2 default_priority_level: 1 default_queue_policy { timeout_action: REJECT max_queue_size: 3\n"
     "default_timeout_microseconds: 7 allow_timeout_override: true }\n"
     "priority_queue_policy { key: 1 value { timeout_action: DELAY max_queue_size: 3 allow_timeout_override: false } } "
     "}",
     "dynamic_batching.priority_queue_policy.allow_timeout_override"},

    {"sequence_batching { max_sequence_idle_microseconds: 5 }", "sequence_batching"},
    {"instance_group { name: \"g\" count: 2 kind: KIND_CPU }", NULL},
    {"instance_group { kind: KIND_GPU }", "instance_group.kind"},
    {"instance_group { kind: KIND_MODEL }", "instance_group.kind"},
    {"instance_group { gpus: [ 0 ] }", "instance_group.gpus"},
    {"instance_group { rate_limiter { priority: 2 } }", "instance_group.rate_limiter"},
    {"instance_group { secondary_devices { kind: KIND_NVDLA } }", "instance_group.secondary_devices"},
    {"instance_group { profile: [ \"p\" ] }", "instance_group.profile"},
    {"instance_group { passive: true }", "instance_group.passive"},
    {"instance_group { host_policy: \"h\" }", "instance_group.host_policy"},
    {"default_model_filename: \"m.onnx\"", NULL},
    {"cc_model_filenames { key: \"7.5\" value: \"f\" }", "cc_model_filenames"},
    {"metric_tags { key: \"a\" value: \"b\" }", "metric_tags"},
    {"parameters { key: \"k\" value { string_value: \"v\" } }", NULL},
    {"model_warmup { name: \"s\" batch_size: 1 count: 2 inputs { key: \"a\" value { data_type: TYPE_FP32 dims: [ 2 ] "
     "zero_data: true } } }",
     NULL},
    {"model_operations { op_library_filename: [ \"l.so\" ] }", "model_operations"},
    {"model_transaction_policy { decoupled: true }", "model_transaction_policy"},
    {"model_repository_agents { agents { name: \"checksum\" } }", "model_repository_agents"},
    {"response_cache { enable: true }", NULL},
    {"model_metrics { metric_control {} }", "model_metrics"},
    {"max_batchsize: 3", "max_batchsize"},
};

TEST(triton_every_field_is_taken_or_named_with_its_line)
{
    char text[8192], want[200];
    size_t at = 0, n = 0;
    uint32_t line = 1, lines[ARRAY_LEN(fields)];
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "%s\n", fields[i].text);
        EXPECT(at < sizeof text);
        for (const char *p = fields[i].text; *p; p++)
            line += *p == '\n';
        lines[i] = line++;
    }
    struct triton_config c = config(text);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!fields[i].unused)
            continue;
        (void)snprintf(want, sizeof want, "%s (line %u)", fields[i].unused, lines[i]);
        if (n == c.unused_len)
            FAIL("not named: %s", want);
        EXPECT_CSTR(c.unused[n++], want);
    }
    if (n < c.unused_len)
        FAIL("named, but known: %s", c.unused[n]);
    EXPECT_EQ(c.unused_more, 0);
}

TEST(triton_values_that_are_not_ours_are_named)
{
    struct triton_config c =
        config("dynamic_batching { priority_levels: 12 default_queue_policy {\n"
               "timeout_action: LATER\nallow_timeout_override: false } }\n"
               "response_cache { enable: true more: 1 }\n"
               "ensemble_scheduling { max_inflight_requests: 3 step { model_name: \"a\" more: 1 } }");
    static const char *const want[] = {"dynamic_batching.priority_levels (line 1)",
                                       "dynamic_batching.default_queue_policy.timeout_action (line 2)",
                                       "dynamic_batching.default_queue_policy.allow_timeout_override (line 3)",
                                       "response_cache.more (line 4)",
                                       "ensemble_scheduling.max_inflight_requests (line 5)",
                                       "ensemble_scheduling.step.more (line 5)"};
    EXPECT_EQ(c.unused_len, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        EXPECT_CSTR(c.unused[i], want[i]);
}

TEST(triton_more_fields_than_are_named_are_counted)
{
    static char text[20 * (TRITON_UNUSED_MAX + 3)];
    size_t at = 0;
    for (int i = 0; i < TRITON_UNUSED_MAX + 3; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "x%d: 1\n", i);
    struct triton_config c = config(text);
    EXPECT_EQ(c.unused_len, TRITON_UNUSED_MAX);
    EXPECT_EQ(c.unused_more, 3);
}

TEST(triton_warm_up_is_read)
{
    struct triton_config c =
        config("model_warmup [ { name: \"one\" batch_size: 4 count: 2\n"
               "inputs { key: \"a\" value { data_type: TYPE_FP32 dims: [ 3, 2 ] random_data: true } }\n"
               "inputs: [ { key: \"b\" value: { data_type: TYPE_STRING input_data_file: \"b.bin\" } } ]\n"
               "}, { inputs { key: \"a\" value { zero_data: true } } } ]");
    EXPECT_EQ(c.warmups_len, 2);
    EXPECT_CSTR(c.warmups[0].name, "one");
    EXPECT(c.warmups[0].batch_size == 4 && c.warmups[0].count == 2 && c.warmups[0].inputs_len == 2);
    EXPECT(c.warmups[0].inputs[0].fill == TRITON_RANDOM && c.warmups[0].inputs[0].dims_len == 2);
    EXPECT_EQ(c.warmups[0].inputs[0].dims[1], 2);
    EXPECT_CSTR(c.warmups[0].inputs[1].data_type, "BYTES");
    EXPECT_CSTR(c.warmups[0].inputs[1].file, "b.bin");
    EXPECT_EQ(c.warmups[0].inputs[1].fill, TRITON_FILE);
    EXPECT_EQ(c.warmups[1].inputs[0].fill, TRITON_ZERO);
    EXPECT_EQ(c.unused_len, 0);
}

TEST(triton_ensembles_are_read)
{
    struct triton_config c =
        config("platform: \"ensemble\"\nensemble_scheduling { step [ {\n"
               "  model_name: \"a\" model_version: -1\n"
               "  input_map { key: \"in\" value: \"raw\" } output_map { key: \"o\" value: \"mid\" } },\n"
               "  { model_name: \"b\" model_version: 2 input_map { key: \"x\" value: \"mid\" } } ] }");
    EXPECT_EQ(c.steps_len, 2);
    EXPECT_CSTR(c.steps[0].model, "a");
    EXPECT_EQ(c.steps[0].version, -1);
    EXPECT_CSTR(c.steps[0].inputs[0].key, "in");
    EXPECT_CSTR(c.steps[0].outputs[0].value, "mid");
    EXPECT_EQ(c.steps[1].version, 2);
}

TEST(triton_errors_name_field_and_place)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"max_batch_size: \"8\"", "c:1:17: max_batch_size: expected a whole number"},
        {"max_batch_size: -1", "must not be negative"},
        {"\nname: ocr", "c:2:7: name: expected a string in quotes"},
        {"version_policy { latest { num_versions: 0 } }", "num_versions: is too small"},
        {"version_policy { all {} latest {} }", "one version policy"},
        {"platform: \"tensorrt_plan\"", "no backend of ours"},
        {"instance_group { count: 2000 }", "too many instances"},
        {"default_model_filename: \"../x.onnx\"", "a plain name"},
        {"dynamic_batching: 3", "expected a message"},
        {"response_cache { enable: maybe }", "expected true or false"},
        {"parameters { value: { string_value: \"x\" } }", "needs a key"},
        {"ensemble_scheduling { step { model_version: 1 } }", "needs a model_name"},
        {"platform: \"onnxruntime_onnx\" backend: \"tflite\"", "c:1:39: backend: platform and backend contradict"},
        {"dynamic_batching { preferred_batch_size: 1 }\ndynamic_batching { preferred_batch_size: [1, 2, 3, 4] }",
         "c:1:18: dynamic_batching: stands here more than once"},
        {"ensemble_scheduling {} ensemble_scheduling { step { model_name: \"a\" } }", "more than once"},
        {"max_batch_size: 1 max_batch_size: 2", "more than once"},
        {"dynamic_batching { default_queue_policy {} default_queue_policy {} }", "more than once"},
        {"model_warmup { inputs { key: \"a\" value { dims: 1 } } }", "needs zero_data, random_data or input_data_file"},
        {"model_warmup { inputs { key: \"a\" value { zero_data: true random_data: true } } }", "one of zero_data"},
        {"model_warmup { inputs { key: \"a\" value { zero_data: false } } }", "says false"},
        {"model_warmup { inputs { value { zero_data: true } } }", "needs a key and a value"},
        {"model_warmup { inputs { key: \"a\" value { zero_data: true } value { dims: [1, 2] zero_data: true } } }",
         "value: stands here more than once"},
        {"model_warmup { inputs { key: \"a\" value { data_type: 3 zero_data: true } } }", "a type like TYPE_FP32"},
        {"model_warmup { inputs { key: \"a\" value { dims: 0 zero_data: true } } }", "dims: is too small"},
    };
    struct triton_config c;
    arena_init(&arena, 4096, (size_t)32 << 20);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (triton_parse("c", str_c(bad[i].text), &arena, &c, &err) == ERR_OK)
            FAIL("taken: %s", bad[i].text);
        if (!strstr(err.text, bad[i].words))
            FAIL("%s: %s", bad[i].text, err.text);
    }
}

TEST(triton_numbers_are_read_as_protobuf_reads_them)
{
    static const struct {
        const char *text;
        int64_t rows;
    } cases[] = {{"max_batch_size: 010", 8}, {"max_batch_size: 0x10", 16}, {"max_batch_size: 0", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        EXPECT_EQ(config(cases[i].text).max_batch_size, cases[i].rows);
        arena_done(&arena);
    }
}
