/* Any bytes as the config.pbtxt of one model in a repository, beside two whole ones. Whatever it says, the other two are served, and what it becomes is
 * either a model that holds together or a problem with a reason. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "cli/config.h"
#include "model/warmup.h"
#include "sys/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void put(const char *name, const void *bytes, size_t n)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

static void folder(const char *name)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK(mkdir(path, 0700) == 0);
}

static void leave(void)
{
    struct err err;
    CHECK(tree_remove(dir, &err) == ERR_OK);
}

static void begin(void)
{
    (void)snprintf(dir, sizeof dir, "/tmp/quern-fuzz-repo-XXXXXX");
    CHECK(mkdtemp(dir) != NULL && setenv("QUERN_DATA", dir, 1) == 0);
    static const char *const names[] = {"a", "a/1", "a/2", "b", "b/1", "m", "m/1", "m/3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        folder(names[i]);
    put("a/1/model.onnx", "", 0);
    put("a/2/model.onnx", "", 0);
    put("b/1/model.tflite", "", 0);
    put("m/1/model.onnx", "", 0);
    put("m/3/model.onnx", "", 0);
    CHECK(atexit(leave) == 0);
}

static void check_warm_up(const struct model_config *m)
{
    const struct warm_up_config *w = m->warm_up.items;
    CHECK(m->warm_up.len <= WARMUP_SAMPLES_MAX);
    for (size_t i = 0; i < m->warm_up.len; i++)
        CHECK(w[i].name && w[i].count >= 1 && w[i].batch_size >= 0 && w[i].inputs.len <= WARMUP_INPUTS_MAX);
}

static void check_model(const struct model_config *m)
{
    if (m->problem) {
        CHECK(m->problem[0] && !m->path && m->ensemble.steps.len == 0);
        return;
    }
    CHECK(m->backend && m->version && (m->path != NULL) == (m->ensemble.steps.len == 0));
    CHECK(m->instances >= 0 && m->instances <= 64 && m->priority >= 1 && m->priority <= 10);
    CHECK(m->ensemble.steps.len <= 32);
    check_warm_up(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config c;
    struct err err = {0};
    if (!dir[0])
        begin();
    put("m/config.pbtxt", data, size);
    const char *const paths[] = {dir};
    if (config_from_paths(&c, paths, 1, &err)) {
        CHECK(err.text[0]); /* a value that only the check of the whole refuses */
        return 0;
    }
    const struct model_config *models = c.models.items;
    size_t others = 0;
    for (size_t i = 0; i < c.models.len; i++) {
        check_model(&models[i]);
        others += strcmp(models[i].name, "m") != 0 && !models[i].problem;
    }
    CHECK(others == 2 && c.models.len >= 3);
    config_done(&c);
    return 0;
}
