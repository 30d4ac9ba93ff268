#include "sys/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/cpu.h"
#include "sys/fd.h"
#include "t.h"

#define PAGE 4096u

static int make(uint64_t bytes)
{
    struct err err;
    int fd;
    if (shm_create("t", bytes, &fd, &err))
        FAIL("%s", err.text);
    return fd;
}

static unsigned char *map(int fd, uint64_t offset, uint64_t bytes, bool writable)
{
    struct err err;
    void *p;
    if (shm_map(fd, offset, bytes, writable, &p, &err))
        FAIL("%s", err.text);
    return p;
}

TEST(two_mappings_are_one_memory)
{
    AUTO_FD fd = make(4 * PAGE);
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    unsigned char *all = map(fd, 0, 4 * PAGE, true), *part = map(fd, 2 * PAGE, PAGE, false);
    EXPECT_EQ(all[0] + all[4 * PAGE - 1], 0);
    all[2 * PAGE + 5] = 42;
    EXPECT_EQ(part[5], 42);
    shm_unmap(all, 4 * PAGE);
    shm_unmap(part, PAGE);
    shm_unmap(NULL, PAGE);
}

TEST(another_process_sees_it)
{
    AUTO_FD fd = make(PAGE);
    unsigned char *p = map(fd, 0, PAGE, true);
    pid_t pid = fork();
    if (pid == 0) {
        p[7] = 99;
        _exit(0);
    }
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT_EQ(p[7], 99);
    shm_unmap(p, PAGE);
}

TEST(a_read_only_mapping_faults_when_written)
{
    AUTO_FD fd = make(PAGE);
    volatile unsigned char *p = map(fd, 0, PAGE, false);
    pid_t pid = fork();
    if (pid == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        p[0] = 1;
        _exit(0);
    }
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    EXPECT_EQ(p[0], 0);
    shm_unmap((void *)(uintptr_t)p, PAGE);
}

TEST(pages_cost_nothing_until_touched)
{
    const uint64_t large = UINT64_C(64) << 30;
    struct stat st;
    AUTO_FD fd = make(large);
    unsigned char *p = map(fd, 0, large, true);
    p[0] = p[large - 1] = 1;
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT(st.st_blocks * 512 <= (1 << 20));
    shm_unmap(p, large);
}

static uint64_t bytes_in(int fd)
{
    struct stat st;
    EXPECT_EQ(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

TEST(punched_pages_read_as_zeros_and_are_given_back)
{
    AUTO_FD fd = make(64 * PAGE);
    unsigned char *p = map(fd, 0, 64 * PAGE, true), *other = map(fd, 0, 64 * PAGE, false);
    memset(p, 0xEE, 64 * PAGE);
    uint64_t before = bytes_in(fd);
    shm_punch(p + 16 * PAGE, 32 * PAGE, false);
    EXPECT_EQ(p[16 * PAGE - 1], 0xEE);
    EXPECT_EQ(p[16 * PAGE], 0);
    EXPECT_EQ(other[48 * PAGE - 1], 0); /* for everybody */
    EXPECT_EQ(p[48 * PAGE], 0xEE);
    EXPECT(bytes_in(fd) <= before - 24 * PAGE); /* the kernel counts some of them later */
    shm_unmap(p, 64 * PAGE);
    shm_unmap(other, 64 * PAGE);
}

TEST(private_pages_are_sparse_and_punched_too)
{
    struct err err;
    void *v;
    const uint64_t large = UINT64_C(16) << 30;
    EXPECT_EQ(shm_map_private(large, &v, &err), ERR_OK);
    unsigned char *p = v;
    memset(p, 0xEE, 16 * PAGE);
    p[large - 1] = 1;
    shm_punch(p + PAGE, 15 * PAGE, true);
    EXPECT_EQ(p[PAGE - 1], 0xEE);
    EXPECT_EQ(p[PAGE], 0);
    EXPECT_EQ(p[16 * PAGE - 1], 0);
    shm_unmap(p, large);
}

TEST(what_cannot_be_made_says_so)
{
    struct err err;
    int fd;
    void *p;
    EXPECT_EQ(shm_create("t", UINT64_MAX >> 1 << 1, &fd, &err), ERR_IO); /* negative as off_t */
    EXPECT(str_contains(str_c(err.text), STR("cannot size shared memory 't'")));
    EXPECT_EQ(shm_map(-1, 0, PAGE, true, &p, &err), ERR_IO);
    EXPECT_EQ(err.sys, EBADF);
    AUTO_FD good = make(PAGE);
    EXPECT_EQ(shm_map(good, 1, PAGE, true, &p, &err), ERR_IO); /* not on a page boundary */
    EXPECT_EQ(shm_map(good, 0, 0, true, &p, &err), ERR_IO);
    EXPECT_EQ(shm_map_private(UINT64_C(1) << 60, &p, &err), ERR_IO);
}

TEST(unmapping_what_is_no_mapping_is_a_programmers_error)
{
    EXPECT_ABORT(shm_unmap((void *)4097, PAGE));
}

TEST(a_limit_of_addresses_is_named_as_such)
{
    struct rlimit lim;
    struct err err;
    void *p;
    EXPECT_EQ(shm_map_private(UINT64_C(1) << 60, &p, &err), ERR_IO);
    EXPECT_CSTR(err.remedy, ""); /* there is none, and it is not the cause */
    EXPECT_EQ(getrlimit(RLIMIT_AS, &lim), 0);
    lim.rlim_cur = UINT64_C(1) << 50;
    EXPECT_EQ(setrlimit(RLIMIT_AS, &lim), 0);
    EXPECT_EQ(shm_map_private(UINT64_C(1) << 60, &p, &err), ERR_IO);
    EXPECT(strstr(err.remedy, "ulimit -v") != NULL);
}
