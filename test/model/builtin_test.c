#include "t.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "model/backend.h"

/* One built-in model with room for a run. */
struct rig {
    const struct backend *b;
    void *instance;
    struct model_desc desc;
    struct backend_tensor in, out;
    struct backend_run run;
    struct err err;
};

static _Alignas(64) unsigned char out_area[1 << 16];

static enum err_code rig_load(struct rig *r, const char *kind, const struct backend_param *params, size_t n)
{
    memset(r, 0, sizeof *r);
    r->b = backend_by_name(str_c(kind));
    if (r->b == NULL)
        return err_set(&r->err, ERR_NOT_FOUND, "no backend %s", kind);
    struct backend_load opt = {.name = "test", .params = params, .params_len = n};
    enum err_code code = r->b->load(&opt, &r->instance, &r->err);
    return code == ERR_OK ? r->b->describe(r->instance, &r->desc, &r->err) : code;
}

static enum err_code rig_run(struct rig *r, void *data, size_t bytes, int ndim, const int64_t *dims)
{
    r->in = (struct backend_tensor){
        .dtype = (enum dtype)r->desc.inputs[0].dtype, .ndim = ndim, .data = data, .bytes = bytes};
    memcpy(r->in.dims, dims, (size_t)ndim * sizeof *dims);
    r->out = (struct backend_tensor){0};
    r->run = (struct backend_run){.in = &r->in,
                                  .in_len = 1,
                                  .in_base = data,
                                  .out = &r->out,
                                  .out_len = 1,
                                  .out_base = out_area,
                                  .out_cap = sizeof out_area,
                                  .rows = (uint32_t)dims[0]};
    return r->b->run(r->instance, &r->run, &r->err);
}

TEST(identity_copies)
{
    struct rig r;
    static const struct backend_param params[] = {{"dims", "2,2"}};
    EXPECT_EQ(rig_load(&r, "identity", params, 1), ERR_OK);
    EXPECT_EQ(model_desc_check(&r.desc, &r.err), ERR_OK);
    EXPECT_EQ(r.desc.inputs[0].ndim, 3);
    EXPECT_EQ(r.desc.may_share, 1);
    EXPECT_EQ(r.desc.max_batch, 64);
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    EXPECT_EQ(rig_run(&r, x, sizeof x, 3, (int64_t[]){2, 2, 2}), ERR_OK);
    EXPECT_EQ(r.out.bytes, sizeof x);
    for (int i = 0; i < 8; i++)
        EXPECT_NEAR(((const float *)r.out.data)[i], x[i], 0);
    r.b->unload(r.instance);
}

TEST(identity_copies_strings)
{
    struct rig r;
    static const struct backend_param params[] = {{"datatype", "BYTES"}};
    EXPECT_EQ(rig_load(&r, "identity", params, 1), ERR_OK);
    struct {
        struct bytes_ref refs[3];
        char text[8];
    } in = {{{24, 2}, {26, 0}, {26, 3}}, "abxyz"};
    EXPECT_EQ(rig_run(&r, &in, sizeof in.refs, 2, (int64_t[]){3, 1}), ERR_OK);
    const struct bytes_ref *out = r.out.data;
    EXPECT_STR(((struct str){(char *)out_area + out[0].off, out[0].len}), "ab");
    EXPECT_EQ(out[1].len, 0);
    EXPECT_STR(((struct str){(char *)out_area + out[2].off, out[2].len}), "xyz");
    r.b->unload(r.instance);
}

TEST(repeat_repeats_within_each_row)
{
    struct rig r;
    static const struct backend_param params[] = {{"times", "3"}, {"datatype", "INT32"}, {"dims", "2"}};
    EXPECT_EQ(rig_load(&r, "repeat", params, 3), ERR_OK);
    EXPECT_EQ(r.desc.outputs[0].dims[1], 6);
    int32_t x[4] = {1, 2, 3, 4};
    EXPECT_EQ(rig_run(&r, x, sizeof x, 2, (int64_t[]){2, 2}), ERR_OK);
    EXPECT_EQ(r.out.dims[1], 6);
    static const int32_t want[12] = {1, 2, 1, 2, 1, 2, 3, 4, 3, 4, 3, 4};
    EXPECT_EQ(r.out.bytes, sizeof want);
    EXPECT_EQ(memcmp(r.out.data, want, sizeof want), 0);
    r.b->unload(r.instance);
}

TEST(output_over_the_block_is_refused)
{
    struct rig r;
    EXPECT_EQ(rig_load(&r, "identity", NULL, 0), ERR_OK);
    static unsigned char big[sizeof out_area + 4];
    EXPECT_EQ(rig_run(&r, big, sizeof big, 2, (int64_t[]){1, sizeof big / 4}), ERR_TOO_LARGE);
    r.b->unload(r.instance);
}

TEST(bad_parameters_are_named)
{
    struct rig r;
    static const struct backend_param unknown[] = {{"dimz", "1"}}, dims[] = {{"dims", "3,0"}},
                                      type[] = {{"datatype", "F"}}, delay[] = {{"execute_delay_ms", "-1"}};
    EXPECT_EQ(rig_load(&r, "identity", unknown, 1), ERR_INVALID);
    EXPECT(strstr(r.err.text, "dimz") != NULL);
    EXPECT(strstr(r.err.remedy, "datatype") != NULL);
    EXPECT_EQ(rig_load(&r, "identity", dims, 1), ERR_INVALID);
    EXPECT_EQ(rig_load(&r, "identity", type, 1), ERR_INVALID);
    EXPECT_EQ(rig_load(&r, "identity", delay, 1), ERR_INVALID);
}

static void on_alarm(int sig)
{
    (void)sig;
}

TEST(delay_waits_through_signals)
{
    struct rig r;
    static const struct backend_param params[] = {{"execute_delay_ms", "60"}};
    EXPECT_EQ(rig_load(&r, "delay", params, 1), ERR_OK);
    struct sigaction act = {.sa_handler = on_alarm};
    (void)sigaction(SIGUSR1, &act, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)usleep(20000);
        (void)kill(getppid(), SIGUSR1);
        _exit(0);
    }
    float x = 1;
    uint64_t t = clock_now_ns();
    EXPECT_EQ(rig_run(&r, &x, sizeof x, 2, (int64_t[]){1, 1}), ERR_OK);
    EXPECT(clock_now_ns() - t >= 60 * NS_PER_MS);
    (void)waitpid(pid, NULL, 0);
    r.b->unload(r.instance);
}

/* How a run of the crash model with one bad row ends, in a process of its own. */
static int crash_status(const char *how, float first)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rig r;
        (void)signal(SIGSEGV, SIG_DFL); /* the sanitizer's handlers would turn the signal into an exit */
        (void)signal(SIGABRT, SIG_DFL);
        const struct backend_param params[] = {{"how", how}, {"leak_mib", "1"}};
        if (rig_load(&r, "crash", params, 2) != ERR_OK)
            _exit(99);
        float x[2] = {1, first};
        if (rig_run(&r, x, sizeof x, 2, (int64_t[]){2, 1}) != ERR_OK)
            _exit(98);
        _exit(r.out.dims[0] == 2 ? 0 : 97);
    }
    int status = 0;
    if (strcmp(how, "hang") == 0) {
        (void)usleep(100000);
        bool is_running = waitpid(pid, &status, WNOHANG) == 0;
        (void)kill(pid, SIGKILL);
        if (!is_running)
            return -1;
    }
    (void)waitpid(pid, &status, 0);
    return status;
}

TEST(crash_crashes_on_its_number_only)
{
    EXPECT_EQ(crash_status("segv", 5), 0);
    int s = crash_status("segv", 666);
    EXPECT(WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV);
    s = crash_status("abort", 666);
    EXPECT(WIFSIGNALED(s) && WTERMSIG(s) == SIGABRT);
    s = crash_status("exit", 666);
    EXPECT(WIFEXITED(s) && WEXITSTATUS(s) == 3);
    s = crash_status("hang", 666);
    EXPECT(WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL);
    EXPECT_EQ(crash_status("leak", 666), 0);
    s = crash_status("lie", 666);
    EXPECT(WIFEXITED(s) && WEXITSTATUS(s) == 97);
}

TEST(table_of_backends)
{
    EXPECT(backend_by_name(STR("crash")) != NULL);
    EXPECT(backend_by_name(STR("nonsense")) == NULL);
    EXPECT_CSTR(backend_by_path(STR("/a/b.onnx"))->name, "onnx");
    EXPECT(backend_by_path(STR("/a/b.txt")) == NULL);
    /* The list for error texts has each name, in order. */
    struct str rest = str_c(backend_names());
    while (rest.n > 0)
        EXPECT(backend_by_name(str_trim(str_cut(rest, ',', &rest))) != NULL);
}
