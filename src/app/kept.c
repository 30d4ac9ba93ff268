#include "app/kept.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"

#define MAGIC         0x716b6571u
#define PATH_CAP      4400
#define SIZE_MAX_KEPT 8192

struct head {
    uint32_t magic, layout;
    uint64_t size;
    struct hash128 key;
    uint64_t sum; /* of what follows */
};

struct hash128 kept_add(struct hash128 key, const void *p, size_t n)
{
    struct hash128 parts[2] = {key, hash128(p, n, 1)};
    return hash128(parts, sizeof parts, 2);
}

struct hash128 kept_add_text(struct hash128 key, const char *text)
{
    return kept_add(key, text, strlen(text));
}

static bool path_of(const char *folder, const char *kind, struct hash128 key, char *out)
{
    int n = snprintf(out, PATH_CAP, "%s/%s-%016llx", folder, kind, (unsigned long long)key.lo);
    return n > 0 && n < PATH_CAP;
}

bool kept_read(const char *folder, const char *kind, uint32_t layout, struct hash128 key, void *out, size_t size)
{
    char path[PATH_CAP], bytes[sizeof(struct head) + SIZE_MAX_KEPT + 1];
    struct head h;
    if (size > SIZE_MAX_KEPT || !path_of(folder, kind, key, path))
        return false;
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof h + size + 1); /* one more: it must end there */
    if (n != (ssize_t)(sizeof h + size))
        return false;
    memcpy(&h, bytes, sizeof h);
    if (h.magic != MAGIC || h.layout != layout || h.size != size || h.key.lo != key.lo || h.key.hi != key.hi ||
        h.sum != hash64(bytes + sizeof h, size, MAGIC))
        return false;
    memcpy(out, bytes + sizeof h, size);
    return true;
}

static bool is_older(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Room for one more: with too many of them the oldest goes. */
static void sweep(const char *folder, const char *kind)
{
    char path[PATH_CAP], oldest[PATH_CAP] = "";
    struct timespec at = {0};
    struct stat st;
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (!str_starts(str_c(e->d_name), str_c(kind)) ||
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path || lstat(path, &st) < 0)
            continue;
        n++;
        if (oldest[0] != '\0' && !is_older(&st.st_mtim, &at))
            continue;
        at = st.st_mtim;
        (void)str_copy(oldest, sizeof oldest, str_c(path));
    }
    if (d)
        (void)closedir(d);
    if (n >= KEPT_FILES_MAX)
        (void)unlink(oldest);
}

void kept_write(const char *folder, const char *kind, uint32_t layout, struct hash128 key, const void *p, size_t size)
{
    char path[PATH_CAP], bytes[sizeof(struct head) + SIZE_MAX_KEPT];
    struct head h = {.magic = MAGIC, .layout = layout, .size = size, .key = key, .sum = hash64(p, size, MAGIC)};
    struct err err;
    if (size > SIZE_MAX_KEPT || !path_of(folder, kind, key, path))
        return;
    if (access(path, F_OK) < 0)
        sweep(folder, kind);
    memcpy(bytes, &h, sizeof h);
    memcpy(bytes + sizeof h, p, size);
    (void)file_replace(path, (struct str){bytes, sizeof h + size}, false, &err);
}
