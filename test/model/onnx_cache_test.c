/* Compiled models: the second start uses what the first one kept; whatever is wrong with it costs speed only. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "onnx_rig.h"
#include "t.h"

#define MODEL "test/data/iris.onnx"

static float answer(struct rig *r)
{
    static const float flower[4] = {5.1f, 3.5f, 1.4f, 0.2f};
    rig_in(r, DT_FP32, flower, sizeof flower, 2, (int64_t[]){1, 4});
    EXPECT_EQ(rig_run(r), ERR_OK);
    EXPECT_EQ(*(int64_t *)r->out[0].data, 0);
    return ((const float *)r->out[1].data)[0];
}

/* The only entry's folder; the number of entries. */
static int entries(const char *cache, char *path, size_t path_size)
{
    DIR *d = opendir(cache);
    struct dirent *e;
    int n = 0;
    EXPECT(d != NULL);
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        n++;
        (void)snprintf(path, path_size, "%s/%s", cache, e->d_name);
    }
    (void)closedir(d);
    return n;
}

TEST(compiled_model_is_kept_and_answers_the_same)
{
    static struct rig plain, first, second;
    char entry[600], file[700];
    struct stat before, after;
    const char *cache = t_tmpdir();
    rig_need_engine();
    EXPECT_EQ(rig_load(&plain, MODEL, NULL), ERR_OK);
    EXPECT_EQ(rig_load_cached(&first, MODEL, cache), ERR_OK);
    EXPECT_EQ(entries(cache, entry, sizeof entry), 1);
    (void)snprintf(file, sizeof file, "%s/model.onnx", entry);
    EXPECT_EQ(stat(file, &before), 0);
    EXPECT_EQ(rig_load_cached(&second, MODEL, cache), ERR_OK);
    EXPECT_EQ(stat(file, &after), 0);
    EXPECT_EQ(before.st_ino, after.st_ino); /* used, not made again */
    float p = answer(&plain);
    EXPECT_NEAR(answer(&first), p, 1e-6);
    EXPECT_NEAR(answer(&second), p, 1e-6);
    EXPECT_EQ(memcmp(plain.desc.outputs, second.desc.outputs, sizeof plain.desc.outputs), 0);
    EXPECT_EQ(memcmp(plain.desc.inputs, second.desc.inputs, sizeof plain.desc.inputs), 0);
    rig_free(&plain);
    rig_free(&first);
    rig_free(&second);
}

TEST(spoiled_entry_is_replaced)
{
    static struct rig r;
    char entry[600], file[700];
    const char *cache = t_tmpdir();
    rig_need_engine();
    EXPECT_EQ(rig_load_cached(&r, MODEL, cache), ERR_OK);
    rig_free(&r);
    EXPECT_EQ(entries(cache, entry, sizeof entry), 1);
    (void)snprintf(file, sizeof file, "%s/model.onnx", entry);
    EXPECT_EQ(truncate(file, 40), 0);
    EXPECT_EQ(rig_load_cached(&r, MODEL, cache), ERR_OK);
    EXPECT(answer(&r) > 0.9f);
    rig_free(&r);
    EXPECT_EQ(entries(cache, entry, sizeof entry), 0); /* removed; the next start makes a new one */
    EXPECT_EQ(rig_load_cached(&r, MODEL, cache), ERR_OK);
    EXPECT_EQ(entries(cache, entry, sizeof entry), 1);
    rig_free(&r);
}

TEST(spoiled_knowledge_is_learned_anew)
{
    static struct rig r;
    char entry[600], file[700];
    const char *cache = t_tmpdir();
    rig_need_engine();
    EXPECT_EQ(rig_load_cached(&r, MODEL, cache), ERR_OK);
    rig_free(&r);
    EXPECT_EQ(entries(cache, entry, sizeof entry), 1);
    (void)snprintf(file, sizeof file, "%s/learned", entry);
    EXPECT_EQ(truncate(file, 100), 0);
    EXPECT_EQ(rig_load_cached(&r, MODEL, cache), ERR_OK);
    EXPECT(answer(&r) > 0.9f);
    rig_free(&r);
}

TEST(another_model_in_the_same_folder_takes_its_place)
{
    static struct rig r;
    char first[600], second[600];
    const char *cache = t_tmpdir();
    rig_need_engine();
    EXPECT_EQ(rig_load_cached(&r, MODEL, cache), ERR_OK);
    rig_free(&r);
    EXPECT_EQ(entries(cache, first, sizeof first), 1);
    EXPECT_EQ(rig_load_cached(&r, "test/data/mlp.onnx", cache), ERR_OK);
    rig_free(&r);
    EXPECT_EQ(entries(cache, second, sizeof second), 1);
    EXPECT(strcmp(first, second) != 0);
}

TEST(without_a_folder_to_write_the_model_loads_all_the_same)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load_cached(&r, MODEL, "/proc/nothing/here"), ERR_OK);
    EXPECT(answer(&r) > 0.9f);
    rig_free(&r);
}
