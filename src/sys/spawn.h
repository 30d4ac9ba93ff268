/* Starting a child process: fork, then exec at once. The child inherits exactly the descriptors given, at fixed numbers, and dies
 * with its parent. */
#ifndef SYS_SPAWN_H
#define SYS_SPAWN_H

#include "base/err.h"

#define SPAWN_FDS_MAX 32

struct spawn {
    const char *exe;
    const char *const *argv;
    const int *fds; /* fds[i] becomes descriptor 3 + i; 0, 1, 2 are inherited (stdin from /dev/null) */
    size_t fds_len;
    int nice_value;          /* added to ours; 0 = unchanged */
    uint64_t slice_ns;       /* sys/slice.h */
    int oom_score;           /* 0 to 1000: how gladly the kernel ends it when memory is short */
    uint64_t data_bytes_max; /* RLIMIT_DATA; 0 = unchanged */
};

/* Single-threaded callers only. */
enum err_code spawn_child(const struct spawn *s, int *out_pid, struct err *err);

#endif
