/* Closing a process in before it meets a stranger's file: no network, no new programs, no way to other processes, and of the file system only
 * what is listed. Landlock (kernel 5.13) limits paths, seccomp limits system calls; where the kernel lacks one, the other still holds, and
 * sandbox_describe says so. Irrevocable, for the calling process and all its threads to come: call it before threads start. */
#ifndef SYS_SANDBOX_H
#define SYS_SANDBOX_H

#include "base/err.h"

#define SANDBOX_PATHS_MAX 16

struct sandbox {
    const char *read[SANDBOX_PATHS_MAX]; /* files or folders that may be read (libraries too) */
    size_t read_len;
    const char *write[SANDBOX_PATHS_MAX]; /* folders in which files may be made and changed */
    size_t write_len;
};

void sandbox_allow_read(struct sandbox *s, const char *path); /* paths that do not exist are skipped */
void sandbox_allow_write(struct sandbox *s, const char *path);
/* What dynamic linking, time zones and the C library read. */
void sandbox_allow_system(struct sandbox *s);
enum err_code sandbox_enter(const struct sandbox *s, struct err *err);
/* "Landlock ABI 7, seccomp" as this kernel offers. */
void sandbox_describe(char *out, size_t out_size);

#endif
