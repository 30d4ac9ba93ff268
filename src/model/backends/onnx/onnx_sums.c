#include "model/backends/onnx/onnx_sums.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "sys/fd.h"

#define MAGIC          0x716c6e34u
#define NO_FILE        UINT64_MAX
#define CHECK_EVERY_MS (60 * 60 * UINT64_C(1000))
#define CLOCK_GRAIN_MS 20 /* times of files are those of the kernel's last tick */

static const char *const names[SUMMED_FILES] = {[SUMMED_GRAPH] = "model.onnx", [SUMMED_WEIGHTS] = "weights"};

static int open_in(const char *folder, const char *name)
{
    char path[1300];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

/* ---- sums ---- */

static uint64_t own_sum(const struct onnx_sums *s)
{
    return hash64(s, offsetof(struct onnx_sums, own), MAGIC);
}

enum got { GOT_ALL, GOT_END, GOT_ERROR }; /* END: the file ends before; ERROR: errno says which */

static enum got read_piece(int fd, unsigned char *p, size_t n, uint64_t at)
{
    while (n > 0) {
        ssize_t got = pread(fd, p, n, (off_t)at);
        if (got == 0)
            return GOT_END;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return GOT_ERROR;
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return GOT_ALL;
}

static enum backend_state stopped(struct err *err)
{
    (void)err_set(err, ERR_CANCELLED, "the check was stopped");
    return BACKEND_UNREAD;
}

/* Piece by piece through memory that the caller has: mapping the file would count as memory of this process. */
static enum backend_state sum_file(int fd, uint64_t size, const struct backend_reading *r, uint64_t *out,
                                   struct err *err)
{
    uint64_t sum = MAGIC;
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < BACKEND_READING_BYTES ? (size_t)(size - at) : BACKEND_READING_BYTES;
        if (r->go_on != NULL && !r->go_on(r->arg))
            return stopped(err);
        enum got got = read_piece(fd, r->room, n, at);
        if (got == GOT_ERROR) {
            (void)err_sys(err, ERR_IO, errno, "cannot read a compiled model");
            return BACKEND_UNREAD;
        }
        if (got == GOT_END) {
            (void)err_set(err, ERR_INVALID, "it is cut off");
            return BACKEND_DAMAGED;
        }
        sum = hash64(r->room, n, sum);
        at += n;
    }
    *out = sum;
    return BACKEND_WHOLE;
}

static bool sum_named(const char *folder, int which, const struct backend_reading *r, struct onnx_sums *s)
{
    struct err err;
    struct stat st;
    AUTO_FD fd = open_in(folder, names[which]);
    s->files[which].size = NO_FILE;
    if (fd < 0)
        return errno == ENOENT;
    if (fstat(fd, &st) < 0)
        return false;
    s->files[which].size = (uint64_t)st.st_size;
    return sum_file(fd, (uint64_t)st.st_size, r, &s->files[which].sum, &err) == BACKEND_WHOLE;
}

bool onnx_sums_write(const char *folder)
{
    char path[1300];
    struct err err = {0};
    struct onnx_sums s = {.magic = MAGIC, .bytes = sizeof s};
    struct backend_reading r = {.room = malloc(BACKEND_READING_BYTES)};
    CHECK(r.room != NULL);
    bool is_summed = true;
    for (int i = 0; i < SUMMED_FILES && is_summed; i++)
        is_summed = sum_named(folder, i, &r, &s);
    free(r.room);
    s.own = own_sum(&s);
    (void)snprintf(path, sizeof path, "%s/sums", folder);
    return is_summed && file_replace(path, (struct str){(const char *)&s, sizeof s}, true, &err) == ERR_OK;
}

/* ---- an entry that is in use ---- */

static bool read_sums(int fd, struct onnx_sums *s)
{
    return fd >= 0 && read_piece(fd, (unsigned char *)s, sizeof *s, 0) == GOT_ALL && s->magic == MAGIC &&
           s->bytes == sizeof *s && s->own == own_sum(s);
}

static bool hold_file(struct onnx_held *h, const char *entry, int which)
{
    struct stat st;
    h->fds[which] = open_in(entry, names[which]);
    if (h->fds[which] < 0)
        return h->sums.files[which].size == NO_FILE;
    if (fstat(h->fds[which], &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    h->changed[which] = st.st_ctim;
    return (uint64_t)st.st_size == h->sums.files[which].size;
}

void onnx_held_close(struct onnx_held *h)
{
    if (!h->is_open)
        return;
    for (int i = 0; i < SUMMED_FILES; i++)
        h->fds[i] = fd_close(h->fds[i]);
    h->sums_fd = fd_close(h->sums_fd);
    h->is_open = false;
}

bool onnx_held_open(struct onnx_held *h, const char *entry)
{
    onnx_held_close(h);
    *h = (struct onnx_held){.is_open = true, .sums_fd = open_in(entry, "sums"), .opened_ms = clock_wall_ms()};
    for (int i = 0; i < SUMMED_FILES; i++)
        h->fds[i] = -1;
    bool is_whole = read_sums(h->sums_fd, &h->sums);
    for (int i = 0; i < SUMMED_FILES && is_whole; i++)
        is_whole = hold_file(h, entry, i);
    if (!is_whole)
        onnx_held_close(h);
    return is_whole;
}

bool onnx_held_is_named(const struct onnx_held *h, const char *entry)
{
    char path[1300];
    struct stat named, held;
    for (int i = 0; i < SUMMED_FILES; i++) {
        if (h->fds[i] < 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", entry, names[i]);
        if (fstat(h->fds[i], &held) < 0 || lstat(path, &named) < 0 || held.st_dev != named.st_dev ||
            held.st_ino != named.st_ino)
            return false;
    }
    return true;
}

/* ---- when ---- */

static uint64_t ms_of(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / NS_PER_MS;
}

static bool is_changed(const struct onnx_held *h)
{
    struct stat st;
    for (int i = 0; i < SUMMED_FILES; i++)
        if (h->fds[i] >= 0 && fstat(h->fds[i], &st) == 0 &&
            (st.st_ctim.tv_sec != h->changed[i].tv_sec || st.st_ctim.tv_nsec != h->changed[i].tv_nsec))
            return true;
    return false;
}

bool onnx_held_is_due(const struct onnx_held *h)
{
    uint64_t now = clock_wall_ms();
    if (!h->is_open)
        return false;
    return h->checked_ms == 0 || now < h->checked_ms || now - h->checked_ms > CHECK_EVERY_MS || is_changed(h);
}

/* ---- one check for all who have it open ---- */

/* The sums' file has the time at which the last check that found all whole began, whoever made it. */
static bool is_covered(struct onnx_held *h, uint64_t now)
{
    struct stat st;
    uint64_t since = h->opened_ms;
    if (fstat(h->sums_fd, &st) < 0)
        return false;
    uint64_t began = ms_of(st.st_mtim);
    for (int i = 0; i < SUMMED_FILES; i++)
        if (h->fds[i] >= 0 && ms_of(h->changed[i]) + CLOCK_GRAIN_MS > since)
            since = ms_of(h->changed[i]) + CLOCK_GRAIN_MS;
    if (began <= since || began > now || now - began > CHECK_EVERY_MS)
        return false;
    h->checked_ms = began;
    return true;
}

static void cover(struct onnx_held *h, uint64_t began_ms)
{
    struct timespec t = {(time_t)(began_ms / 1000), (long)(began_ms % 1000 * NS_PER_MS)};
    (void)futimens(h->sums_fd, (struct timespec[2]){t, t}); /* a disk that is read only: each looks for itself */
    h->checked_ms = began_ms;
}

/* False: the reader is not to go on. A file system without locks: each looks for itself. */
static bool wait_turn(const struct onnx_held *h, const struct backend_reading *r)
{
    while (flock(h->sums_fd, r->go_on != NULL ? LOCK_EX | LOCK_NB : LOCK_EX) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return true;
        if (r->go_on != NULL && !r->go_on(r->arg))
            return false;
    }
    return true;
}

static enum backend_state compare(struct onnx_held *h, const struct backend_reading *r, struct err *err)
{
    enum backend_state s = BACKEND_WHOLE;
    for (int i = 0; i < SUMMED_FILES && s == BACKEND_WHOLE; i++) {
        uint64_t sum = 0;
        if (h->fds[i] < 0)
            continue;
        s = sum_file(h->fds[i], h->sums.files[i].size, r, &sum, err);
        if (s == BACKEND_WHOLE && sum != h->sums.files[i].sum) {
            (void)err_set(err, ERR_INVALID, "it is not what was written");
            s = BACKEND_DAMAGED;
        }
        if (s == BACKEND_DAMAGED)
            (void)err_wrap(err, "%s", names[i]);
    }
    return s;
}

enum backend_state onnx_held_check(struct onnx_held *h, const struct backend_reading *r, struct err *err)
{
    struct stat st;
    if (!wait_turn(h, r))
        return stopped(err);
    for (int i = 0; i < SUMMED_FILES; i++) /* what changes from now on is due again */
        if (h->fds[i] >= 0 && fstat(h->fds[i], &st) == 0)
            h->changed[i] = st.st_ctim;
    uint64_t now = clock_wall_ms();
    enum backend_state s = BACKEND_WHOLE;
    if (!is_covered(h, now)) {
        s = compare(h, r, err);
        if (s == BACKEND_WHOLE)
            cover(h, now);
        else
            h->checked_ms = 0;
    }
    (void)flock(h->sums_fd, LOCK_UN);
    return s;
}

enum backend_state onnx_held_check_now(struct onnx_held *h, struct err *err)
{
    struct backend_reading r = {.room = malloc(BACKEND_READING_BYTES)};
    CHECK(r.room != NULL);
    enum backend_state s = onnx_held_check(h, &r, err);
    free(r.room);
    return s;
}
