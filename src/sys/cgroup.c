#include "sys/cgroup_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"

#define PREFIX        "quern-"
#define V1_SHARE_UNIT 1024 /* cpu.shares of a share of 100 */
#define NICE_MAX      19

struct cgroup_calls cgroup_calls = {.make = mkdir, .remove = rmdir};

static bool write_file(const char *folder, const char *name, const char *text)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    return n == (ssize_t)strlen(text);
}

struct str cgroup_read(const char *path, char *out, size_t out_size)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, out_size);
    if (n > 0 && out[n - 1] == '\n')
        n--;
    return (struct str){out, n > 0 ? (size_t)n : 0};
}

/* A line is "N:<controllers>:<path>". */
bool cgroup_own(struct str self, struct str controller, char *out, size_t out_size)
{
    while (self.n > 0) {
        struct str line = str_cut(self, '\n', &self), path;
        (void)str_cut(line, ':', &line);
        if (str_eq(str_cut(line, ':', &path), controller))
            return str_copy(out, out_size, str_eq_c(path, "/") ? STR("") : path);
    }
    return false;
}

/* quern-<pid> folders whose master is gone: their class folders, then they. Folders in use refuse to go. */
static void sweep(const char *parent)
{
    DIR *d = opendir(parent);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        int64_t pid;
        struct str name = str_c(e->d_name);
        if (!str_starts(name, STR(PREFIX)) || !str_to_i64(str_sub(name, sizeof PREFIX - 1, name.n), &pid) ||
            kill((pid_t)pid, 0) == 0 || errno != ESRCH)
            continue;
        struct cgroup old = {.kind = CGROUP_V1};
        if (snprintf(old.base, sizeof old.base, "%s/%s", parent, e->d_name) < (int)sizeof old.base)
            cgroup_close(&old);
    }
    if (d)
        (void)closedir(d);
}

static bool make_base(struct cgroup *g, const char *parent)
{
    sweep(parent);
    int n = snprintf(g->base, sizeof g->base, "%s/" PREFIX "%d", parent, (int)getpid());
    return n < (int)sizeof g->base && (cgroup_calls.make(g->base, 0755) == 0 || errno == EEXIST);
}

static bool has_word(struct str list, struct str word)
{
    while (list.n > 0)
        if (str_eq(str_cut(list, ' ', &list), word))
            return true;
    return false;
}

/* v2: the cpu controller must be handed down to our groups. A group that holds processes may not hand down (but the root may), so this works
 * where quern was given a group of its own, or is root of the tree. */
static bool open_v2(struct cgroup *g, const char *root, struct str self)
{
    char own[256], parent[600], path[700], text[512];
    static const char *const places[] = {"", "/unified"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (!cgroup_own(self, STR(""), own, sizeof own))
            return false;
        (void)snprintf(parent, sizeof parent, "%s%s%s", root, places[i], own);
        (void)snprintf(path, sizeof path, "%s/cgroup.controllers", parent);
        struct str have = cgroup_read(path, text, sizeof text);
        if (!has_word(have, STR("cpu")))
            continue;
        if (write_file(parent, "cgroup.subtree_control", "+cpu") && make_base(g, parent) &&
            write_file(g->base, "cgroup.subtree_control", "+cpu"))
            return true;
    }
    return false;
}

static bool open_v1(struct cgroup *g, const char *root, struct str self)
{
    char own[256], parent[600];
    static const char *const controllers[] = {"cpu", "cpu,cpuacct", "cpuacct,cpu"};
    for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
        if (!cgroup_own(self, str_c(controllers[i]), own, sizeof own))
            continue;
        (void)snprintf(parent, sizeof parent, "%s/%s%s", root, controllers[i], own);
        if (make_base(g, parent))
            return true;
    }
    return false;
}

void cgroup_open(struct cgroup *g, const char *root, int share_max)
{
    cgroup_open_at(g, root, CGROUP_SELF, share_max);
}

void cgroup_open_at(struct cgroup *g, const char *root, const char *self_path, int share_max)
{
    char text[8192];
    struct str self = cgroup_read(self_path, text, sizeof text);
    *g = (struct cgroup){.kind = CGROUP_V2, .share_max = share_max};
    if (open_v2(g, root, self)) {
        (void)snprintf(g->why, sizeof g->why, "cgroup v2 weights below %s", g->base);
        return;
    }
    g->kind = CGROUP_V1;
    if (open_v1(g, root, self)) {
        (void)snprintf(g->why, sizeof g->why, "cgroup v1 shares below %s (the v2 cpu controller is not available here)",
                       g->base);
        return;
    }
    g->kind = CGROUP_NICE;
    (void)snprintf(g->why, sizeof g->why,
                   "nice values: no cgroup may be made below %s (run as root, or delegate a group to this user)", root);
}

/* A tenth of the share is about nice +10: each step of nice is a factor of 1.25. */
static int nice_of(int share, int share_max)
{
    int n = 0;
    double s = share;
    while (s < share_max && n < NICE_MAX) {
        s *= 1.25;
        n++;
    }
    return n;
}

static enum err_code put_nice(const struct cgroup *g, int share, int pid, struct err *err)
{
    if (setpriority(PRIO_PROCESS, (id_t)pid, nice_of(share, g->share_max)) < 0 && errno != EACCES)
        return err_sys(err, ERR_IO, errno, "cannot set the priority of process %d", pid);
    return ERR_OK; /* EACCES: it is lower already */
}

enum err_code cgroup_put(struct cgroup *g, const char *class_name, int share, int pid, struct err *err)
{
    char folder[900], text[32];
    if (g->kind == CGROUP_NICE)
        return put_nice(g, share, pid, err);
    (void)snprintf(folder, sizeof folder, "%s/%s", g->base, class_name);
    if (cgroup_calls.make(folder, 0755) < 0 && errno != EEXIST)
        return err_sys(err, ERR_IO, errno, "cannot make the control group %s", folder);
    if (g->kind == CGROUP_V2)
        (void)snprintf(text, sizeof text, "%d", share * 100); /* cpu.weight: 1 to 10000 */
    else
        (void)snprintf(text, sizeof text, "%d", share * V1_SHARE_UNIT / 100 > 2 ? share * V1_SHARE_UNIT / 100 : 2);
    if (!write_file(folder, g->kind == CGROUP_V2 ? "cpu.weight" : "cpu.shares", text))
        return err_sys(err, ERR_IO, errno, "cannot set the share of class %s", class_name);
    (void)snprintf(text, sizeof text, "%d", pid);
    if (!write_file(folder, "cgroup.procs", text))
        return err_sys(err, ERR_IO, errno, "cannot move process %d into class %s", pid, class_name);
    return ERR_OK;
}

void cgroup_close(struct cgroup *g)
{
    char path[1100];
    if (g->kind == CGROUP_NICE || g->base[0] == '\0')
        return;
    DIR *d = opendir(g->base);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", g->base, e->d_name);
        (void)cgroup_calls.remove(path); /* control files refuse, class folders go */
    }
    if (d)
        (void)closedir(d);
    (void)cgroup_calls.remove(g->base);
}
