#include "sys/oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sys/cgroup_int.h"
#include "sys/fd.h"

#define MACHINE    "/proc/vmstat"
#define TEXT_MAX   32768               /* /proc/vmstat has 4 to 8 KiB */
#define LIMIT_SANE (UINT64_C(1) << 60) /* v1 says "none" by a number near the greatest */
#define WHOLE_PATH 1200

static struct str read_all(const char *path, char *out, size_t size)
{
    size_t n = 0;
    ssize_t got = 1;
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && got > 0 && n < size) {
        got = read(fd, out + n, size - n);
        n += got > 0 ? (size_t)got : 0;
    }
    return (struct str){out, n};
}

/* The number in the line "oom_kill N". */
static bool counter_in(const char *path, uint64_t *out)
{
    char text[TEXT_MAX];
    struct str rest = read_all(path, text, sizeof text), value;
    while (rest.n > 0) {
        struct str line = str_cut(rest, '\n', &rest);
        if (str_eq_c(str_cut(line, ' ', &value), "oom_kill"))
            return str_to_u64(str_trim(value), out);
    }
    return false;
}

static void counter_path(const struct oom_watch *w, char *out, size_t size)
{
    if (w->mount[0])
        (void)snprintf(out, size, "%s%s/%s", w->mount, w->group, w->is_v2 ? "memory.events" : "memory.oom_control");
    else
        (void)snprintf(out, size, MACHINE);
}

static bool counter(const struct oom_watch *w, uint64_t *out)
{
    char path[WHOLE_PATH];
    counter_path(w, path, sizeof path);
    return counter_in(path, out);
}

/* In a container the group may be named by the host's path, while the tree begins at the container's. */
static bool take_group(struct oom_watch *w, const char *root, const char *below, struct str self,
                       const char *controller)
{
    uint64_t n;
    (void)snprintf(w->mount, sizeof w->mount, "%s%s", root, below);
    if (!cgroup_own(self, str_c(controller), w->group, sizeof w->group))
        return false;
    if (strstr(w->group, "/..") == NULL && counter(w, &n))
        return true;
    w->group[0] = '\0';
    return counter(w, &n);
}

void oom_watch_open(struct oom_watch *w, const char *root, const char *self_path)
{
    static const struct {
        const char *below, *controller;
        bool is_v2;
    } places[] = {{"", "", true}, {"/unified", "", true}, {"/memory", "memory", false}};
    char text[8192];
    struct str self = cgroup_read(self_path, text, sizeof text);
    *w = (struct oom_watch){0};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        w->is_v2 = places[i].is_v2;
        if (take_group(w, root, places[i].below, self, places[i].controller))
            break;
        w->mount[0] = w->group[0] = '\0';
    }
    (void)counter(w, &w->seen);
    w->last = w->seen;
}

bool oom_watch_took(struct oom_watch *w)
{
    uint64_t now;
    if (!counter(w, &now) || now <= w->seen)
        return false;
    w->seen++;
    return true;
}

void oom_watch_age(struct oom_watch *w)
{
    uint64_t now;
    if (!counter(w, &now))
        return;
    w->seen = w->seen > w->last ? w->seen : w->last;
    w->last = now;
}

static uint64_t limit_of(const struct oom_watch *w, const char *group)
{
    char path[WHOLE_PATH], text[64];
    uint64_t n;
    (void)snprintf(path, sizeof path, "%s%s/%s", w->mount, group, w->is_v2 ? "memory.max" : "memory.limit_in_bytes");
    return str_to_u64(str_trim(cgroup_read(path, text, sizeof text)), &n) && n < LIMIT_SANE ? n : 0;
}

/* Any group around ours may be the one that is full: the one with the least limit is it first. */
void oom_watch_describe(const struct oom_watch *w, char *out, size_t size)
{
    char group[sizeof w->group], tightest[sizeof w->group] = "";
    uint64_t least = 0;
    (void)str_copy(group, sizeof group, str_c(w->group));
    for (bool is_more = w->mount[0] != '\0'; is_more;) {
        uint64_t n = limit_of(w, group);
        if (n > 0 && (least == 0 || n < least)) {
            least = n;
            (void)str_copy(tightest, sizeof tightest, str_c(group));
        }
        char *slash = strrchr(group, '/');
        is_more = slash != NULL;
        if (slash)
            *slash = '\0';
    }
    if (least > 0)
        (void)snprintf(out, size, "the limit of %llu MiB of the control group %s", (unsigned long long)(least >> 20),
                       tightest[0] ? tightest : "/");
    else
        (void)snprintf(out, size, "the machine's memory");
}
