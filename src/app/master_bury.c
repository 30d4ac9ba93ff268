/* Deaths of children: who must know, what is recorded, and when they start again. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "app/master_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "sys/fd.h"

static bool was_expected(const struct master *m, const struct child *c)
{
    return c->state == CHILD_DRAINING || c->state == CHILD_FAILED || m->stopping ||
           (c->life && c->life->state >= LIFE_KEPT && !c->life->sent); /* sent: its last requests wait for it */
}

/* The edge must know first: rows that the dead worker ran go to another one. */
static void tell_died(struct master *m, const struct child *c, int pid, int wait_status)
{
    bool killed_outside = WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL && !c->is_crash_kill;
    char text[120];
    (void)snprintf(text, sizeof text, "{\"segment\":%u,\"pid\":%d,\"crash\":%s}", c->life->segment, pid,
                   killed_outside ? "false" : "true");
    child_send(m, &m->edge, CHANNEL_DIED, str_c(text), NULL, 0);
}

void child_describe_death(struct child *c, int wait_status)
{
    if (c->kill_reason[0])
        (void)str_copy(c->reason, sizeof c->reason, str_c(c->kill_reason));
    else if (WIFSIGNALED(wait_status))
        (void)snprintf(c->reason, sizeof c->reason, "died by signal %d (%s)", WTERMSIG(wait_status),
                       strsignal(WTERMSIG(wait_status)));
    else
        (void)snprintf(c->reason, sizeof c->reason, "ended with exit code %d", WEXITSTATUS(wait_status));
}

static void plan_restart(struct master *m, struct child *c)
{
    uint64_t at;
    if (restart_died(&c->restart, clock_now_ns(), &at)) {
        c->start_at_ns = at;
        child_set_state(m, c, CHILD_WAITING);
        return;
    }
    char text[700];
    (void)snprintf(text, sizeof text, "gave up after %u starts in a row that did not become ready; last: %s",
                   c->restart.unready_deaths, c->reason);
    (void)str_copy(c->reason, sizeof c->reason, str_c(text));
    child_set_state(m, c, CHILD_FAILED);
    if (child_is_edge(c)) {
        LOG_ERROR("edge does not start", LOG_S("reason", c->reason));
        m->exit_code = 1;
        m->stopping = true;
    } else {
        life_child_failed(m, c->life, c->reason);
    }
}

/* One that told why it cannot start has not crashed; it tells the same at each try. */
static void record_death(struct master *m, struct child *c, int pid, int wait_status)
{
    char before[sizeof c->reason];
    (void)str_copy(before, sizeof before, str_c(c->reason));
    child_describe_death(c, wait_status);
    c->is_in_trouble |= c->has_told_why; /* with its reason, of which the edge hears next */
    if (c->has_told_why && strcmp(before, c->reason) == 0)
        return;
    if (!c->has_told_why)
        crash_record(m, c, pid, wait_status);
    LOG_WARN(c->has_told_why ? "process cannot start, trying again" : "process died", LOG_S("process", c->role),
             LOG_S("model", c->life ? c->life->config->name : ""), LOG_I("instance", c->index),
             LOG_I("process_pid", pid), LOG_S("reason", c->reason));
}

static void bury(struct master *m, struct child *c, int wait_status)
{
    int pid = c->pid;
    child_read(m, c); /* its last words */
    c->channel = fd_close(c->channel);
    c->pid = 0;
    bool expected = was_expected(m, c);
    oom_note_death(m, c, wait_status);
    if (!child_is_edge(c))
        tell_died(m, c, pid, wait_status);
    if (!expected) {
        record_death(m, c, pid, wait_status);
        plan_restart(m, c);
        if (c->life)
            life_changed(m, c->life);
    } else if (c->state != CHILD_FAILED) {
        child_set_state(m, c, CHILD_STOPPED);
    }
    if (c->life && c->life->state == LIFE_KEPT && !c->leaves)
        life_retire(m, c->life); /* not warm any more: no way back */
    m->status_dirty = true;
}

static struct child *child_by_pid(struct master *m, int pid)
{
    if (m->edge.pid == pid)
        return &m->edge;
    for (struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            if (l->children[i].pid == pid)
                return &l->children[i];
    return NULL;
}

void child_reap(struct master *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child *c = child_by_pid(m, pid);
        if (c)
            bury(m, c, status);
        else
            (void)(scale_buried(m, pid, status) ||
                   stem_buried(m, pid, status)); /* nobody's: left by a stem that died while it forked */
    }
}
