#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "sys/fd.h"
#include "sys/slice.h"

/* In the child: moves the descriptors to 3, 4, ... First above all targets, so that none overwrites one still needed. */
static bool place_fds(const int *fds, size_t n)
{
    int high[SPAWN_FDS_MAX];
    for (size_t i = 0; i < n; i++) {
        high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3 + SPAWN_FDS_MAX);
        if (high[i] < 0)
            return false;
    }
    for (size_t i = 0; i < n; i++)
        if (dup2(high[i], 3 + (int)i) < 0)
            return false;
    return true;
}

static void set_oom_score(int score)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d", score);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* no /proc: the kernel's own judgement stands */
    (void)!write(fd, text, (size_t)n);
    (void)fd_close(fd);
}

static void child(const struct spawn *s, pid_t parent, int report_fd)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* died in between */
        _exit(127);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        (void)dup2(null, 0);
    if (s->nice_value != 0)
        (void)!nice(s->nice_value); /* a class that cannot be lowered still runs */
    slice_set(s->slice_ns);
    if (s->oom_score > 0)
        set_oom_score(s->oom_score);
    if (s->data_bytes_max > 0) {
        struct rlimit lim = {.rlim_cur = s->data_bytes_max, .rlim_max = s->data_bytes_max};
        (void)setrlimit(RLIMIT_DATA, &lim);
    }
    if (place_fds(s->fds, s->fds_len)) {
        (void)syscall(SYS_close_range, 3 + (unsigned)s->fds_len, UINT_MAX, CLOSE_RANGE_CLOEXEC); /* kernel 5.11 */
        (void)execv(s->exe, (char *const *)(uintptr_t)s->argv);
    }
    int e = errno;
    (void)!write(report_fd, &e, sizeof e);
    _exit(127);
}

static enum err_code cannot_start(int errnum, struct err *err)
{
    if (errnum == EINVAL) /* of F_DUPFD: the number asked for is over the limit */
        errnum = EMFILE;
    (void)err_sys(err, ERR_IO, errnum, "cannot start a process");
    if (errnum == EAGAIN)
        return err_remedy(err, "this user, or this control group, may have no more processes: raise the limit (ulimit "
                               "-u; TasksMax= of a systemd unit; pids.max)");
    if (errnum == ENOMEM)
        return err_remedy(err, "there is no memory for another process: serve less, or free memory");
    return err->code;
}

enum err_code spawn_child(const struct spawn *s, int *out_pid, struct err *err)
{
    CHECK(s->fds_len <= SPAWN_FDS_MAX);
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return err_sys(err, ERR_IO, errno, "cannot make a pipe");
    /* The report pipe must survive place_fds: it lies above its range. */
    int report = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, 3 + 2 * SPAWN_FDS_MAX);
    int start_errno = errno;
    (void)fd_close(pipe_fds[1]);
    pid_t parent = getpid();
    pid_t pid = -1;
    if (report >= 0) {
        pid = fork();
        start_errno = errno;
    }
    if (pid == 0)
        child(s, parent, report);
    (void)fd_close(report);
    if (pid < 0) {
        (void)fd_close(pipe_fds[0]);
        return cannot_start(start_errno, err);
    }
    int e = 0;
    ssize_t n;
    do
        n = read(pipe_fds[0], &e, sizeof e); /* ends with nothing when exec succeeded */
    while (n < 0 && errno == EINTR);
    (void)fd_close(pipe_fds[0]);
    if (n == (ssize_t)sizeof e) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) /* nobody else knows of it */
            ;
        return err_sys(err, ERR_IO, e, "cannot execute %s", s->exe);
    }
    *out_pid = pid;
    return ERR_OK;
}
