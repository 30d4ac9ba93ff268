#include "sys/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "sys/fd.h"

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define FS_READ_FILE  (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE) /* EXECUTE: mapping libraries */
#define FS_READ       (FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE_FILE (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)
#define FS_WRITE                                                                                                       \
    (FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |      \
     LANDLOCK_ACCESS_FS_REMOVE_DIR)
#define FS_ALL_ABI1 ((1ULL << 13) - 1)

void sandbox_allow_read(struct sandbox *s, const char *path)
{
    CHECK(s->read_len < SANDBOX_PATHS_MAX);
    s->read[s->read_len++] = path;
}

void sandbox_allow_write(struct sandbox *s, const char *path)
{
    CHECK(s->write_len < SANDBOX_PATHS_MAX);
    s->write[s->write_len++] = path;
}

void sandbox_allow_system(struct sandbox *s)
{
    sandbox_allow_read(s, "/lib");
    sandbox_allow_read(s, "/lib64");
    sandbox_allow_read(s, "/usr/lib");
    sandbox_allow_read(s, "/usr/share/zoneinfo");
    sandbox_allow_read(s, "/etc/ld.so.cache");
    sandbox_allow_read(s, "/etc/localtime");
    sandbox_allow_read(s, "/proc/self");
    sandbox_allow_read(s, "/proc/cpuinfo");
    sandbox_allow_read(s, "/proc/meminfo");
    sandbox_allow_read(s, "/sys/devices/system/cpu");
    sandbox_allow_read(s, "/dev/urandom");
}

static int landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi < 0 ? 0 : (int)abi;
}

static uint64_t landlock_handled(int abi)
{
    uint64_t handled = FS_ALL_ABI1;
    if (abi >= 2)
        handled |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        handled |= LANDLOCK_ACCESS_FS_TRUNCATE;
    return handled;
}

static enum err_code allow_path(int ruleset, const char *path, uint64_t dir_rights, uint64_t file_rights,
                                struct err *err)
{
    AUTO_FD fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return ERR_OK; /* what is not there cannot be opened either */
    struct landlock_path_beneath_attr rule = {
        .allowed_access = S_ISDIR(st.st_mode) ? dir_rights : file_rights,
        .parent_fd = fd,
    };
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return err_sys(err, ERR_IO, errno, "sandbox: cannot allow %s", path);
    return ERR_OK;
}

static enum err_code enter_landlock(const struct sandbox *s, struct err *err)
{
    int abi = landlock_abi();
    if (abi == 0)
        return ERR_OK; /* said by sandbox_describe */
    uint64_t handled = landlock_handled(abi);
    struct landlock_ruleset_attr attr = {.handled_access_fs = handled};
    AUTO_FD ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0)
        return err_sys(err, ERR_IO, errno, "sandbox: cannot create a Landlock ruleset");
    for (size_t i = 0; i < s->read_len; i++)
        if (allow_path(ruleset, s->read[i], FS_READ, FS_READ_FILE, err))
            return err->code;
    for (size_t i = 0; i < s->write_len; i++)
        if (allow_path(ruleset, s->write[i], (FS_READ | FS_WRITE) & handled, (FS_READ_FILE | FS_WRITE_FILE) & handled,
                       err))
            return err->code;
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return err_sys(err, ERR_IO, errno, "sandbox: cannot enter the Landlock ruleset");
    return ERR_OK;
}

/* System calls that no model needs and an intruder wants. A deny list: engines are large C++ libraries whose harmless calls change
 * from version to version; what matters is that none of them reaches the network, another program or another process. */
static const int denied[] = {
    SCMP_SYS(socket),
    SCMP_SYS(socketpair),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(ptrace),
    SCMP_SYS(kill),
    SCMP_SYS(tkill),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(personality),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(reboot),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(quotactl),
    SCMP_SYS(acct),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(setuid),
    SCMP_SYS(setgid),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
    SCMP_SYS(symlink),
    SCMP_SYS(symlinkat),
    SCMP_SYS(link),
    SCMP_SYS(linkat),
};

/* Calls that are harmless towards ourselves only. Threads are clones too: a process is one without CLONE_THREAD; clone3 hides its
 * flags behind a pointer, and the C library goes back to clone when there is none. */
static int deny_towards_others(scmp_filter_ctx ctx)
{
    const uint32_t refuse = SCMP_ACT_ERRNO(EPERM);
    const scmp_datum_t self = (scmp_datum_t)getpid();
    int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    rc = rc ? rc : seccomp_rule_add(ctx, refuse, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    rc = rc ? rc : seccomp_rule_add(ctx, refuse, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_NE, self, 0));
    rc = rc ? rc : seccomp_rule_add(ctx, refuse, SCMP_SYS(rt_sigqueueinfo), 1, SCMP_A0(SCMP_CMP_NE, self, 0));
    rc = rc ? rc : seccomp_rule_add(ctx, refuse, SCMP_SYS(rt_tgsigqueueinfo), 1, SCMP_A0(SCMP_CMP_NE, self, 0));
    rc = rc ? rc : seccomp_rule_add(ctx, refuse, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_NE, 0, 0));
    /* Typing into the terminal that we were started from. */
    return rc ? rc
              : seccomp_rule_add(ctx, refuse, SCMP_SYS(ioctl), 1,
                                 SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)TIOCSTI));
}

static enum err_code enter_seccomp(struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (!ctx)
        return err_set(err, ERR_IO, "sandbox: cannot create a seccomp filter");
    int rc = deny_towards_others(ctx);
    for (size_t i = 0; i < ARRAY_LEN(denied) && rc == 0; i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), denied[i], 0);
        if (rc == -EDOM || rc == -EINVAL) /* not a call of this architecture */
            rc = 0;
    }
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    if (rc == -EINVAL || rc == -ENOSYS)
        return ERR_OK; /* a kernel without seccomp filters */
    return rc == 0 ? ERR_OK : err_sys(err, ERR_IO, -rc, "sandbox: cannot load the seccomp filter");
}

enum err_code sandbox_enter(const struct sandbox *s, struct err *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, ERR_IO, errno, "sandbox: cannot give up new privileges");
    if (enter_landlock(s, err))
        return err->code;
    return enter_seccomp(err);
}

void sandbox_describe(char *out, size_t out_size)
{
    int abi = landlock_abi();
    bool has_seccomp = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
    if (abi > 0)
        (void)snprintf(out, out_size, "Landlock ABI %d%s", abi, has_seccomp ? ", seccomp" : ", no seccomp");
    else
        (void)snprintf(out, out_size, "no Landlock (kernel 5.13 has it)%s", has_seccomp ? ", seccomp" : ", no seccomp");
}
