#include "proc/report.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/check.h"
#include "base/json.h"
#include "proc/symbols.h"
#include "sys/fd.h"
#include "sys/shm.h"

#define REPORT_MAGIC 0x71637273u
#define STACK_BYTES  (64 * 1024)
#define SHOWN_MAX    16u /* requests of one report */

static struct report_shm *mine;         /* the child's own segment */
static const void *own_base;            /* where this program is loaded */
static _Thread_local uint32_t my_place; /* in mine->work, + 1; 0: none yet */

enum err_code report_create(int *out_fd, struct report_shm **out, struct err *err)
{
    int fd;
    void *p;
    if (shm_create("quern-report", sizeof(struct report_shm), &fd, err))
        return err->code;
    if (shm_map(fd, 0, sizeof(struct report_shm), true, &p, err)) {
        (void)fd_close(fd);
        return err->code;
    }
    *out_fd = fd;
    *out = p;
    report_clear(*out);
    return ERR_OK;
}

void report_unmap(struct report_shm *r)
{
    shm_unmap(r, sizeof *r);
}

void report_clear(struct report_shm *r)
{
    uint32_t threads = atomic_load(&r->threads); /* the others have not been touched, and take no memory */
    memset(r, 0, offsetof(struct report_shm, work));
    for (uint32_t i = 0; i < threads && i < REPORT_THREADS_MAX; i++)
        atomic_store(&r->work[i].len, 0);
    r->magic = REPORT_MAGIC;
}

/* Where the fault happened; the frames above it are this handler's own. */
static uint64_t fault_address(const void *context)
{
    const ucontext_t *u = context;
#if defined(__x86_64__)
    return (uint64_t)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uint64_t)u->uc_mcontext.pc;
#else
    (void)u;
    return 0;
#endif
}

/* The stack as addresses, then names. backtrace() and dladdr() are not async-signal-safe by the book, but after the warm-up in report_install they
 * neither allocate nor lock in practice; a second fault inside ends the process by the default action, with the signal already noted. */
static void note_stack(uint64_t from)
{
    void *addresses[REPORT_FRAMES_MAX];
    int n = backtrace(addresses, REPORT_FRAMES_MAX), first = 0;
    for (int i = 0; i < n; i++)
        if ((uint64_t)(uintptr_t)addresses[i] == from)
            first = i;
    for (int i = first; i < n; i++) {
        struct report_frame *f = &mine->frames[i - first];
        f->address = (uint64_t)(uintptr_t)addresses[i];
        Dl_info info;
        if (dladdr(addresses[i], &info)) {
            const char *name = info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
            (void)str_copy(f->module, sizeof f->module, str_c(name ? name + 1 : info.dli_fname));
            (void)str_copy(f->symbol, sizeof f->symbol, str_c(info.dli_sname));
            f->offset = f->address - (uint64_t)(uintptr_t)(info.dli_sname ? info.dli_saddr : info.dli_fbase);
            f->is_ours = info.dli_fbase == own_base;
        }
        mine->frames_len = (uint32_t)(i - first) + 1;
    }
}

static void on_fatal_signal(int sig, siginfo_t *info, void *context)
{
    (void)signal(sig, SIG_DFL);
    mine->signal = sig;
    mine->crashed_thread = my_place;
    mine->address = sig == SIGSEGV || sig == SIGBUS ? (uint64_t)(uintptr_t)info->si_addr : 0;
    atomic_store(&mine->crashed, 1);
    note_stack(fault_address(context));
    (void)raise(sig);
}

static void on_check_failed(const char *text)
{
    (void)str_copy(mine->text, sizeof mine->text, str_c(text));
}

enum err_code report_install(struct err *err)
{
    void *p;
    if (shm_map(REPORT_FD, 0, sizeof(struct report_shm), true, &p, err))
        return err_wrap(err, "crash report segment");
    report_unmap(mine); /* a worker's: that of the process it was forked from */
    mine = p;
    my_place = 0;
    check_panic_hook = on_check_failed;
    Dl_info info;
    if (dladdr((void *)(uintptr_t)&mine, &info))
        own_base = info.dli_fbase;
    void *warm[4];
    (void)backtrace(warm, 4); /* loads libgcc_s now, not in the handler */
    stack_t stack = {.ss_sp = malloc(STACK_BYTES), .ss_size = STACK_BYTES};
    CHECK(stack.ss_sp);
    if (sigaltstack(&stack, NULL) < 0)
        return err_sys(err, ERR_IO, errno, "cannot set a signal stack");
    struct sigaction sa = {.sa_sigaction = on_fatal_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&sa.sa_mask);
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        if (sigaction(fatal[i], &sa, NULL) < 0)
            return err_sys(err, ERR_IO, errno, "cannot handle signal %d", fatal[i]);
    return ERR_OK;
}

void report_requests(const char *const *ids, size_t n)
{
    if (!mine)
        return;
    if (my_place == 0)
        my_place = atomic_fetch_add(&mine->threads, 1) + 1;
    if (my_place > REPORT_THREADS_MAX)
        return;
    if (n > REPORT_REQUESTS_MAX)
        n = REPORT_REQUESTS_MAX;
    struct report_work *work = &mine->work[my_place - 1];
    atomic_store(&work->len, 0);
    for (size_t i = 0; i < n; i++)
        (void)str_copy(work->ids[i], sizeof work->ids[i], str_c(ids[i]));
    atomic_store(&work->len, (uint32_t)n);
}

/* Text from the segment: bounded, printable. */
static struct str clean(const char *p, size_t size, char *out)
{
    size_t n = 0;
    while (n < size - 1 && p[n] != '\0') {
        out[n] = p[n] >= ' ' && p[n] < 127 ? p[n] : '?';
        n++;
    }
    return (struct str){out, n};
}

static void write_reason(const struct report_shm *r, const struct report_about *a, struct json_writer *w)
{
    char text[sizeof r->text], line[700];
    struct str check = clean(r->text, sizeof r->text, text);
    int sig = WIFSIGNALED(a->wait_status) ? WTERMSIG(a->wait_status) : 0;
    if (a->reason)
        (void)snprintf(line, sizeof line, "%s", a->reason);
    else if (check.n > 0)
        (void)snprintf(line, sizeof line, "%.*s", STR_F(check));
    else if (sig == SIGKILL)
        (void)snprintf(line, sizeof line, "killed from outside (kill -9, or the kernel for want of memory)");
    else if (sig == SIGSEGV || sig == SIGBUS)
        (void)snprintf(line, sizeof line, "%s at address 0x%llx",
                       sig == SIGSEGV ? "invalid memory access" : "bus error", (unsigned long long)r->address);
    else if (sig != 0)
        (void)snprintf(line, sizeof line, "ended by signal %d (%s)", sig, strsignal(sig));
    else
        (void)snprintf(line, sizeof line, "ended by itself with exit code %d", WEXITSTATUS(a->wait_status));
    jw_kv_c(w, "reason", line);
}

static void write_stack(const struct report_shm *r, struct json_writer *w)
{
    jw_key(w, "stack");
    jw_array(w);
    uint32_t n = r->frames_len <= REPORT_FRAMES_MAX ? r->frames_len : REPORT_FRAMES_MAX;
    for (uint32_t i = 0; i < n && atomic_load(&r->crashed); i++) {
        const struct report_frame *f = &r->frames[i];
        char module[sizeof f->module], symbol[sizeof f->symbol], name[160], line[300];
        struct str m = clean(f->module, sizeof f->module, module), s = clean(f->symbol, sizeof f->symbol, symbol);
        if (s.n == 0 && f->is_ours && symbols_name(f->offset, name, sizeof name))
            (void)snprintf(line, sizeof line, "%.*s %s", STR_F(m), name);
        else
            (void)snprintf(line, sizeof line, "%.*s %.*s+0x%llx", STR_F(m), STR_F(s), (unsigned long long)f->offset);
        jw_c(w, line);
    }
    jw_array_end(w);
}

/* Of the thread that crashed, or of all when the process was ended from outside. */
static void write_requests(const struct report_shm *r, struct json_writer *w)
{
    char id[sizeof r->work[0].ids[0]];
    struct str first = STR("");
    uint32_t shown = 0;
    uint32_t threads = atomic_load(&r->threads), crashed = atomic_load(&r->crashed) ? r->crashed_thread : 0;
    jw_key(w, "request_ids");
    jw_array(w);
    for (uint32_t t = 0; t < threads && t < REPORT_THREADS_MAX; t++) {
        uint32_t n = atomic_load(&r->work[t].len);
        bool is_asked = crashed == 0 || crashed == t + 1;
        for (uint32_t i = 0; is_asked && i < n && i < REPORT_REQUESTS_MAX && shown < SHOWN_MAX; i++, shown++) {
            jw_str(w, clean(r->work[t].ids[i], sizeof id, id));
            first = first.n == 0 ? (struct str){r->work[t].ids[i], sizeof id} : first;
        }
    }
    jw_array_end(w);
    jw_kv_str(w, "request_id", first.n > 0 ? clean(first.p, first.n, id) : first);
}

void report_write(const struct report_shm *r, const struct report_about *a, struct buf *out)
{
    struct json_writer w;
    int sig = WIFSIGNALED(a->wait_status) ? WTERMSIG(a->wait_status) : 0;
    const char *abbreviation = sig ? sigabbrev_np(sig) : NULL; /* none for real-time signals */
    char name[24] = "";
    if (abbreviation)
        (void)snprintf(name, sizeof name, "SIG%s", abbreviation);
    jw_init(&w, out);
    jw_object(&w);
    jw_kv_c(&w, "id", a->id);
    jw_kv_u64(&w, "time_ms", a->time_ms);
    jw_kv_c(&w, "role", a->role);
    jw_kv_i64(&w, "pid", a->pid);
    jw_kv_c(&w, "model", a->model ? a->model : "");
    jw_kv_c(&w, "version", a->version ? a->version : "");
    jw_kv_i64(&w, "instance", a->instance);
    jw_kv_i64(&w, "signal", sig);
    jw_kv_c(&w, "signal_name", name);
    write_reason(r, a, &w);
    write_requests(r, &w);
    write_stack(r, &w);
    jw_object_end(&w);
}
