/* Where the settings of a model come from. */
#include "cli/config_explain.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/leaves.h"
#include "t.h"

static struct config config;
static struct arena arena;

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    EXPECT(f != NULL);
    EXPECT(fputs(text, f) >= 0);
    EXPECT_EQ(fclose(f), 0);
}

static struct leaves explain(size_t model)
{
    struct leaves l;
    struct err err;
    struct json_writer w;
    struct buf text;
    buf_init(&text, 1 << 20);
    jw_init(&w, &text);
    config_explain(&config, &((const struct model_config *)config.models.items)[model], &w);
    buf_pad(&text);
    arena_init(&arena, 65536, 16 << 20);
    if (leaves_read(buf_view(&text), &arena, &l, &err) != ERR_OK)
        FAIL("%s", err.text);
    buf_done(&text);
    return l;
}

static void expect(const struct leaves *l, const char *key, const char *value, const char *from, int line)
{
    for (int i = 0; i < (int)leaf_number(l, "settings.#"); i++) {
        if (strcmp(leaf_text_at(l, "settings.%d.key", i), key) != 0)
            continue;
        EXPECT_CSTR(leaf_text_at(l, "settings.%d.value", i), value);
        EXPECT_CSTR(leaf_text_at(l, "settings.%d.from", i), from);
        EXPECT_EQ((int)leaf_number_at(l, "settings.%d.line", i), line);
        return;
    }
    FAIL("%s is not told", key);
}

TEST(lines_defaults_and_what_follows_are_told_apart)
{
    char path[512];
    struct err err;
    (void)snprintf(path, sizeof path, "%s/q.yaml", t_tmpdir());
    write_file(path, "models:\n"
                     "  one: {path: \"builtin:identity\", queue_max: 1024}\n"
                     "  two:\n"
                     "    path: builtin:identity\n"
                     "    batching:\n"
                     "      sizes: [2, 4]\n"
                     "  three: {backend: identity}\n");
    if (config_load(&config, path, &err))
        FAIL("%s", err.text);
    struct leaves l = explain(0);
    EXPECT_CSTR(leaf_text(&l, "file"), path);
    expect(&l, "queue_max", "1024", "file", 2); /* said, though it is the default */
    expect(&l, "priority", "1", "default", 0);
    expect(&l, "backend", "identity", "inferred", 0);
    expect(&l, "class", "high", "inferred", 0);
    expect(&l, "version", "1", "default", 0);
    arena_done(&arena);
    l = explain(1);
    expect(&l, "batching.sizes", "[2, 4]", "file", 6);
    expect(&l, "batching.delay", "0s", "default", 0);
    arena_done(&arena);
    l = explain(2);
    expect(&l, "path", "", "default", 0); /* nothing was given, nor found anywhere */
    arena_done(&arena);
    config_done(&config);
}

TEST(a_folder_with_config_pbtxt_and_the_command_line)
{
    char path[600];
    struct err err;
    const char *root = t_tmpdir();
    (void)snprintf(path, sizeof path, "%s/m", root);
    EXPECT_EQ(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/m/7", root);
    EXPECT_EQ(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/m/7/model.onnx", root);
    write_file(path, "not read here");
    (void)snprintf(path, sizeof path, "%s/m/config.pbtxt", root);
    write_file(path, "max_batch_size: 8\ndynamic_batching {}\n");
    const char *const paths[] = {root};
    if (config_from_paths(&config, paths, 1, &err) ||
        config_set(&config, "models.*.instances", "3", "--instances", &err))
        FAIL("%s", err.text);
    struct leaves l = explain(0);
    EXPECT_CSTR(leaf_text(&l, "file"), "");
    EXPECT_CSTR(leaf_text(&l, "pbtxt"), path);
    expect(&l, "max_batch", "8", "config.pbtxt", 0);
    expect(&l, "instances", "3", "command line", 0);
    expect(&l, "version", "7", "inferred", 0);
    expect(&l, "backend", "onnx", "inferred", 0);
    expect(&l, "path", arena_printf(&arena, "%s/m/7/model.onnx", root).p, "inferred", 0);
    arena_done(&arena);
    config_done(&config);
}

TEST(long_values_are_cut)
{
    char path[512];
    struct err err;
    struct buf yaml;
    (void)snprintf(path, sizeof path, "%s/q.yaml", t_tmpdir());
    buf_init(&yaml, 1 << 16);
    buf_c(&yaml, "models: {m: {path: \"builtin:identity\", parameters: {dims: \"");
    for (int i = 0; i < 300; i++)
        buf_c(&yaml, "1,");
    buf_c(&yaml, "1\"}}}\n");
    buf_char(&yaml, '\0');
    write_file(path, yaml.p);
    buf_done(&yaml);
    if (config_load(&config, path, &err))
        FAIL("%s", err.text);
    struct leaves l = explain(0);
    for (int i = 0; i < (int)leaf_number(&l, "settings.#"); i++)
        EXPECT(strlen(leaf_text_at(&l, "settings.%d.value", i)) <= EXPLAIN_VALUE_MAX + 3);
    arena_done(&arena);
    config_done(&config);
}
