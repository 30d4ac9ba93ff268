#include "sys/cpu.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/str.h"
#include "sys/cgroup_int.h"
#include "sys/fd.h"

/* One small file of /proc or /sys into out; empty when it is not there. */
static struct str small_file(const char *path, char *out, size_t out_size)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, out_size - 1);
    if (n < 0)
        n = 0;
    out[n] = '\0';
    return (struct str){out, (size_t)n};
}

int cpu_budget(void)
{
    cpu_set_t set;
    int cores = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cores = CPU_COUNT(&set);
    int quota = cgroup_cores(CGROUP_ROOT, CGROUP_SELF);
    if (quota > 0 && quota < cores)
        cores = quota;
    return cores > 0 ? cores : 1;
}

uint64_t cpu_print(void)
{
    static const char *const lines[] = {"vendor_id",       "model name", "flags",        "Features",
                                        "CPU implementer", "CPU part",   "CPU revision", "cache size"};
    char text[16384];
    struct str rest = small_file("/proc/cpuinfo", text, sizeof text);
    uint64_t print = 1;
    while (rest.n > 0) {
        struct str line = str_cut(rest, '\n', &rest);
        if (line.n == 0)
            break; /* the next processor */
        for (size_t i = 0; i < ARRAY_LEN(lines); i++)
            if (str_starts(line, str_c(lines[i])))
                print = hash64(line.p, line.n, print);
    }
    return print;
}

/* Value in bytes of a "Name:   123 kB" line of a /proc status file, or 0. */
static uint64_t kb_line(struct str text, struct str name)
{
    while (text.n > 0) {
        struct str line = str_cut(text, '\n', &text);
        if (!str_starts(line, name))
            continue;
        struct str value = str_sub(line, name.n, line.n), rest;
        while (value.n > 0 && (value.p[0] == ' ' || value.p[0] == '\t')) {
            value.p++;
            value.n--;
        }
        uint64_t kb;
        return str_to_u64(str_cut(value, ' ', &rest), &kb) ? kb * 1024 : 0;
    }
    return 0;
}

uint64_t memory_available(void)
{
    char text[4096];
    uint64_t machine = kb_line(small_file("/proc/meminfo", text, sizeof text), STR("MemAvailable:"));
    uint64_t group = cgroup_memory(CGROUP_ROOT, CGROUP_SELF);
    return group != 0 && (machine == 0 || group < machine) ? group : machine;
}

uint64_t proc_share_read(int pid)
{
    char path[64], text[4096];
    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    return kb_line(small_file(path, text, sizeof text), STR("Pss:"));
}

bool proc_usage_read(int pid, struct proc_usage *out)
{
    char path[64], text[4096];
    memset(out, 0, sizeof *out);
    if (pid == 0)
        pid = getpid();
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    struct str status = small_file(path, text, sizeof text);
    if (status.n == 0)
        return 0;
    out->rss_bytes = kb_line(status, STR("VmRSS:"));
    out->private_bytes = kb_line(status, STR("RssAnon:"));
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    struct str stat = small_file(path, text, sizeof text);
    ptrdiff_t paren = str_rchr(stat, ')'); /* the name may hold spaces and brackets */
    struct str rest = paren < 0 ? (struct str){0} : str_sub(stat, (size_t)paren + 2, stat.n);
    uint64_t ticks = 0, v;
    for (int field = 3; rest.n > 0 && field <= 15; field++) {
        struct str word = str_cut(rest, ' ', &rest);
        if (field >= 14 && str_to_u64(word, &v)) /* utime, stime */
            ticks += v;
    }
    out->cpu_ms = ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
    return 1;
}
