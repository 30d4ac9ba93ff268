/* CPU shares by class: one control group for each class, so that the kernel divides the processor between classes by their shares when they compete and lends it
 * when they do not. cgroup v2 (cpu.weight) where its cpu controller may be used, else v1 (cpu.shares), else nice values of the processes.
 *
 *   <root>[/cpu]/<our own group>/quern-<pid>/<class>
 *
 * With v2 a group that holds processes hands nothing down. Where ours holds us and our children alone, as a unit of systemd with Delegate=yes does, they
 * move to quern-<pid>/own until the end.
 *
 * Groups of masters that were killed are removed at the next open. */
#ifndef SYS_CGROUP_H
#define SYS_CGROUP_H

#include "base/err.h"

enum cgroup_kind { CGROUP_V2, CGROUP_V1, CGROUP_NICE };

struct cgroup {
    enum cgroup_kind kind;
    char base[768]; /* folder of quern-<pid> */
    bool is_aside;  /* we and our children are in base/own */
    int share_max;  /* the largest share: nice values count from it */
    char why[1024]; /* for people: what is used and why not something better */
};

/* root: "/sys/fs/cgroup" (tests give a tree of their own). Never fails: the worst case is CGROUP_NICE. */
void cgroup_open(struct cgroup *g, const char *root, int share_max);
/* The process runs in the class from now on. share: 1 to 100. */
enum err_code cgroup_put(struct cgroup *g, const char *class_name, int share, int pid, struct err *err);
/* Removes our groups; processes must be gone. */
void cgroup_close(struct cgroup *g);

#endif
