/* What the processes under test use: CPU time with all their descendants, and under which scheduling class they run. From /proc. */
#ifndef BENCH_USAGE_H
#define BENCH_USAGE_H

#include <stddef.h>

/* Seconds of CPU time of the processes and of all their descendants that live now; a process that is both is counted once. */
double usage_cpu_s(const int *pids, size_t pids_len);
/* "other nice 0"; pid 0 is this process. out has at least 32 bytes. */
void usage_scheduling(int pid, char *out, size_t out_size);

#endif
