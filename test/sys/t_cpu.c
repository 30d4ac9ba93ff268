#include "sys/cpu.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "t.h"

TEST(the_budget_follows_the_affinity)
{
    cpu_set_t one;
    int all = cpu_budget();
    EXPECT(all >= 1);
    EXPECT(all <= (int)sysconf(_SC_NPROCESSORS_CONF));
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (sched_setaffinity(0, sizeof one, &one) < 0)
        SKIP("core 0 is not ours");
    EXPECT_EQ(cpu_budget(), 1);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    EXPECT_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void burn_ms(uint64_t ms)
{
    static volatile uint64_t sink;
    for (uint64_t end = cpu_ns() + ms * NS_PER_MS; cpu_ns() < end;)
        sink++;
}

TEST(usage_of_this_process)
{
    struct proc_usage before, after, by_pid;
    static char touched[8 << 20];
    EXPECT(proc_usage_read(0, &before));
    EXPECT(before.rss_bytes > 0);
    memset(touched, 1, sizeof touched);
    burn_ms(200);
    EXPECT(proc_usage_read(0, &after));
    EXPECT(after.private_bytes > 0);
    EXPECT(after.private_bytes <= after.rss_bytes);
    EXPECT(after.rss_bytes >= before.rss_bytes + sizeof touched / 2);
    EXPECT_NEAR(after.cpu_ms - before.cpu_ms, 200, 30);
    EXPECT(proc_usage_read(getpid(), &by_pid));
    EXPECT(by_pid.rss_bytes >= after.rss_bytes / 2);
}

TEST(usage_of_a_gone_process)
{
    struct proc_usage u;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT(!proc_usage_read(pid, &u));
    EXPECT_EQ(u.rss_bytes, 0);
    EXPECT_EQ(u.cpu_ms, 0);
}

/* The name stands in brackets in /proc/PID/stat, and may hold brackets and spaces itself. */
TEST(a_process_with_an_odd_name)
{
    struct proc_usage u;
    EXPECT_EQ(prctl(PR_SET_NAME, "a) R 1 2 (b"), 0);
    burn_ms(100);
    EXPECT(proc_usage_read(0, &u));
    EXPECT_NEAR(u.cpu_ms, cpu_ns() / NS_PER_MS, 30);
}

TEST(shares_of_memory_that_two_processes_have_add_up)
{
    enum { BYTES = 32 << 20, SLACK = 4 << 20 };
    int done[2];
    char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != MAP_FAILED && pipe(done) == 0);
    uint64_t before = proc_share_read(getpid());
    if (before == 0)
        SKIP("this kernel does not tell shares");
    memset(memory, 1, BYTES);
    uint64_t alone = proc_share_read(getpid());
    EXPECT(alone >= before + BYTES - SLACK && alone <= before + BYTES + SLACK);
    pid_t child = fork();
    if (child == 0) {
        char c;
        (void)close(done[1]);
        _exit(read(done[0], &c, 1) != 0);
    }
    uint64_t ours = proc_share_read(getpid()), theirs = proc_share_read(child);
    EXPECT(ours <= alone - BYTES / 2 + SLACK);
    EXPECT(theirs >= BYTES / 2 - SLACK);
    (void)close(done[1]);
    EXPECT_EQ(waitpid(child, NULL, 0), child);
    EXPECT_EQ(proc_share_read(child), 0);
}
