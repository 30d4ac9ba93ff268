#include "sys/memory.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "t.h"

#define MIB (UINT64_C(1) << 20)

TEST(mappings_are_counted_by_what_they_are)
{
    struct proc_memory m;
    proc_memory_parse(
        STR("55a4995d1000-55a4995d4000 r-xp 00000000 fe:00 247741      /opt/quern\n"
            "Size: 12 kB\nRss:                12 kB\nPss: 1 kB\nPrivate_Dirty: 4 kB\nAnonymous:     4 kB\nSwap: 0 kB\n"
            "7f0000000000-7f0000001000 r--p 00000000 fe:00 12      /models/weights of mine.bin\n"
            "Rss: 100 kB\nPrivate_Clean: 100 kB\nAnonymous: 0 kB\nSwap: 0 kB\n"
            "7f1000000000-7f1000001000 rw-s 00000000 00:01 12      /memfd:quern-model.so (deleted)\n"
            "Rss: 30 kB\nAnonymous: 0 kB\nSwap: 0 kB\n"
            "7f2000000000-7f2000001000 r-xp 00000000 fe:00 12      /lib/libengine.so.1\n"
            "Rss: 200 kB\nPrivate_Clean: 200 kB\nAnonymous: 0 kB\nSwap: 0 kB\n"
            "7f3000000000-7f3000001000 rw-p 00000000 00:00 0 \n"
            "Rss: 7 kB\nShared_Dirty: 2 kB\nPrivate_Dirty: 5 kB\nAnonymous: 7 kB\nSwapPss: 9 kB\nSwap: 3 kB\nVmFlags: "
            "rd wr-x\n"),
        &m);
    EXPECT_EQ(m.private_bytes, (4 + 5 + 3) * 1024);
    EXPECT_EQ(m.shared_bytes, (100 + 30) * 1024);
    EXPECT_EQ(m.program_bytes, (8 + 200 + 2) * 1024);
}

TEST(text_that_is_none_counts_nothing)
{
    struct proc_memory m;
    proc_memory_parse(STR("Rss:\nAnonymous: x kB\nRss: 99999999999999999999 kB\n\n:- \nAnonymous:"), &m);
    EXPECT_EQ(m.private_bytes + m.shared_bytes + m.program_bytes, 0);
}

/* A child that takes 24 MiB for itself and 16 MiB that are shared, and gives back 8. */
static void take_memory(int told)
{
    int fd = memfd_create("t", MFD_CLOEXEC);
    char *own = mmap(NULL, 24 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *extra = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fd < 0 || ftruncate(fd, 16 * MIB) < 0 || own == MAP_FAILED || extra == MAP_FAILED)
        _exit(1);
    char *shared = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        _exit(1);
    memset(own, 1, 24 * MIB);
    memset(shared, 1, 16 * MIB);
    memset(extra, 1, 8 * MIB);
    (void)munmap(extra, 8 * MIB);
    (void)!write(told, "x", 1);
    (void)pause();
    _exit(0);
}

TEST(a_process_is_measured)
{
    struct proc_memory m, before;
    int told[2];
    char c;
    EXPECT(proc_memory_read(getpid(), &before)); /* what the child has from us */
    EXPECT_EQ(pipe2(told, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0)
        take_memory(told[1]);
    EXPECT_EQ(read(told[0], &c, 1), 1);
    EXPECT(proc_memory_read(pid, &m));
    uint64_t quick = proc_memory_quick(pid);
    EXPECT(m.private_bytes >= 24 * MIB && m.private_bytes < 26 * MIB + before.private_bytes);
    EXPECT(m.shared_bytes >= 16 * MIB && m.shared_bytes < 18 * MIB + before.shared_bytes);
    EXPECT(m.peak_bytes >= 48 * MIB);
    EXPECT(quick >= 40 * MIB && quick <= m.private_bytes + m.shared_bytes + m.program_bytes);
    EXPECT_EQ(kill(pid, SIGKILL), 0);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT(!proc_memory_read(pid, &m));
    EXPECT_EQ(proc_memory_quick(pid), 0);
}
