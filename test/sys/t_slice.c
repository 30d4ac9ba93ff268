#include "sys/slice.h"

#include <linux/types.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "t.h"

static uint64_t slice_now(void)
{
    struct {
        __u32 size, policy;
        __u64 flags;
        __s32 nice;
        __u32 priority;
        __u64 runtime, deadline, period;
    } a = {.size = sizeof a};
    EXPECT_EQ(syscall(SYS_sched_getattr, 0, &a, sizeof a, 0), 0);
    return a.runtime;
}

static void need_slices(void)
{
    slice_set(SLICE_LOADING);
    if (slice_now() != SLICE_LOADING)
        SKIP("this kernel has no slices");
}

TEST(a_slice_is_set_and_taken_back)
{
    slice_set(SLICE_DEFAULT);
    uint64_t usual = slice_now();
    need_slices();
    slice_set(SLICE_DEFAULT);
    EXPECT_EQ(slice_now(), usual);
    EXPECT(usual < SLICE_MASTER && SLICE_MASTER < SLICE_LOADING);
}

TEST(children_begin_with_the_same_slice)
{
    need_slices();
    pid_t pid = fork();
    if (pid == 0)
        _exit(slice_now() == SLICE_LOADING ? 0 : 1);
    int status = 1;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

TEST(policy_and_priority_stay)
{
    EXPECT_EQ(sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}), 0);
    EXPECT_EQ(setpriority(PRIO_PROCESS, 0, 13), 0);
    slice_set(SLICE_LOADING);
    EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH);
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 13);
}
