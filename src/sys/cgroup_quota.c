/* Limits of our control group and of all around it: processors, and memory. A group inside of a container may be named by the host's path while the tree begins at the container's group: levels that
 * are not there are passed over. */
#include <stdio.h>
#include <string.h>

#include "sys/cgroup_int.h"

#define GROUP_MAX   512
#define MEMORY_SANE (UINT64_C(1) << 60)

/* Cores for `quota` microseconds in each `period`; 0: no quota ("max", -1). */
static uint64_t cores_of(struct str quota, struct str period)
{
    uint64_t q, p;
    if (!str_to_u64(str_trim(quota), &q) || !str_to_u64(str_trim(period), &p) || q == 0 || p == 0)
        return 0;
    uint64_t cores = q / p + (q % p != 0);
    return cores < INT32_MAX ? cores : 0;
}

/* "400000 100000" in one file. */
static uint64_t cores_v2(const char *folder)
{
    char path[1400], text[64];
    struct str period;
    (void)snprintf(path, sizeof path, "%s/cpu.max", folder);
    struct str quota = str_cut(str_trim(cgroup_read(path, text, sizeof text)), ' ', &period);
    return cores_of(quota, period);
}

static uint64_t cores_v1(const char *folder)
{
    char path[1400], a[64], b[64];
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    struct str quota = cgroup_read(path, a, sizeof a);
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    return cores_of(quota, cgroup_read(path, b, sizeof b));
}

static uint64_t number_in(const char *folder, const char *name)
{
    char path[1400], text[64];
    uint64_t n;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return str_to_u64(str_trim(cgroup_read(path, text, sizeof text)), &n) ? n : 0;
}

/* Pages of files that nobody needs at once are given up before a limit is felt. */
static uint64_t spare_pages(const char *folder, const char *line_name)
{
    char path[1400], text[8192];
    uint64_t n;
    (void)snprintf(path, sizeof path, "%s/memory.stat", folder);
    struct str rest = cgroup_read(path, text, sizeof text), value;
    while (rest.n > 0)
        if (str_eq_c(str_cut(str_cut(rest, '\n', &rest), ' ', &value), line_name))
            return str_to_u64(str_trim(value), &n) ? n : 0;
    return 0;
}

static uint64_t memory_left(const char *folder, const char *max, const char *current, const char *spare)
{
    uint64_t limit = number_in(folder, max), used = number_in(folder, current);
    if (limit == 0 || limit > MEMORY_SANE) /* "max"; v1 says it by a number near the greatest */
        return 0;
    uint64_t pages = spare_pages(folder, spare);
    used = used > pages ? used - pages : 0;
    return limit > used ? limit - used : 1;
}

static uint64_t memory_v2(const char *folder)
{
    return memory_left(folder, "memory.max", "memory.current", "inactive_file");
}

static uint64_t memory_v1(const char *folder)
{
    return memory_left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* From the group up to the mount point itself. */
static uint64_t walk(const char *mount, char *group, uint64_t (*limit)(const char *folder))
{
    char folder[1300];
    uint64_t all = 0;
    if (strstr(group, "/..")) /* it lies outside of what we see */
        group[0] = '\0';
    for (;;) {
        (void)snprintf(folder, sizeof folder, "%s%s", mount, group);
        all = least(all, limit(folder));
        char *slash = strrchr(group, '/');
        if (!slash)
            return all;
        *slash = '\0';
    }
}

struct hierarchy {
    const char *controller, *mount;
    uint64_t (*limit)(const char *folder);
};

static uint64_t least_of(const char *root, const char *self_path, const struct hierarchy *h, size_t len)
{
    char text[8192], group[GROUP_MAX], mount[700];
    uint64_t all = 0;
    struct str self = cgroup_read(self_path, text, sizeof text);
    for (size_t i = 0; i < len; i++) {
        if (!cgroup_own(self, str_c(h[i].controller), group, sizeof group))
            continue;
        (void)snprintf(mount, sizeof mount, "%s%s", root, h[i].mount);
        all = least(all, walk(mount, group, h[i].limit));
    }
    return all;
}

int cgroup_cores(const char *root, const char *self_path)
{
    static const struct hierarchy all[] = {{"", "", cores_v2},
                                           {"", "/unified", cores_v2},
                                           {"cpu", "/cpu", cores_v1},
                                           {"cpu,cpuacct", "/cpu,cpuacct", cores_v1},
                                           {"cpuacct,cpu", "/cpuacct,cpu", cores_v1}};
    return (int)least_of(root, self_path, all, ARRAY_LEN(all));
}

uint64_t cgroup_memory(const char *root, const char *self_path)
{
    static const struct hierarchy all[] = {
        {"", "", memory_v2}, {"", "/unified", memory_v2}, {"memory", "/memory", memory_v1}};
    return least_of(root, self_path, all, ARRAY_LEN(all));
}
