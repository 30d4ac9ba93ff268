/* The CPU time of a tree of processes. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/usage.h"
#include "t.h"

static double used_s(void)
{
    struct rusage u;
    EXPECT(getrusage(RUSAGE_SELF, &u) == 0);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* The kernel tells time in ticks of 10 ms: some of them. */
static void burn(void)
{
    double until = used_s() + 0.1;
    while (used_s() < until)
        ;
}

TEST(a_process_that_ends_takes_nothing_from_the_sum)
{
    int pid = getpid(), gate[2];
    char byte = 0;
    double before = usage_cpu_s(&pid, 1);
    EXPECT(pipe(gate) == 0);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        burn();
        (void)!write(gate[1], &byte, 1);
        (void)pause();
        _exit(0);
    }
    EXPECT(read(gate[0], &byte, 1) == 1);
    double alive = usage_cpu_s(&pid, 1) - before;
    EXPECT(alive > 0.05);
    EXPECT(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    EXPECT(usage_cpu_s(&pid, 1) - before >= alive);
}
