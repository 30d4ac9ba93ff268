/* What a folder's config.pbtxt makes of our settings. */
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
