/* The machine's budget: cores that this process may use, by affinity and cgroup quota. */
#ifndef SYS_CPU_H
#define SYS_CPU_H

#include <stdbool.h>
#include <stdint.h>

/* At least 1. Reads the affinity mask and the quotas of our control group and of all around it: v2 cpu.max and v1 cpu.cfs_quota_us (rounded up). */
int cpu_budget(void);
/* Tells kinds of processors apart: what is measured, or packed, for one does not hold for another. */
uint64_t cpu_print(void);

/* Memory that new programs may take without swapping, as the kernel guesses, and within the limits of our control groups; 0: unknown. */
uint64_t memory_available(void);

struct proc_usage {
    uint64_t rss_bytes, private_bytes, cpu_ms; /* private_bytes: 0 when unknown */
};
/* From /proc/PID (0: this process); false when the process is gone. */
bool proc_usage_read(int pid, struct proc_usage *out);
/* What is its own of its resident memory, and of what it shares with others an equal part: the shares of all processes add up to what they take. The
 * kernel walks over its pages for it (some 0.1 ms for 50 MB). 0: it is gone, or the kernel does not tell. */
uint64_t proc_share_read(int pid);

#endif
