#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "sys/fd.h"
#include "t.h"

/* Runs a line of shell with a pipe at descriptor 3 (and what else is given); returns what it wrote there. */
static struct str shell(const char *line, struct spawn *s, const int *more, size_t more_len)
{
    static char text[4096];
    struct err err;
    int pipe_fds[2], pid, fds[SPAWN_FDS_MAX];
    EXPECT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
    fds[0] = pipe_fds[1];
    for (size_t i = 0; i < more_len; i++)
        fds[1 + i] = more[i];
    s->exe = "/bin/sh";
    s->argv = (const char *const[]){"sh", "-c", line, NULL};
    s->fds = fds;
    s->fds_len = 1 + more_len;
    if (spawn_child(s, &pid, &err))
        FAIL("%s", err.text);
    (void)close(pipe_fds[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(pipe_fds[0], text + n, sizeof text - n)) > 0;)
        n += (size_t)got;
    (void)close(pipe_fds[0]);
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    return (struct str){text, n};
}

TEST(the_child_runs)
{
    struct spawn s = {0};
    EXPECT_STR(shell("echo hello >&3", &s, NULL, 0), "hello\n");
}

TEST(descriptors_come_at_fixed_numbers)
{
    struct spawn s = {0};
    int more[2];
    char name[64];
    (void)snprintf(name, sizeof name, "%s/named", t_tmpdir());
    more[0] = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    more[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    struct str out = shell("readlink /proc/self/fd/4 >&3; readlink /proc/self/fd/5 >&3", &s, more, 2);
    struct str rest, first = str_cut(out, '\n', &rest);
    EXPECT(str_ends(first, STR("/named")));
    EXPECT_STR(rest, "/dev/zero\n");
    (void)close(more[0]);
    (void)close(more[1]);
}

/* The order asked for is the reverse of the numbers they have: none may overwrite another. */
TEST(descriptors_may_stand_in_each_others_place)
{
    struct spawn s = {0};
    int more[] = {5, 4};
    int zero = fcntl(open("/dev/zero", O_RDONLY), F_DUPFD, 50), full = fcntl(open("/dev/full", O_RDONLY), F_DUPFD, 50);
    EXPECT_EQ(dup2(zero, 4), 4);
    EXPECT_EQ(dup2(full, 5), 5);
    EXPECT_STR(shell("readlink /proc/self/fd/4 >&3; readlink /proc/self/fd/5 >&3", &s, more, 2),
               "/dev/full\n/dev/zero\n");
}

TEST(all_descriptors_that_are_allowed)
{
    struct spawn s = {0};
    int more[SPAWN_FDS_MAX - 1];
    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        more[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    EXPECT_STR(shell("readlink /proc/self/fd/34 >&3", &s, more, ARRAY_LEN(more)), "/dev/null\n");
    struct err err;
    int pid;
    s.fds_len = SPAWN_FDS_MAX + 1;
    EXPECT_ABORT((void)spawn_child(&s, &pid, &err));
}

/* Nothing that was not given goes along, not even what we were started with ourselves. */
TEST(nothing_else_is_inherited)
{
    struct spawn s = {0};
    int extra = fcntl(open("/dev/zero", O_RDONLY), F_DUPFD, 200);
    struct str out = shell(
        "for f in /proc/self/fd/*; do n=${f##*/}; [ $n -le 3 ] || readlink /proc/$$/fd/$n >&3; done; :", &s, NULL, 0);
    EXPECT_STR(out, "");
    (void)close(extra);
}

TEST(stdin_is_empty)
{
    struct spawn s = {0};
    EXPECT_STR(shell("readlink /proc/self/fd/0 >&3; cat >&3", &s, NULL, 0), "/dev/null\n");
}

TEST(signals_are_as_in_a_fresh_process)
{
    struct spawn s = {0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    EXPECT_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    (void)signal(SIGPIPE, SIG_IGN);
    EXPECT_STR(shell("grep -E 'SigBlk|SigIgn' /proc/self/status >&3", &s, NULL, 0),
               "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST(a_nicer_child)
{
    struct spawn s = {.nice_value = 5};
    char want[16];
    errno = 0;
    int wanted = nice(0) + 5;
    (void)snprintf(want, sizeof want, "%d\n", wanted < 19 ? wanted : 19);
    EXPECT_STR(shell("nice >&3", &s, NULL, 0), want);
}

TEST(a_child_that_goes_first_when_memory_is_short)
{
    struct spawn s = {.oom_score = 700};
    EXPECT_STR(shell("cat /proc/self/oom_score_adj >&3", &s, NULL, 0), "700\n");
}

TEST(a_child_with_a_limit_of_memory)
{
    struct spawn s = {.data_bytes_max = 64 << 20};
    EXPECT_STR(shell("ulimit -d >&3", &s, NULL, 0), "65536\n");
}

TEST(a_failed_exec_is_told)
{
    struct err err;
    int pid = -5;
    const char *const argv[] = {"x", NULL};
    struct spawn s = {.exe = "/no/such/program", .argv = argv};
    EXPECT_EQ(spawn_child(&s, &pid, &err), ERR_IO);
    EXPECT_EQ(err.sys, ENOENT);
    EXPECT(str_contains(str_c(err.text), STR("cannot execute /no/such/program")));
    EXPECT_EQ(pid, -5);
    s.exe = "/etc/passwd";
    EXPECT_EQ(spawn_child(&s, &pid, &err), ERR_IO);
    EXPECT_EQ(err.sys, EACCES);
    EXPECT_EQ(waitpid(-1, NULL, WNOHANG), -1); /* no zombie is left: ECHILD */
    EXPECT_EQ(errno, ECHILD);
}

TEST(a_descriptor_that_is_not_open_is_told)
{
    struct err err;
    int pid, fds[] = {999};
    const char *const argv[] = {"sh", "-c", "exit 0", NULL};
    struct spawn s = {.exe = "/bin/sh", .argv = argv, .fds = fds, .fds_len = 1};
    EXPECT_EQ(spawn_child(&s, &pid, &err), ERR_IO);
    EXPECT_EQ(err.sys, EBADF);
}

TEST(the_child_dies_with_its_parent)
{
    int pipe_fds[2];
    EXPECT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct err err;
        int pid;
        const char *const argv[] = {"sleep", "60", NULL};
        struct spawn s = {.exe = "/bin/sleep", .argv = argv, .fds = &pipe_fds[1], .fds_len = 1};
        _exit(spawn_child(&s, &pid, &err) ? 1 : 0);
    }
    (void)close(pipe_fds[1]);
    int status;
    EXPECT_EQ(waitpid(parent, &status, 0), parent);
    EXPECT_EQ(status, 0);
    char byte;
    EXPECT_EQ(read(pipe_fds[0], &byte, 1), 0); /* the grandchild held the other end: its death closes it */
    (void)close(pipe_fds[0]);
}

TEST(too_few_descriptors_are_named_as_such)
{
    const char *argv[] = {"true", NULL};
    struct spawn s = {.exe = "/bin/true", .argv = argv};
    struct rlimit lim = {.rlim_cur = 32, .rlim_max = 32};
    struct err err;
    int pid;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &lim), 0);
    EXPECT_EQ(spawn_child(&s, &pid, &err), ERR_IO);
    EXPECT_EQ(err.sys, EMFILE);
    EXPECT(strstr(err.remedy, "ulimit -n") != NULL);
}
