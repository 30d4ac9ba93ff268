/* What a model or its engine must not do: talk to the network, write files, start threads; and what damaged files must not do to us. */
#include "t.h"

#include <dirent.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "model/engine.h"
#include "onnx_rig.h"
#include "sys/fd.h"

static struct rig r;

static unsigned count_entries(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d != NULL)
        (void)closedir(d);
    return n;
}

/* Any attempt to make a socket kills the process from now on. */
static bool forbid_sockets(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = ARRAY_LEN(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

TEST(engine_opens_no_socket_writes_no_file_starts_no_thread)
{
    char path[1280];
    rig_need_engine();
    EXPECT_EQ(engine_find("onnxruntime", NULL, path, sizeof path, &r.err), ERR_OK);
    *strstr(path, "/onnxruntime/1.32.0") = 0; /* the place, which HOME will no longer lead to */
    const char *home = t_tmpdir();
    EXPECT_EQ(setenv("QUERN_ENGINE_DIR", path, 1), 0);
    EXPECT_EQ(setenv("HOME", home, 1), 0);
    EXPECT_EQ(setenv("XDG_CACHE_HOME", home, 1), 0);
    EXPECT_EQ(setenv("TMPDIR", home, 1), 0);
    EXPECT_EQ(unsetenv("ORT_DISABLE_TELEMETRY"), 0);
    unsigned threads = count_entries("/proc/self/task"), fds = count_entries("/proc/self/fd");
    EXPECT(forbid_sockets());
    EXPECT_EQ(rig_load(&r, "test/data/iris.onnx", NULL), ERR_OK);
    static const float x[4] = {5.1f, 3.5f, 1.4f, 0.2f};
    rig_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){1, 4});
    EXPECT_EQ(rig_run(&r), ERR_OK);
    EXPECT_CSTR(getenv("ORT_DISABLE_TELEMETRY"), "1");
    (void)usleep(500000); /* the engine's telemetry writes its files at once, and asks for its server's address later */
    EXPECT_EQ(count_entries("/proc/self/task"), threads);
    EXPECT_EQ(count_entries("/proc/self/fd"), fds);
    EXPECT_EQ(count_entries(home), 0);
    char hidden[1100];
    (void)snprintf(hidden, sizeof hidden, "%s/.cache", home);
    EXPECT(access(hidden, F_OK) < 0);
    rig_free(&r);
}

/* Loads a file with one flipped bit, in a child: 0 = served or refused, else the wait status. */
static int load_flipped(const char *dir, struct str whole, size_t bit)
{
    char path[1024];
    pid_t pid = fork();
    if (pid == 0) {
        char *copy = malloc(whole.n);
        memcpy(copy, whole.p, whole.n);
        copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
        (void)snprintf(path, sizeof path, "%s/flipped.onnx", dir);
        if (file_replace(path, (struct str){copy, whole.n}, false, &r.err) != ERR_OK)
            _exit(9);
        enum err_code code = rig_load(&r, path, dir);
        if (code == ERR_OK) {
            backend_probe_batching(r.b, r.instance, &r.desc, NS_PER_S);
            code = model_desc_check(&r.desc, &r.err);
        }
        _exit(code != ERR_OK && r.err.text[0] == 0 ? 8 : 0);
    }
    int status = 0;
    (void)waitpid(pid, &status, 0);
    return status;
}

TEST_SLOW(damaged_files_are_refused_or_served_never_worse, 60)
{
    struct arena a;
    struct str whole;
    rig_need_engine();
    const char *dir = t_tmpdir();
    arena_init(&a, 65536, 1 << 20);
    EXPECT_EQ(file_read("test/data/iris.onnx", 1 << 20, &a, &whole, &r.err), ERR_OK);
    struct backend_load opt = {.name = "test"};
    EXPECT_EQ(backend_by_name(STR("onnx"))->engine_open(&opt, &r.err), ERR_OK); /* once, for all children */
    for (size_t bit = 3; bit < whole.n * 8; bit += 41) {
        int status = load_flipped(dir, whole, bit);
        if (status != 0)
            FAIL("bit %zu flipped: status %d", bit, status);
    }
    arena_done(&a);
}
