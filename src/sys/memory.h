/* What a process takes of the machine's memory, by what would be freed if it ended. From /proc/PID/smaps: mappings that hold the program and its
 * libraries are told apart, because whoever else runs the same program uses the same pages. */
#ifndef SYS_MEMORY_H
#define SYS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct proc_memory {
    uint64_t private_bytes; /* anonymous and nobody else's, swapped out included */
    uint64_t shared_bytes;  /* files that are no programs (weights), and shared memory */
    uint64_t program_bytes; /* the program and its libraries, and what is still as in the process it was forked from */
    uint64_t peak_bytes;    /* most that was resident at a time, all three together */
};

/* Costs about what the kernel needs to walk the process's pages. False: it is gone, or has absurdly many mappings. */
bool proc_memory_read(int pid, struct proc_memory *out);
/* What of it is not backed by files, its share of what several processes have: cheaper, and hardly ever more than private_bytes + shared_bytes. 0: it is
 * gone. */
uint64_t proc_memory_quick(int pid);
/* The text of an smaps file; peak_bytes stays 0. */
void proc_memory_parse(struct str smaps, struct proc_memory *out);

#endif
