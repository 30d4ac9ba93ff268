/* CPU quotas of our control group and of all around it. A group inside of a container may be named by the host's path while the tree begins at the container's group: levels that
 * are not there are passed over. */
#include <stdio.h>
#include <string.h>

#include "sys/cgroup_int.h"

#define GROUP_MAX 512

/* Cores for `quota` microseconds in each `period`; 0: no quota ("max", -1). */
static int cores_of(struct str quota, struct str period)
{
    uint64_t q, p;
    if (!str_to_u64(str_trim(quota), &q) || !str_to_u64(str_trim(period), &p) || q == 0 || p == 0)
        return 0;
    uint64_t cores = q / p + (q % p != 0);
    return cores < INT32_MAX ? (int)cores : 0;
}

/* "400000 100000" in one file. */
static int cores_v2(const char *folder)
{
    char path[1400], text[64];
    struct str period;
    (void)snprintf(path, sizeof path, "%s/cpu.max", folder);
    struct str quota = str_cut(str_trim(cgroup_read(path, text, sizeof text)), ' ', &period);
    return cores_of(quota, period);
}

static int cores_v1(const char *folder)
{
    char path[1400], a[64], b[64];
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    struct str quota = cgroup_read(path, a, sizeof a);
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    return cores_of(quota, cgroup_read(path, b, sizeof b));
}

static int least(int a, int b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* From the group up to the mount point itself. */
static int walk(const char *mount, char *group, int (*cores)(const char *folder))
{
    char folder[1300];
    int all = 0;
    if (strstr(group, "/..")) /* it lies outside of what we see */
        group[0] = '\0';
    for (;;) {
        (void)snprintf(folder, sizeof folder, "%s%s", mount, group);
        all = least(all, cores(folder));
        char *slash = strrchr(group, '/');
        if (!slash)
            return all;
        *slash = '\0';
    }
}

static int quota_of(const char *root, struct str self, const char *controller, const char *mount, bool is_v2)
{
    char group[GROUP_MAX], at[700];
    if (!cgroup_own(self, str_c(controller), group, sizeof group))
        return 0;
    (void)snprintf(at, sizeof at, "%s%s", root, mount);
    return walk(at, group, is_v2 ? cores_v2 : cores_v1);
}

int cgroup_cores(const char *root, const char *self_path)
{
    static const struct {
        const char *controller, *mount;
        bool is_v2;
    } places[] = {{"", "", true},
                  {"", "/unified", true},
                  {"cpu", "/cpu", false},
                  {"cpu,cpuacct", "/cpu,cpuacct", false},
                  {"cpuacct,cpu", "/cpuacct,cpu", false}};
    char text[8192];
    int all = 0;
    struct str self = cgroup_read(self_path, text, sizeof text);
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        all = least(all, quota_of(root, self, places[i].controller, places[i].mount, places[i].is_v2));
    return all;
}
