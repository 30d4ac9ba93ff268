#include "sys/futex.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "t.h"

static _Atomic uint32_t *shared_words(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(p != MAP_FAILED);
    return p;
}

TEST(wakes_between_processes)
{
    _Atomic uint32_t *w = shared_words();
    pid_t pid = fork();
    if (pid == 0) {
        while (atomic_load(&w[0]) == 0)
            futex_wait(&w[0], 0, 20 * NS_PER_S); /* longer than the test may take: only a wake helps */
        atomic_store(&w[1], 1);
        _exit(0);
    }
    (void)usleep(50000); /* most likely it sleeps by now */
    atomic_store(&w[0], 1);
    uint64_t start = clock_now_ns();
    futex_wake(&w[0], 1);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT_EQ(atomic_load(&w[1]), 1);
    EXPECT(clock_now_ns() - start < 5 * NS_PER_S);
}

TEST(one_wake_wakes_all_that_were_asked)
{
    _Atomic uint32_t *w = shared_words();
    pid_t pids[3];
    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            while (atomic_load(&w[0]) == 0)
                futex_wait(&w[0], 0, 20 * NS_PER_S);
            _exit(0);
        }
    }
    (void)usleep(50000);
    atomic_store(&w[0], 1);
    futex_wake(&w[0], INT_MAX);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(waitpid(pids[i], NULL, 0), pids[i]);
}

TEST(a_changed_word_is_not_waited_for)
{
    _Atomic uint32_t word = 5;
    uint64_t start = clock_now_ns();
    futex_wait(&word, 4, 5 * NS_PER_S);
    EXPECT(clock_now_ns() - start < NS_PER_S);
}

TEST(a_wait_ends_after_its_time)
{
    _Atomic uint32_t word = 5;
    uint64_t start = clock_now_ns();
    futex_wait(&word, 5, 30 * NS_PER_MS);
    uint64_t took = clock_now_ns() - start;
    EXPECT(took >= 30 * NS_PER_MS);
    EXPECT(took < 5 * NS_PER_S);
}

TEST(waking_nobody_is_fine)
{
    _Atomic uint32_t word = 0;
    futex_wake(&word, 1);
    cpu_relax();
}
