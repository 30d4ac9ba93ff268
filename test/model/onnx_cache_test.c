/* Compiled models: the second start uses what the first one kept; whatever is wrong with it costs speed only. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/backends/onnx/onnx_int.h"
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
    struct stat st;
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
    EXPECT_EQ(entries(cache, entry, sizeof entry), 1);
    (void)snprintf(file, sizeof file, "%s/model.onnx", entry);
    EXPECT(stat(file, &st) == 0 && st.st_size > 40);
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

TEST(entries_of_other_files_stay_until_there_are_too_many)
{
    static const char *const models[] = {MODEL, "test/data/mlp.onnx", "test/data/conv.onnx",
                                         "test/data/layernorm.onnx"};
    static struct rig r;
    char entry[600], first[600];
    const char *cache = t_tmpdir();
    rig_need_engine();
    for (int i = 0; i < 4; i++) {
        EXPECT_EQ(rig_load_cached(&r, models[i], cache), ERR_OK);
        rig_free(&r);
        EXPECT_EQ(entries(cache, entry, sizeof entry), i < 3 ? i + 1 : 3);
        if (i == 0)
            memcpy(first, entry, sizeof first);
        if (i == 2) { /* used again: not the one to go */
            EXPECT_EQ(rig_load_cached(&r, models[0], cache), ERR_OK);
            rig_free(&r);
        }
    }
    EXPECT_EQ(access(first, F_OK), 0);
}

/* ---- a file that is known need not be read ---- */

static void copy(const char *from, const char *to)
{
    static char bytes[4 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "r+b");
    if (!out)
        out = fopen(to, "wb");
    EXPECT(in && out);
    size_t n = fread(bytes, 1, sizeof bytes, in);
    EXPECT_EQ(fwrite(bytes, 1, n, out), n);
    EXPECT_EQ(ftruncate(fileno(out), (off_t)n), 0);
    EXPECT_EQ(fclose(in) + fclose(out), 0);
}

/* How often the file was opened cannot be seen from outside; whether an entry knows it can. */
static int known(const char *cache)
{
    char entry[600];
    int n = 0;
    EXPECT_EQ(entries(cache, entry, sizeof entry), 1);
    DIR *d = opendir(entry);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        n += strncmp(e->d_name, "known-", 6) == 0;
    (void)closedir(d);
    return n;
}

TEST_SLOW(only_a_file_that_has_settled_is_known_by_its_times, 30)
{
    static struct rig r;
    char file[600];
    const char *cache = t_tmpdir();
    (void)snprintf(file, sizeof file, "%s/m.onnx", t_tmpdir());
    rig_need_engine();
    uint64_t before_ns = clock_now_ns();
    copy(MODEL, file);
    EXPECT_EQ(rig_load_cached(&r, file, cache), ERR_OK);
    rig_free(&r);
    if (clock_now_ns() - before_ns > 2 * NS_PER_S)
        SKIP("loading takes as long here as a file needs to settle");
    EXPECT_EQ(known(cache), 0); /* it has just been written: who knows */
    (void)sleep(4);
    EXPECT_EQ(rig_load_cached(&r, file, cache), ERR_OK);
    rig_free(&r);
    EXPECT_EQ(known(cache), 1);
    EXPECT_EQ(rig_load_cached(&r, file, cache), ERR_OK); /* from what is known */
    EXPECT(answer(&r) > 0.9f);
    EXPECT_EQ(r.desc.inputs_len, 1);
    rig_free(&r);
}

TEST_SLOW(changed_in_place_with_its_time_set_back_it_is_read_again, 30)
{
    static struct rig r;
    char file[600];
    struct stat st;
    const char *cache = t_tmpdir();
    (void)snprintf(file, sizeof file, "%s/m.onnx", t_tmpdir());
    rig_need_engine();
    copy(MODEL, file);
    (void)sleep(4);
    EXPECT_EQ(rig_load_cached(&r, file, cache), ERR_OK);
    rig_free(&r);
    EXPECT_EQ(known(cache), 1);
    EXPECT_EQ(stat(file, &st), 0);
    FILE *f = fopen(file, "r+b"); /* same inode, same size, same time of change as far as one can set it */
    EXPECT(f && fseek(f, 0, SEEK_SET) == 0 && fputs("not a model", f) >= 0 && fclose(f) == 0);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    EXPECT_EQ(utimensat(AT_FDCWD, file, times, 0), 0);
    EXPECT(rig_load_cached(&r, file, cache) != ERR_OK);
}

TEST(without_a_folder_to_write_the_model_loads_all_the_same)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load_cached(&r, MODEL, "/proc/nothing/here"), ERR_OK);
    EXPECT(answer(&r) > 0.9f);
    rig_free(&r);
}

/* ---- weights that are packed after the model serves ---- */

#define SIDE ((size_t)2900) /* a matrix of 34 MB */

/* One run; whether each column is what it ought to be. */
static void check_big(struct rig *r)
{
    static float x[SIDE];
    for (size_t i = 0; i < SIDE; i++)
        x[i] = (float)(i % 5);
    r->run.in_len = 0;
    rig_in(r, DT_FP32, x, sizeof x, 2, (int64_t[]){1, SIDE});
    EXPECT_EQ(rig_run(r), ERR_OK);
    const float *y = r->out[0].data;
    for (size_t j = 0; j < SIDE; j += 97) {
        double want = 0;
        for (size_t i = 0; i < SIDE; i++)
            want += (double)x[i] * ((double)((i + 3 * j) % 7) - 3) / 64;
        EXPECT_NEAR((double)y[j], want, 1e-3);
    }
}

TEST_SLOW(when_somebody_waits_weights_are_packed_afterwards, 60)
{
    static struct rig r;
    char file[600];
    const char *cache = t_tmpdir();
    (void)snprintf(file, sizeof file, "%s/big.onnx", t_tmpdir());
    rig_need_engine();
    rig_write_matrix(file, SIDE);
    EXPECT_EQ(rig_load_cached(&r, file, cache), ERR_OK);
    check_big(&r);
    rig_free(&r);
    EXPECT_EQ(rig_load_urgent(&r, file, cache), ERR_OK);
    struct onnx_model *m = r.instance;
    struct ort_session *first = m->session;
    EXPECT(m->has_packer);
    check_big(&r);
    for (int i = 0; i < 3000 && m->session == first; i++) {
        (void)usleep(10000);
        check_big(&r);
    }
    EXPECT(m->session != first);
    check_big(&r);
    rig_free(&r);
    EXPECT_EQ(rig_load_urgent(&r, file, cache), ERR_OK); /* unloaded while it packs */
    rig_free(&r);
    EXPECT_EQ(rig_load_cached(&r, file, cache), ERR_OK);
    EXPECT(!((struct onnx_model *)r.instance)->has_packer);
    rig_free(&r);
}
