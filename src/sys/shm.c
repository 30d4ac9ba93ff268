#include "sys/shm.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "sys/fd.h"

enum err_code shm_create(const char *name, uint64_t bytes, int *out_fd, struct err *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_sys(err, ERR_IO, errno, "cannot create shared memory '%s'", name);
    if (ftruncate(fd, (off_t)bytes) < 0) {
        err_sys(err, ERR_IO, errno, "cannot size shared memory '%s' to %llu bytes", name, (unsigned long long)bytes);
        (void)fd_close(fd);
        return err->code;
    }
    *out_fd = fd;
    return ERR_OK;
}

/* Segments are mapped at their greatest size and filled as needed, which a limit of addresses takes for memory in use. */
static enum err_code cannot_map(int errnum, uint64_t bytes, const char *what, struct err *err)
{
    struct rlimit lim;
    (void)err_sys(err, ERR_IO, errnum, "cannot map %llu bytes%s", (unsigned long long)bytes, what);
    if (errnum == ENOMEM && getrlimit(RLIMIT_AS, &lim) == 0 && lim.rlim_cur != RLIM_INFINITY)
        return err_remedy(err,
                          "addresses are limited to %llu MiB: lift that (ulimit -v unlimited), and limit memory with "
                          "a control group (MemoryMax=) or a model's `memory`",
                          (unsigned long long)(lim.rlim_cur >> 20));
    return err->code;
}

enum err_code shm_map(int fd, uint64_t offset, uint64_t bytes, bool writable, void **out, struct err *err)
{
    void *p = mmap(NULL, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset);
    if (p == MAP_FAILED)
        return cannot_map(errno, bytes, " of shared memory", err);
    (void)madvise(p, bytes, MADV_DONTDUMP); /* a core file of gigabytes helps nobody */
    *out = p;
    return ERR_OK;
}

enum err_code shm_map_private(uint64_t bytes, void **out, struct err *err)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return cannot_map(errno, bytes, "", err);
    (void)madvise(p, bytes, MADV_DONTDUMP);
    *out = p;
    return ERR_OK;
}

void shm_unmap(void *p, uint64_t bytes)
{
    if (p)
        CHECK(munmap(p, bytes) == 0);
}

void shm_punch(void *p, uint64_t bytes, bool is_private)
{
    (void)madvise(p, bytes, is_private ? MADV_DONTNEED : MADV_REMOVE); /* advice: a failure costs memory, not truth */
}
