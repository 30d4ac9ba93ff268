/* What a TensorFlow Lite model or its engine must not do: talk to the network, write files, start threads, write to standard error; and what damaged
 * files must not do to us. */
#include "t.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/rand.h"
#include "model/engine.h"
#include "model/tflite_file.h"
#include "sys/fd.h"
#include "tflite_rig.h"

static struct lite_rig r;

static unsigned count_entries(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d != NULL)
        (void)closedir(d);
    return n;
}

/* Open descriptors; those of packed weights, which are memory, apart. */
static unsigned count_fds(unsigned *weights)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;
    EXPECT(d != NULL);
    *weights = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char target[256] = "";
        if (e->d_name[0] == '.')
            continue;
        (void)!readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
        bool is_memory = strncmp(target, "/memfd:quern-weights", 20) == 0;
        *weights += is_memory;
        n += !is_memory;
    }
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

TEST(lite_engine_opens_no_socket_writes_nothing_starts_no_thread)
{
    char path[1280], said[1100];
    static const float x[4] = {5.1f, 3.5f, 1.4f, 0.2f};
    lite_need_engine();
    EXPECT_EQ(engine_find("litert", NULL, path, sizeof path, &r.err), ERR_OK);
    *strstr(path, "/litert/2.3.0") = 0; /* the place, which HOME will no longer lead to */
    const char *home = t_tmpdir();
    EXPECT_EQ(setenv("QUERN_ENGINE_DIR", path, 1), 0);
    EXPECT_EQ(setenv("HOME", home, 1), 0);
    EXPECT_EQ(setenv("XDG_CACHE_HOME", home, 1), 0);
    EXPECT_EQ(setenv("TMPDIR", home, 1), 0);
    (void)snprintf(said, sizeof said, "%s.stderr", home);
    int log = open(said, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    EXPECT(log >= 0 && dup2(log, STDERR_FILENO) == STDERR_FILENO);
    unsigned weights, threads = count_entries("/proc/self/task"), fds = count_fds(&weights);
    EXPECT(forbid_sockets());
    EXPECT_EQ(lite_load(&r, "mlp", NULL), ERR_OK);
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){1, 4});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    (void)usleep(200000);
    EXPECT_EQ(count_entries("/proc/self/task"), threads);
    EXPECT_EQ(count_fds(&weights), fds);
    EXPECT(weights >= 1);
    EXPECT_EQ(count_entries(home), 0);
    struct stat st;
    EXPECT_EQ(fstat(log, &st), 0);
    EXPECT_EQ(st.st_size, 0);
    (void)unlink(said);
    lite_free(&r);
    EXPECT_EQ(count_fds(&weights), fds);
    EXPECT_EQ(weights, 0);
}

/* Loads and runs a file in a child: 0 = served or refused, else the wait status. */
static int try_file(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (dup2(nowhere, STDERR_FILENO) < 0) /* the engine complains of damaged files in its own words */
            _exit(7);
        enum err_code code = lite_load_path(&r, path, NULL);
        if (code == ERR_OK)
            code = model_desc_check(&r.desc, &r.err);
        _exit(code != ERR_OK && r.err.text[0] == 0 ? 8 : 0);
    }
    int status = 0;
    (void)waitpid(pid, &status, 0);
    return status;
}

/* Only files that pass our own check reach the engine; those must not bring it down. */
TEST_SLOW(lite_damaged_files_are_refused_or_served_never_worse, 60)
{
    static const char *const names[] = {"mlp", "conv_int8", "two_signatures", "slow_loop", "sparse"};
    static struct tflite_info info;
    struct arena a;
    char path[1024];
    unsigned tried = 0;
    lite_need_engine();
    const char *dir = t_tmpdir();
    (void)snprintf(path, sizeof path, "%s/changed.tflite", dir);
    arena_init(&a, 65536, 1 << 20);
    struct backend_load opt = {.name = "test"};
    EXPECT_EQ(backend_by_name(STR("tflite"))->engine_open(&opt, &r.err), ERR_OK); /* once, for all children */
    rand_seed(5);
    for (unsigned i = 0; tried < 200 && i < 20000; i++) {
        char from[64];
        struct str whole;
        (void)snprintf(from, sizeof from, "test/data/%s.tflite", names[i % ARRAY_LEN(names)]);
        arena_reset(&a);
        EXPECT_EQ(file_read(from, 1 << 20, &a, &whole, &r.err), ERR_OK);
        char *bytes = (char *)(uintptr_t)whole.p;
        bytes[rand_below(whole.n)] = (char)rand_u64();
        if (tflite_check(whole, NULL, &info, &r.err) != ERR_OK)
            continue;
        tried++;
        EXPECT_EQ(file_replace(path, whole, false, &r.err), ERR_OK);
        int status = try_file(path);
        if (status != 0)
            FAIL("change %u of %s: status %d", i, from, status);
    }
    EXPECT_EQ(tried, 200);
    arena_done(&a);
}
