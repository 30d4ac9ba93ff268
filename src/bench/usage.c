#include "bench/usage.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/str.h"

#define PROCESSES_MAX 65536

struct process {
    int pid, ppid;
    double cpu_s;
    bool counts;
};

/* Field number `index` of what follows the name in /proc/PID/stat; 0 is the state. */
static uint64_t field(struct str text, int index)
{
    uint64_t v = 0;
    struct str word = {0};
    for (int i = 0; i <= index; i++)
        word = str_cut(text, ' ', &text);
    return str_to_u64(word, &v) ? v : 0;
}

/* utime and stime are the sum over all threads, those that have ended included; the two behind them over all children that have ended and were waited
 * for: so that the sum over a server's processes never falls when one of them ends. */
static bool read_process(int pid, struct process *out)
{
    char path[64], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid); /* fits any int */
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    struct str all = {text, fread(text, 1, sizeof text, f)};
    (void)fclose(f);
    ptrdiff_t name_end = str_rchr(all, ')'); /* the name may hold anything */
    if (name_end < 0)
        return false;
    struct str fields = str_sub(all, (size_t)name_end + 2, all.n);
    *out = (struct process){.pid = pid, .ppid = (int)field(fields, 1)};
    uint64_t own = field(fields, 11) + field(fields, 12), of_children = field(fields, 13) + field(fields, 14);
    out->cpu_s = (double)(own + of_children) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

static struct process *list_processes(size_t *out_n)
{
    DIR *d = opendir("/proc");
    size_t n = 0, cap = 0;
    struct process *all = NULL, one;
    for (struct dirent *e; d && n < PROCESSES_MAX && (e = readdir(d)) != NULL;) {
        int64_t pid = 0;
        if (!str_to_i64(str_c(e->d_name), &pid) || !read_process((int)pid, &one))
            continue;
        if (n == cap) {
            cap = cap ? 2 * cap : 256;
            all = realloc(all, cap * sizeof *all);
            CHECK(all);
        }
        all[n++] = one;
    }
    if (d)
        (void)closedir(d);
    *out_n = n;
    return all;
}

/* One pass; true when it found descendants, whose own descendants the next pass may find. */
static bool mark_children(struct process *all, size_t n)
{
    bool changed = false;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n && !all[i].counts; k++)
            if (all[k].counts && all[k].pid == all[i].ppid)
                all[i].counts = changed = true;
    return changed;
}

double usage_cpu_s(const int *pids, size_t pids_len)
{
    size_t n = 0;
    double sum = 0;
    if (pids_len == 0)
        return 0;
    struct process *all = list_processes(&n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < pids_len; k++)
            all[i].counts = all[i].counts || all[i].pid == pids[k];
    while (mark_children(all, n))
        ;
    for (size_t i = 0; i < n; i++)
        sum += all[i].counts ? all[i].cpu_s : 0;
    free(all);
    return sum;
}

void usage_scheduling(int pid, char *out, size_t out_size)
{
    static const char *const names[] = {"other", "fifo", "rr", "batch", "iso", "idle", "deadline"};
    int policy = sched_getscheduler(pid) & ~SCHED_RESET_ON_FORK;
    bool is_known = policy >= 0 && (size_t)policy < ARRAY_LEN(names);
    (void)snprintf(out, out_size, "%s nice %d", is_known ? names[policy] : "unknown",
                   getpriority(PRIO_PROCESS, (id_t)pid)); /* fits */
}
