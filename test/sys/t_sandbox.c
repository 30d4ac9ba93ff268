#include "sys/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "t.h"

static bool has_landlock(void)
{
    char text[128];
    sandbox_describe(text, sizeof text);
    return str_starts(str_c(text), STR("Landlock ABI "));
}

/* What one attempt inside gave: 0, or errno. The sandbox is irrevocable, so each runs in a child. */
static int inside(const struct sandbox *s, int (*attempt)(void))
{
    int result[2], got = -1;
    EXPECT_EQ(pipe(result), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        int e = sandbox_enter(s, &err) ? 10000 : attempt();
        (void)!write(result[1], &e, sizeof e);
        _exit(0);
    }
    (void)close(result[1]);
    ssize_t n = read(result[0], &got, sizeof got);
    (void)close(result[0]);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT_EQ(n, sizeof got);
    EXPECT(got != 10000);
    return got;
}

static char dir_read[64], dir_write[64], path[128];

static struct sandbox box(void)
{
    struct sandbox s = {0};
    (void)str_copy(dir_read, sizeof dir_read, str_c(t_tmpdir()));
    (void)str_copy(dir_write, sizeof dir_write, str_c(t_tmpdir()));
    sandbox_allow_system(&s);
    sandbox_allow_read(&s, dir_read);
    sandbox_allow_write(&s, dir_write);
    sandbox_allow_read(&s, "/no/such/path"); /* skipped */
    return s;
}

static int try_open(const char *p, int flags)
{
    int fd = open(p, flags | O_CLOEXEC, 0600);
    int e = fd < 0 ? errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return e;
}

/* ---- system calls ---- */

static int try_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
}
static int try_socket_unix(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? errno : 0;
}
static int try_execve(void)
{
    (void)execl("/bin/true", "true", (char *)NULL);
    return errno;
}
static int try_execveat(void)
{
    int fd = open("/bin/true", O_PATH);
    char *const none[] = {NULL};
    (void)syscall(SYS_execveat, fd, "", none, none, 0x1000 /* AT_EMPTY_PATH */);
    return errno;
}
static int try_kill(void)
{
    return kill(getppid(), 0) < 0 ? errno : 0;
}
static int try_tgkill(void)
{
    return syscall(SYS_tgkill, getppid(), getppid(), 0) < 0 ? errno : 0;
}
static int try_sigqueue(void)
{
    return sigqueue(getppid(), 0, (union sigval){0}) < 0 ? errno : 0;
}
static int try_prlimit(void)
{
    struct rlimit lim;
    return prlimit(getppid(), RLIMIT_NOFILE, NULL, &lim) < 0 ? errno : 0;
}
static int try_typing(void)
{
    return ioctl(2, TIOCSTI, "x") < 0 ? errno : 0; /* to the terminal, as if the user had typed */
}
static int try_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 ? errno : 0;
}
static int try_symlink(void)
{
    (void)snprintf(path, sizeof path, "%s/link", dir_write);
    return symlink("/etc", path) < 0 ? errno : 0;
}
static int try_fork(void)
{
    return syscall(SYS_fork) < 0 ? errno : 0;
}
/* The C library's fork is clone without CLONE_VM; threads are clone with CLONE_THREAD. */
static int try_clone_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid < 0 ? errno : 0;
}

TEST(no_network)
{
    struct sandbox s = box();
    EXPECT_EQ(inside(&s, try_socket), EPERM);
    EXPECT_EQ(inside(&s, try_socket_unix), EPERM);
}

TEST(no_other_programs)
{
    struct sandbox s = box();
    sandbox_allow_read(&s, "/bin");
    EXPECT_EQ(inside(&s, try_execve), EPERM);
    EXPECT_EQ(inside(&s, try_execveat), EPERM);
}

TEST(no_way_to_other_processes)
{
    struct sandbox s = box();
    EXPECT_EQ(inside(&s, try_kill), EPERM);
    EXPECT_EQ(inside(&s, try_tgkill), EPERM);
    EXPECT_EQ(inside(&s, try_sigqueue), EPERM);
    EXPECT_EQ(inside(&s, try_prlimit), EPERM);
    EXPECT_EQ(inside(&s, try_typing), EPERM);
    EXPECT_EQ(inside(&s, try_ptrace), EPERM);
#ifdef SYS_fork
    EXPECT_EQ(inside(&s, try_fork), EPERM);
#endif
}

TEST(no_new_processes)
{
    struct sandbox s = box();
    EXPECT_EQ(inside(&s, try_clone_process), EPERM);
}

TEST(no_links)
{
    struct sandbox s = box();
    EXPECT_EQ(inside(&s, try_symlink), EPERM);
}

static void *set_flag(void *arg)
{
    *(int *)arg = 1;
    return NULL;
}

static int try_thread(void)
{
    pthread_t t;
    int flag = 0, e = pthread_create(&t, NULL, set_flag, &flag);
    if (e == 0)
        (void)pthread_join(t, NULL);
    return e ? e : flag ? 0 : 10001;
}
static int try_memory(void)
{
    char *p = malloc(64 << 20);
    if (!p)
        return ENOMEM;
    memset(p, 1, 64 << 20);
    free(p);
    return 0;
}
static int try_time(void)
{
    struct timespec ts;
    return clock_gettime(CLOCK_MONOTONIC, &ts) < 0 ? errno : 0;
}

static int try_raise(void)
{
    (void)signal(SIGUSR1, SIG_IGN);
    return raise(SIGUSR1) ? errno : 0;
}
static int try_rlimit(void)
{
    struct rlimit lim;
    return getrlimit(RLIMIT_STACK, &lim) < 0 ? errno : 0;
}

TEST(what_engines_need_works)
{
    struct sandbox s = box();
    EXPECT_EQ(inside(&s, try_raise), 0); /* abort() */
    EXPECT_EQ(inside(&s, try_rlimit), 0);
    EXPECT_EQ(inside(&s, try_thread), 0);
    EXPECT_EQ(inside(&s, try_memory), 0);
    EXPECT_EQ(inside(&s, try_time), 0);
}

static int try_socket_in_thread_result;
static void *socket_in_thread(void *arg)
{
    (void)arg;
    try_socket_in_thread_result = try_socket();
    return NULL;
}
static int try_socket_in_thread(void)
{
    pthread_t t;
    if (pthread_create(&t, NULL, socket_in_thread, NULL) != 0)
        return 10001;
    (void)pthread_join(t, NULL);
    return try_socket_in_thread_result;
}

TEST(threads_to_come_are_inside_too)
{
    struct sandbox s = box();
    EXPECT_EQ(inside(&s, try_socket_in_thread), EPERM);
}

/* ---- files ---- */

static int try_read_outside(void)
{
    return try_open("/etc/passwd", O_RDONLY);
}
static int try_list_outside(void)
{
    return try_open("/etc", O_RDONLY | O_DIRECTORY);
}
static int try_write_outside(void)
{
    return try_open("/tmp/quern-sandbox-test", O_WRONLY | O_CREAT);
}
static int try_read_allowed(void)
{
    (void)snprintf(path, sizeof path, "%s/f", dir_read);
    return try_open(path, O_RDONLY);
}
static int try_list_allowed(void)
{
    return try_open(dir_read, O_RDONLY | O_DIRECTORY);
}
static int try_write_read_only(void)
{
    (void)snprintf(path, sizeof path, "%s/f", dir_read);
    return try_open(path, O_WRONLY);
}
static int try_create_read_only(void)
{
    (void)snprintf(path, sizeof path, "%s/new", dir_read);
    return try_open(path, O_WRONLY | O_CREAT);
}
static int try_remove_read_only(void)
{
    (void)snprintf(path, sizeof path, "%s/f", dir_read);
    return unlink(path) < 0 ? errno : 0;
}
static int try_create_writable(void)
{
    (void)snprintf(path, sizeof path, "%s/new", dir_write);
    return try_open(path, O_RDWR | O_CREAT | O_TRUNC);
}
static int try_remove_writable(void)
{
    (void)snprintf(path, sizeof path, "%s/new", dir_write);
    int e = try_create_writable();
    return e ? e : unlink(path) < 0 ? errno : 0;
}
static int try_leave_by_dots(void)
{
    (void)snprintf(path, sizeof path, "%s/../../../../etc/passwd", dir_write);
    return try_open(path, O_RDONLY);
}
static int try_other_process_memory(void)
{
    (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)getppid());
    return try_open(path, O_RDONLY);
}
static int try_libc(void)
{
    return try_open("/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY);
}

static struct sandbox box_with_files(void)
{
    if (!has_landlock())
        SKIP("this kernel has no Landlock: paths are not limited");
    struct sandbox s = box();
    (void)snprintf(path, sizeof path, "%s/f", dir_read);
    FILE *f = fopen(path, "w");
    EXPECT(f && fclose(f) == 0);
    return s;
}

TEST(files_outside_cannot_be_opened)
{
    struct sandbox s = box_with_files();
    EXPECT_EQ(inside(&s, try_read_outside), EACCES);
    EXPECT_EQ(inside(&s, try_list_outside), EACCES);
    EXPECT_EQ(inside(&s, try_write_outside), EACCES);
    EXPECT_EQ(inside(&s, try_leave_by_dots), EACCES);
    EXPECT_EQ(inside(&s, try_other_process_memory), EACCES);
    EXPECT_EQ(access("/tmp/quern-sandbox-test", F_OK), -1);
}

TEST(allowed_folders_can_be_read_only)
{
    struct sandbox s = box_with_files();
    EXPECT_EQ(inside(&s, try_read_allowed), 0);
    EXPECT_EQ(inside(&s, try_list_allowed), 0);
    EXPECT_EQ(inside(&s, try_write_read_only), EACCES);
    EXPECT_EQ(inside(&s, try_create_read_only), EACCES);
    EXPECT_EQ(inside(&s, try_remove_read_only), EACCES);
}

TEST(writable_folders_can_be_written)
{
    struct sandbox s = box_with_files();
    EXPECT_EQ(inside(&s, try_create_writable), 0);
    EXPECT_EQ(inside(&s, try_remove_writable), 0);
}

TEST(single_files_can_be_allowed)
{
    struct sandbox s = box_with_files();
    char file[128];
    (void)snprintf(file, sizeof file, "%s/f", dir_read);
    struct sandbox only = {0};
    sandbox_allow_read(&only, file);
    EXPECT_EQ(inside(&only, try_read_allowed), 0);
    EXPECT_EQ(inside(&only, try_list_allowed), EACCES);
    if (access("/lib/x86_64-linux-gnu/libc.so.6", R_OK) == 0) {
        EXPECT_EQ(inside(&only, try_libc), EACCES);
        EXPECT_EQ(inside(&s, try_libc), 0);
    }
}

TEST(too_many_paths_are_a_programmers_error)
{
    struct sandbox s = {0};
    for (int i = 0; i < SANDBOX_PATHS_MAX; i++) {
        sandbox_allow_read(&s, "/");
        sandbox_allow_write(&s, "/");
    }
    EXPECT_ABORT(sandbox_allow_read(&s, "/"));
    EXPECT_ABORT(sandbox_allow_write(&s, "/"));
}

TEST(the_kernels_means_are_told)
{
    char text[128], tiny[5];
    sandbox_describe(text, sizeof text);
    EXPECT(str_contains(str_c(text), STR("Landlock")));
    EXPECT(str_contains(str_c(text), STR("seccomp")));
    sandbox_describe(tiny, sizeof tiny);
    EXPECT_EQ(strlen(tiny), 4);
}
