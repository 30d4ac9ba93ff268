/* File descriptors: closing by attribute, flags, whole files, atomic replacement. */
#ifndef SYS_FD_H
#define SYS_FD_H

#include "base/arena.h"
#include "base/err.h"

#define AUTO_FD __attribute__((cleanup(fd_auto_close))) int

void fd_auto_close(int *fd);
/* Closes and returns -1, so that `fd = fd_close(fd)` leaves no stale number. -1 is taken. */
int fd_close(int fd);
enum err_code fd_set_nonblock(int fd, struct err *err);

/* If it is a file, each write goes to its end, also after somebody has cut it. Anything else is left as it is. */
void fd_append(int fd);

/* Whole file into the arena, NUL behind it; ERR_TOO_LARGE over max_bytes; only regular files. */
enum err_code file_read(const char *path, size_t max_bytes, struct arena *a, struct str *out, struct err *err);
/* Writes beside, fsyncs if durable, renames over: a reader sees the old or the new, never half. */
enum err_code file_replace(const char *path, struct str content, bool durable, struct err *err);
/* mkdir -p; mode is for the folders it makes. */
enum err_code dir_make(const char *path, unsigned mode, struct err *err);

/* Takes an exclusive lock on path (made when missing), held until the fd is closed or the process ends. ERR_CONFLICT when
 * another process has it. */
enum err_code file_lock(const char *path, int *out_fd, struct err *err);

/* Raises the soft limit of open files to the hard one; returns the limit in force. */
uint64_t fd_limit_raise(void);

#endif
