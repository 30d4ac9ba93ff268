#include "sys/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "t.h"

static const char *path_in(const char *dir, const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *p = paths[next++ % 4];
    (void)snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    EXPECT(f && fputs(text, f) >= 0);
    EXPECT_EQ(fclose(f), 0);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

TEST(close_leaves_no_stale_number)
{
    int fd = open("/dev/null", O_RDONLY), same = fd;
    fd = fd_close(fd);
    EXPECT_EQ(fd, -1);
    EXPECT(!is_open(same));
    EXPECT_EQ(fd_close(-1), -1);
}

TEST(auto_fd_closes_at_the_end_of_its_block)
{
    int same;
    {
        AUTO_FD fd = open("/dev/null", O_RDONLY);
        same = fd;
        EXPECT(is_open(same));
    }
    EXPECT(!is_open(same));
}

TEST(flags)
{
    struct err err;
    AUTO_FD fd = open("/dev/null", O_RDONLY);
    EXPECT_EQ(fd_set_nonblock(fd, &err), ERR_OK);
    EXPECT(fcntl(fd, F_GETFL) & O_NONBLOCK);
    EXPECT_EQ(fd_set_nonblock(-1, &err), ERR_IO);
    EXPECT_EQ(err.sys, EBADF);
}

/* ---- whole files ---- */

TEST(file_read_takes_all)
{
    struct arena a;
    struct str s;
    struct err err;
    const char *path = path_in(t_tmpdir(), "f");
    arena_init(&a, 256, 1 << 20);
    put(path, "hello\n");
    EXPECT_EQ(file_read(path, 6, &a, &s, &err), ERR_OK);
    EXPECT_STR(s, "hello\n");
    EXPECT_EQ(s.p[s.n], '\0');
    put(path, "");
    EXPECT_EQ(file_read(path, 0, &a, &s, &err), ERR_OK);
    EXPECT_EQ(s.n, 0);
    EXPECT_EQ(s.p[0], '\0');
    arena_done(&a);
}

TEST(file_read_has_a_limit)
{
    struct arena a;
    struct str s;
    struct err err;
    const char *path = path_in(t_tmpdir(), "f");
    arena_init(&a, 256, 1024);
    put(path, "hello\n");
    EXPECT_EQ(file_read(path, 5, &a, &s, &err), ERR_TOO_LARGE);
    EXPECT(str_contains(str_c(err.text), STR("has 6 bytes, more than the limit of 5")));
    EXPECT_EQ(truncate(path, 4096), 0);
    EXPECT_EQ(file_read(path, 1 << 20, &a, &s, &err), ERR_TOO_LARGE); /* the arena's own limit */
    arena_done(&a);
}

TEST(file_read_takes_regular_files_only)
{
    struct arena a;
    struct str s;
    struct err err;
    const char *dir = t_tmpdir(), *fifo = path_in(dir, "fifo");
    arena_init(&a, 256, 1 << 20);
    EXPECT_EQ(file_read(path_in(dir, "none"), 10, &a, &s, &err), ERR_NOT_FOUND);
    EXPECT(str_contains(str_c(err.text), STR("/none")));
    EXPECT_EQ(file_read(dir, 10, &a, &s, &err), ERR_INVALID);
    EXPECT_EQ(file_read("/dev/zero", 10, &a, &s, &err), ERR_INVALID);
    EXPECT_EQ(mkfifo(fifo, 0600), 0);
    EXPECT_EQ(file_read(fifo, 10, &a, &s, &err), ERR_INVALID); /* and does not wait for a writer */
    EXPECT(str_contains(str_c(err.text), STR("is not a regular file")));
    arena_done(&a);
}

static void expect_content(const char *path, const char *text)
{
    struct arena a;
    struct str s;
    struct err err;
    arena_init(&a, 256, 1 << 20);
    EXPECT_EQ(file_read(path, 1 << 20, &a, &s, &err), ERR_OK);
    EXPECT_STR(s, text);
    arena_done(&a);
}

static int entries(const char *dir)
{
    DIR *d = opendir(dir);
    int n = -2; /* "." and ".." */
    EXPECT(d != NULL);
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n;
}

TEST(file_replace_writes_and_leaves_nothing_beside)
{
    struct err err;
    const char *dir = t_tmpdir(), *path = path_in(dir, "f");
    EXPECT_EQ(file_replace(path, STR("one"), true, &err), ERR_OK);
    expect_content(path, "one");
    EXPECT_EQ(file_replace(path, STR("two, longer"), false, &err), ERR_OK);
    expect_content(path, "two, longer");
    EXPECT_EQ(file_replace(path, STR(""), false, &err), ERR_OK);
    expect_content(path, "");
    EXPECT_EQ(entries(dir), 1);
}

/* A reader that opened the old file keeps it whole: the new one is another file. */
TEST(file_replace_is_atomic)
{
    struct err err;
    char text[16] = "";
    const char *path = path_in(t_tmpdir(), "f");
    put(path, "old");
    AUTO_FD fd = open(path, O_RDONLY);
    EXPECT_EQ(file_replace(path, STR("new"), false, &err), ERR_OK);
    EXPECT_EQ(read(fd, text, sizeof text), 3);
    EXPECT_CSTR(text, "old");
    expect_content(path, "new");
}

TEST(file_replace_that_fails_changes_nothing)
{
    struct err err;
    struct rlimit lim = {100, 100};
    static char big[4096];
    const char *dir = t_tmpdir(), *path = path_in(dir, "f");
    memset(big, 'x', sizeof big);
    put(path, "old");
    EXPECT_EQ(file_replace(path_in(dir, "no/such/folder"), STR("x"), false, &err), ERR_IO);
    EXPECT(str_contains(str_c(err.text), STR("no/such/folder")));
    pid_t pid = fork();
    if (pid == 0) {
        (void)signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &lim) < 0)
            _exit(2);
        _exit(file_replace(path, (struct str){big, sizeof big}, false, &err) == ERR_IO ? 0 : 1);
    }
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    expect_content(path, "old");
    EXPECT_EQ(entries(dir), 1);
}

/* A stranger with access to the folder must not turn our write to a file elsewhere. */
TEST(file_replace_does_not_follow_a_link)
{
    struct err err;
    const char *dir = t_tmpdir(), *path = path_in(dir, "f"), *victim = path_in(dir, "victim");
    put(victim, "untouched");
    EXPECT_EQ(symlink(victim, path_in(dir, "f.tmp")), 0);
    EXPECT_EQ(file_replace(path, STR("x"), false, &err), ERR_IO);
    expect_content(victim, "untouched");
}

TEST(paths_that_are_too_long)
{
    struct err err;
    static char path[8192];
    memset(path, 'a', sizeof path - 1);
    path[0] = '/';
    EXPECT_EQ(file_replace(path, STR("x"), false, &err), ERR_INVALID);
    EXPECT_EQ(dir_make(path, 0700, &err), ERR_INVALID);
}

/* ---- folders ---- */

TEST(dir_make_makes_all_parts)
{
    struct err err;
    struct stat st;
    const char *dir = t_tmpdir(), *deep = path_in(dir, "a/b/c");
    EXPECT_EQ(dir_make(deep, 0700, &err), ERR_OK);
    EXPECT_EQ(stat(deep, &st), 0);
    EXPECT(S_ISDIR(st.st_mode));
    EXPECT_EQ(st.st_mode & 0777, 0700);
    EXPECT_EQ(dir_make(deep, 0700, &err), ERR_OK); /* there already */
    EXPECT_EQ(dir_make(path_in(dir, "a//x///y/"), 0700, &err), ERR_OK);
    EXPECT_EQ(dir_make("/", 0700, &err), ERR_OK);
}

TEST(dir_make_says_what_is_in_the_way)
{
    struct err err;
    const char *dir = t_tmpdir();
    put(path_in(dir, "file"), "");
    EXPECT_EQ(dir_make(path_in(dir, "file"), 0700, &err), ERR_IO);
    EXPECT(str_contains(str_c(err.text), STR("is not a folder")));
    EXPECT_EQ(dir_make(path_in(dir, "file/below"), 0700, &err), ERR_IO);
    EXPECT_EQ(dir_make("/proc/none", 0700, &err), ERR_IO);
}

TEST(dir_make_takes_relative_paths)
{
    struct err err;
    struct stat st;
    EXPECT_EQ(chdir(t_tmpdir()), 0);
    EXPECT_EQ(dir_make("a", 0700, &err), ERR_OK);
    EXPECT_EQ(dir_make("x/y", 0700, &err), ERR_OK);
    EXPECT_EQ(stat("x/y", &st), 0);
    EXPECT_EQ(dir_make(".", 0700, &err), ERR_OK);
    EXPECT_EQ(chdir("/"), 0);
}

/* ---- locks ---- */

static enum err_code lock_in_child(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        int fd;
        _exit((int)file_lock(path, &fd, &err));
    }
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT(WIFEXITED(status));
    return (enum err_code)WEXITSTATUS(status);
}

TEST(a_lock_is_held_until_closed)
{
    struct err err;
    int fd;
    const char *path = path_in(t_tmpdir(), "lock");
    EXPECT_EQ(file_lock(path, &fd, &err), ERR_OK);
    EXPECT_EQ(lock_in_child(path), ERR_CONFLICT);
    (void)fd_close(fd);
    EXPECT_EQ(lock_in_child(path), ERR_OK);
}

TEST(a_lock_ends_with_its_process)
{
    struct err err;
    int fd, ready[2];
    char byte;
    const char *path = path_in(t_tmpdir(), "lock");
    EXPECT_EQ(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (file_lock(path, &fd, &err) != ERR_OK || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    EXPECT_EQ(file_lock(path, &fd, &err), ERR_CONFLICT);
    EXPECT(str_contains(str_c(err.text), STR("is locked by another process")));
    EXPECT_EQ(kill(pid, SIGKILL), 0);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT_EQ(file_lock(path, &fd, &err), ERR_OK);
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC); /* a child must not hold it on */
    (void)fd_close(fd);
    EXPECT_EQ(file_lock("/proc/none/lock", &fd, &err), ERR_IO);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

TEST(the_limit_of_open_files_is_raised)
{
    struct rlimit lim;
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &lim), 0);
    lim.rlim_cur = 64;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &lim), 0);
    EXPECT_EQ(fd_limit_raise(), lim.rlim_max);
}

TEST(a_file_that_is_cut_is_written_from_its_beginning)
{
    char path[PATH_MAX], text[16];
    (void)snprintf(path, sizeof path, "%s/log", t_tmpdir());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), ends[2];
    fd_append(fd);
    EXPECT_EQ(write(fd, "before", 6), 6);
    EXPECT_EQ(ftruncate(fd, 0), 0);
    EXPECT_EQ(write(fd, "after", 5), 5);
    EXPECT_EQ(pread(fd, text, sizeof text, 0), 5);
    EXPECT_EQ(memcmp(text, "after", 5), 0);
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    fd_append(ends[1]);
    EXPECT_EQ(fcntl(ends[1], F_GETFL), O_WRONLY);
    fd_append(-1);
}
