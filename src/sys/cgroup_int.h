/* Inside of sys: control groups as files. The root folder and the own process's list of groups are arguments, so that tests give a tree of their own. */
#ifndef SYS_CGROUP_INT_H
#define SYS_CGROUP_INT_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/str.h"
#include "sys/cgroup.h"

#define CGROUP_SELF "/proc/self/cgroup"
#define CGROUP_ROOT "/sys/fs/cgroup"

/* Only the kernel makes a group's control files with its folder, and removes them with it: tests do that in its place. */
struct cgroup_calls {
    int (*make)(const char *path, mode_t mode);
    int (*remove)(const char *path);
    const char *controller; /* of v2: "cpu", or one that the kernel of the tests has to hand down */
};
extern struct cgroup_calls cgroup_calls;

/* One small file without its last newline; empty when it is not there. */
struct str cgroup_read(const char *path, char *out, size_t out_size);
/* Our own group's path in the hierarchy of a controller ("" is v2's), "" for the root. False: there is none. self: text of CGROUP_SELF. */
bool cgroup_own(struct str self, struct str controller, char *out, size_t out_size);
/* As cgroup_open, for our group as the file `self` tells. */
void cgroup_open_at(struct cgroup *g, const char *root, const char *self, int share_max);
/* Cores that quotas allow, rounded up; the least of our group's and of all around it. 0: no quota. */
int cgroup_cores(const char *root, const char *self);
/* Bytes that limits of memory leave, the least of our group's and of all around it, at least 1. 0: no limit. */
uint64_t cgroup_memory(const char *root, const char *self);

#endif
