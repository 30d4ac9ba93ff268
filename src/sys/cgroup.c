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

struct cgroup_calls cgroup_calls = {.make = mkdir, .remove = rmdir, .controller = "cpu"};

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

/* ---- v2: the controller must be handed down to our groups ---- */

/* sign: '+' or '-'. */
static bool hand_down(const char *group, char sign)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%c%s", sign, cgroup_calls.controller);
    return write_file(group, "cgroup.subtree_control", text);
}

/* We, or a child of ours. */
static bool is_ours(int64_t pid)
{
    char path[64], text[512];
    int64_t parent = 0;
    if (pid == (int64_t)getpid())
        return true;
    (void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    struct str stat =
        cgroup_read(path, text, sizeof text); /* "PID (name) state parent ...", the name may hold anything */
    size_t at = stat.n;
    while (at > 0 && stat.p[at - 1] != ')')
        at--;
    stat = str_sub(stat, at + sizeof " S " - 1, stat.n);
    return str_to_i64(str_cut(stat, ' ', &stat), &parent) && parent == (int64_t)getpid();
}

/* Each process of a group into another; only_ours: none, if one is another's. */
static bool move_all(const char *from, const char *to, bool only_ours)
{
    char path[1100], text[8192], line[24];
    (void)snprintf(path, sizeof path, "%s/cgroup.procs", from);
    struct str all = cgroup_read(path, text, sizeof text);
    int64_t pid;
    if (all.n >= sizeof text - 1) /* so many are not ours alone */
        return false;
    for (struct str rest = all; only_ours && rest.n > 0;)
        if (!str_to_i64(str_cut(rest, '\n', &rest), &pid) || !is_ours(pid))
            return false;
    while (all.n > 0) {
        struct str one = str_cut(all, '\n', &all);
        (void)str_copy(line, sizeof line, one);
        if (!write_file(to, "cgroup.procs", line) && errno != ESRCH)
            return false;
    }
    return true;
}

static void own_folder(const struct cgroup *g, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s/own", g->base);
}

static void step_back(struct cgroup *g)
{
    char own[900], parent[768];
    (void)str_copy(parent, sizeof parent, str_c(g->base));
    *strrchr(parent, '/') = '\0';
    own_folder(g, own, sizeof own);
    (void)hand_down(g->base, '-');
    (void)hand_down(parent, '-');
    (void)move_all(own, parent, false);
    g->is_aside = false;
}

/* Makes room in our group, where nobody else is in it. */
static bool step_aside(struct cgroup *g, const char *parent)
{
    char own[900];
    if (!make_base(g, parent))
        return false;
    own_folder(g, own, sizeof own);
    g->is_aside = (cgroup_calls.make(own, 0755) == 0 || errno == EEXIST) && move_all(parent, own, true);
    if (g->is_aside && hand_down(parent, '+'))
        return true;
    if (g->is_aside)
        step_back(g);
    (void)cgroup_calls.remove(own);
    (void)cgroup_calls.remove(g->base);
    return false;
}

static bool open_in(struct cgroup *g, const char *parent)
{
    char own[900];
    if (!hand_down(parent, '+') && !step_aside(g, parent))
        return false;
    if (!make_base(g, parent) || !hand_down(g->base, '+'))
        return false;
    own_folder(g, own, sizeof own);
    if (g->is_aside) /* who reads and answers comes before every model, as without groups; a controller of tests has no weight */
        (void)write_file(own, "cpu.weight", "10000");
    return true;
}

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
        if (has_word(have, str_c(cgroup_calls.controller)) && open_in(g, parent))
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
    if (g->is_aside)
        step_back(g);
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
