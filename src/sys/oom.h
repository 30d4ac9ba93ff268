/* Did the kernel end a process for want of memory? It tells nobody: the process dies by SIGKILL, as of anybody's kill -9. But it counts such deaths: for
 * each control group (memory.events of v2, memory.oom_control of v1), and for the whole machine (/proc/vmstat), where those of others count too.
 * The group's number is used where there is one. It grows before the signal is sent, so whoever has buried the process finds it there. */
#ifndef SYS_OOM_H
#define SYS_OOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct oom_watch {
    char mount[512], group[512]; /* of the group whose counter it is; mount "": the machine's */
    bool is_v2;
    uint64_t seen; /* deaths that have been given to a process, or are too old to be given to one */
    uint64_t last; /* the counter at the last oom_watch_age */
};

/* root: "/sys/fs/cgroup", self: "/proc/self/cgroup" (tests give their own). To be opened before processes move to groups below. */
void oom_watch_open(struct oom_watch *w, const char *root, const char *self);
/* For each child that died by SIGKILL, in the order of their deaths: true if the kernel has ended one since that nobody asked for yet. */
bool oom_watch_took(struct oom_watch *w);
/* Every few seconds: what was counted before the call before this one, and asked for by nobody, was none of ours. */
void oom_watch_age(struct oom_watch *w);
/* What was short, for people: "the limit of 512 MiB of the control group /system.slice/quern.service", or "the machine's memory". */
void oom_watch_describe(const struct oom_watch *w, char *out, size_t size);

#endif
