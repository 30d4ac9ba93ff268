/* Processes that the kernel ended for want of memory: told apart from those that somebody killed. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "app/master_int.h"
#include "base/clock.h"

#define OOM_AGE_NS (2 * NS_PER_S) /* more than a process takes to die */

void oom_start(struct master *m)
{
    oom_watch_open(&m->oom, "/sys/fs/cgroup", "/proc/self/cgroup");
}

/* Counts against what it ran, as any crash: a request that needs more memory than there is would else be run until its time is over, and take everybody's
 * memory each time. One that was only near when another grew has two tries more. */
void oom_note_death(struct master *m, struct child *c, int wait_status)
{
    char what[700];
    bool is_killed = WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL;
    if (!is_killed || !oom_watch_took(&m->oom) || c->kill_reason[0])
        return;
    oom_watch_describe(&m->oom, what, sizeof what);
    (void)snprintf(
        c->kill_reason, sizeof c->kill_reason,
        "ended by the kernel, out of memory (%.100s): allow more, run fewer instances, or set the model's `memory`",
        what);
    c->is_crash_kill = true;
}

/* Whenever the master is awake: for the heartbeat it is, every two seconds. */
void oom_tick(struct master *m, uint64_t now_ns)
{
    if (now_ns < m->next_oom_ns)
        return;
    m->next_oom_ns = now_ns + OOM_AGE_NS;
    oom_watch_age(&m->oom);
}
