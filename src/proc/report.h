/* What a process leaves behind when it dies: a small segment of shared memory, made by the master, mapped by the child (descriptor 4), read by the
 * master after the child is gone. The child notes what it works on; its signal handlers and CHECK add the reason and the stack. A kill -9 leaves
 * at least the notes. The reader trusts nothing in it: lengths are bounded, text is cleaned. */
#ifndef PROC_REPORT_H
#define PROC_REPORT_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"

#define REPORT_FD           4
#define REPORT_FRAMES_MAX   32
#define REPORT_REQUESTS_MAX 4  /* of one thread's run */
#define REPORT_THREADS_MAX  64 /* that run something: all threads of an edge may, with inline models */

struct report_frame {
    uint64_t address, offset;
    uint32_t is_ours; /* in this program; offset then counts from its start when symbol is empty */
    char module[80], symbol[80];
};

struct report_shm {
    uint32_t magic;
    _Atomic uint32_t crashed; /* 1: signal, text and frames are filled */
    int32_t signal;
    uint64_t address; /* fault address, for SIGSEGV and SIGBUS */
    char text[512];   /* CHECK's text */
    uint32_t frames_len;
    struct report_frame frames[REPORT_FRAMES_MAX];
    _Atomic uint32_t threads; /* that have noted requests so far */
    uint32_t crashed_thread;  /* whose it is: its place in work + 1; 0: not known, or none that runs something */
    struct report_work {
        _Atomic uint32_t len; /* requests being worked on */
        char ids[REPORT_REQUESTS_MAX][40];
    } work[REPORT_THREADS_MAX];
};

enum err_code report_create(int *out_fd, struct report_shm **out, struct err *err); /* master */
void report_unmap(struct report_shm *r);                                            /* NULL is taken */
void report_clear(struct report_shm *r);                                            /* before each life of the child */

/* In the child, once: maps REPORT_FD, installs handlers for SIGSEGV SIGBUS SIGILL SIGFPE SIGABRT SIGSYS on an alternate stack, sets check_panic_hook. */
enum err_code report_install(struct err *err);
/* The requests that the calling thread works on from now on (cut to REPORT_REQUESTS_MAX); n = 0 when it is done with them. */
void report_requests(const char *const *ids, size_t n);

/* One crash as JSON, for the crash folder and the status. wait_status as from waitpid. */
struct report_about {
    const char *id, *role, *model, *version;
    int instance, pid, wait_status;
    uint64_t time_ms;
    const char *reason; /* why the master killed it, or NULL */
};
void report_write(const struct report_shm *r, const struct report_about *a, struct buf *out);

#endif
