/* CPU time and scheduling class of the processes under test, for load.c alone. */
#ifndef BENCH_LOAD_PROC_H
#define BENCH_LOAD_PROC_H

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/str.h"

#define LOAD_PROC_MAX 4096

struct load_proc_entry {
    int pid, ppid;
    double cpu_s;
    bool counts;
};

/* Field number `index` of what follows the name in /proc/PID/stat; 0 is the state. */
static uint64_t load_proc_field(struct str text, int index)
{
    uint64_t v = 0;
    struct str field = {0};
    for (int i = 0; i <= index; i++)
        field = str_cut(text, ' ', &text);
    return str_to_u64(field, &v) ? v : 0;
}

/* CPU time of the threads that live now, to the nanosecond; 0 where the kernel does not count it. */
static double load_proc_threads_s(int pid)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/task", pid); /* fits any int */
    DIR *d = opendir(path);
    double sum = 0;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char file[384], text[128];
        (void)snprintf(file, sizeof(file), "%s/%s/schedstat", path, e->d_name); /* fits 255 bytes of name */
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(file, "r");
        if (!f)
            continue;
        struct str rest, all = {text, fread(text, 1, sizeof(text), f)};
        (void)fclose(f);
        uint64_t ns = 0;
        sum += str_to_u64(str_cut(all, ' ', &rest), &ns) ? (double)ns / 1e9 : 0;
    }
    if (d)
        (void)closedir(d);
    return sum;
}

/* utime and stime in /proc/PID/stat are the sum over all threads, those that have ended included, but cut to hundredths of a second. */
static bool load_proc_read(int pid, struct load_proc_entry *out)
{
    char path[64], text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid); /* fits any int */
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    struct str all = {text, fread(text, 1, sizeof(text), f)};
    (void)fclose(f);
    ptrdiff_t name_end = str_rchr(all, ')'); /* the name may hold anything */
    if (name_end < 0)
        return false;
    struct str fields = str_sub(all, (size_t)name_end + 2, all.n);
    *out = (struct load_proc_entry){.pid = pid, .ppid = (int)load_proc_field(fields, 1)};
    out->cpu_s = (double)(load_proc_field(fields, 11) + load_proc_field(fields, 12)) / (double)sysconf(_SC_CLK_TCK);
    double threads_s = load_proc_threads_s(pid);
    out->cpu_s = threads_s > out->cpu_s ? threads_s : out->cpu_s;
    return true;
}

static size_t load_proc_list(struct load_proc_entry *all, size_t max)
{
    DIR *d = opendir("/proc");
    size_t n = 0;
    for (struct dirent *e; d && n < max && (e = readdir(d)) != NULL;) {
        int64_t pid = 0;
        if (str_to_i64(str_c(e->d_name), &pid) && load_proc_read((int)pid, &all[n]))
            n++;
    }
    if (d)
        (void)closedir(d);
    return n;
}

/* Seconds of CPU time of the processes and of all their descendants that live now. */
static double load_proc_cpu_s(const int *pids, int pids_len)
{
    static struct load_proc_entry all[LOAD_PROC_MAX];
    size_t n = pids_len > 0 ? load_proc_list(all, LOAD_PROC_MAX) : 0;
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < pids_len; k++)
            all[i].counts = all[i].counts || all[i].pid == pids[k];
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n && !all[i].counts; k++)
                if (all[k].counts && all[k].pid == all[i].ppid)
                    all[i].counts = changed = true;
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += all[i].counts ? all[i].cpu_s : 0;
    return sum;
}

/* "other nice 0"; pid 0 is this process. Valid until the next call. */
static struct str load_proc_scheduling(int pid)
{
    static char text[48];
    static const char *const names[] = {"other", "fifo", "rr", "batch", "iso", "idle", "deadline"};
    int class = sched_getscheduler(pid) & ~SCHED_RESET_ON_FORK;
    const char *name = class >= 0 && (size_t) class < sizeof(names) / sizeof(names[0]) ? names[class] : "unknown";
    (void)snprintf(text, sizeof(text), "%s nice %d", name, getpriority(PRIO_PROCESS, (id_t)pid)); /* fits */
    return str_c(text);
}

#endif
