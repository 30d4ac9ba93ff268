/* Control groups in a tree of plain files, with a kernel of two functions: it makes a group's control files with its folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/cgroup_int.h"
#include "sys/cpu.h"
#include "t.h"

static char root[256], self[300];

static const char *in_root(const char *path)
{
    static char out[4][1200];
    static int next;
    char *at = out[next++ % 4];
    (void)snprintf(at, sizeof out[0], "%s%s", root, path);
    return at;
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    EXPECT(fd >= 0);
    EXPECT_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static const char *got(const char *path)
{
    static char text[200];
    struct str s = cgroup_read(path, text, sizeof text - 1);
    text[s.n] = '\0';
    return s.n == 0 && access(path, F_OK) < 0 ? "(none)" : text;
}

static void folder(const char *path)
{
    EXPECT(mkdir(in_root(path), 0755) == 0 || errno == EEXIST);
}

/* Files of a new group: as v1's and v2's kernel make them. */
static int make_group(const char *path, mode_t mode)
{
    static const char *const files[] = {"cgroup.procs", "cgroup.controllers", "cgroup.subtree_control",
                                        "cpu.weight",   "cpu.shares",         NULL};
    char at[1200];
    if (mkdir(path, mode) < 0)
        return -1;
    for (int i = 0; files[i]; i++) {
        (void)snprintf(at, sizeof at, "%s/%s", path, files[i]);
        put(at, "");
    }
    return 0;
}

/* Groups with groups in them stay, as with the kernel. */
static int remove_group(const char *path)
{
    char at[1200];
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return -1;
    }
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        (void)snprintf(at, sizeof at, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.' && stat(at, &st) == 0 && !S_ISDIR(st.st_mode))
            (void)unlink(at);
    }
    (void)closedir(d);
    return rmdir(path);
}

static int refuse_group(const char *path, mode_t mode)
{
    (void)path;
    (void)mode;
    errno = EACCES;
    return -1;
}

static void begin(const char *groups)
{
    (void)snprintf(root, sizeof root, "%s", t_tmpdir());
    (void)snprintf(self, sizeof self, "%s/self", t_tmpdir());
    put(self, groups);
    cgroup_calls = (struct cgroup_calls){.make = make_group, .remove = remove_group, .controller = "cpu"};
}

/* A v2 tree whose group /a/b is ours, with the cpu controller to hand down or without. */
static void begin_v2(const char *controllers)
{
    begin("0::/a/b\n");
    folder("/a");
    folder("/a/b");
    put(in_root("/a/b/cgroup.controllers"), controllers);
    put(in_root("/a/b/cgroup.subtree_control"), "");
}

static struct cgroup g;
static struct err err;

static void open_group(void)
{
    cgroup_open_at(&g, root, self, 60);
}

static const char *in_base(const char *name)
{
    static char out[2][1000];
    static int next;
    char *at = out[next++ % 2];
    (void)snprintf(at, sizeof out[0], "%s/%s", g.base, name);
    return at;
}

static void put_three(int pid)
{
    EXPECT_EQ(cgroup_put(&g, "high", 60, pid, &err), ERR_OK);
    EXPECT_EQ(cgroup_put(&g, "medium", 30, pid, &err), ERR_OK);
    EXPECT_EQ(cgroup_put(&g, "low", 10, pid, &err), ERR_OK);
}

/* ---- classes ---- */

TEST(cgroup_v2_gives_each_class_its_weight)
{
    char expected[300];
    begin_v2("cpuset cpu io memory\n");
    open_group();
    EXPECT_EQ(g.kind, CGROUP_V2);
    (void)snprintf(expected, sizeof expected, "%s/a/b/quern-%d", root, (int)getpid());
    EXPECT_CSTR(g.base, expected);
    EXPECT_CSTR(got(in_root("/a/b/cgroup.subtree_control")), "+cpu");
    EXPECT_CSTR(got(in_base("cgroup.subtree_control")), "+cpu");
    put_three(4711);
    EXPECT_CSTR(got(in_base("high/cpu.weight")), "6000");
    EXPECT_CSTR(got(in_base("medium/cpu.weight")), "3000");
    EXPECT_CSTR(got(in_base("low/cpu.weight")), "1000");
    EXPECT_CSTR(got(in_base("low/cgroup.procs")), "4711");
    EXPECT_CSTR(got(in_base("low/cpu.shares")), "");
}

TEST(cgroup_v2_at_the_root_of_the_tree)
{
    begin("0::/\n");
    put(in_root("/cgroup.controllers"), "cpu\n");
    put(in_root("/cgroup.subtree_control"), "");
    open_group();
    EXPECT_EQ(g.kind, CGROUP_V2);
    put_three(1);
    EXPECT_CSTR(got(in_base("medium/cpu.weight")), "3000");
}

TEST(cgroup_v2_beside_v1_without_cpu_leaves_it_to_v1)
{
    begin("2:cpu,cpuacct:/x\n0::/\n");
    folder("/unified");
    put(in_root("/unified/cgroup.controllers"), "\n");
    folder("/cpu,cpuacct");
    folder("/cpu,cpuacct/x");
    open_group();
    EXPECT_EQ(g.kind, CGROUP_V1);
    EXPECT(str_contains(str_c(g.base), STR("/cpu,cpuacct/x/quern-")));
    put_three(12);
    EXPECT_CSTR(got(in_base("high/cpu.shares")), "614");
    EXPECT_CSTR(got(in_base("medium/cpu.shares")), "307");
    EXPECT_CSTR(got(in_base("low/cpu.shares")), "102");
    EXPECT_CSTR(got(in_base("high/cgroup.procs")), "12");
}

TEST(cgroup_v2_in_the_unified_folder)
{
    begin("2:cpu:/\n0::/s\n");
    folder("/unified");
    folder("/unified/s");
    put(in_root("/unified/s/cgroup.controllers"), "io cpu");
    put(in_root("/unified/s/cgroup.subtree_control"), "");
    open_group();
    EXPECT_EQ(g.kind, CGROUP_V2);
    EXPECT(str_contains(str_c(g.base), STR("/unified/s/quern-")));
}

TEST(cgroup_controllers_that_only_look_like_cpu)
{
    begin_v2("cpuset cpuacct\n");
    open_group();
    EXPECT_EQ(g.kind, CGROUP_NICE);
}

/* A group that holds processes may not hand its controllers down: the kernel refuses the write. */
TEST(cgroup_v2_that_does_not_hand_down_is_not_used)
{
    begin_v2("cpu");
    EXPECT_EQ(unlink(in_root("/a/b/cgroup.subtree_control")), 0);
    folder("/a/b/cgroup.subtree_control"); /* cannot be written, whoever we are */
    open_group();
    EXPECT_EQ(g.kind, CGROUP_NICE);
    EXPECT(str_contains(str_c(g.why), STR("nice values")));
}

TEST(cgroup_without_permission_is_nice)
{
    begin_v2("cpu");
    cgroup_calls.make = refuse_group;
    open_group();
    EXPECT_EQ(g.kind, CGROUP_NICE);
    EXPECT(str_contains(str_c(g.why), STR("run as root")));
}

/* As another user, with the kernel's own refusals. */
TEST(cgroup_of_another_user_is_nice)
{
    begin_v2("cpu");
    EXPECT_EQ(chmod(in_root("/a/b"), 0555), 0);
    EXPECT_EQ(chmod(in_root("/a/b/cgroup.subtree_control"), 0444), 0);
    if (getuid() == 0 && setuid(65534) < 0)
        SKIP("cannot become another user");
    open_group();
    EXPECT_EQ(g.kind, CGROUP_NICE);
}

TEST(cgroup_nothing_mounted_is_nice)
{
    begin("");
    open_group();
    EXPECT_EQ(g.kind, CGROUP_NICE);
    (void)unlink(self);
    open_group();
    EXPECT_EQ(g.kind, CGROUP_NICE);
}

static int nice_in_class(const char *name, int share)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(cgroup_put(&g, name, share, getpid(), &err) == ERR_OK ? getpriority(PRIO_PROCESS, 0) : 99);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

/* One step of nice is a factor of 1.25: half is 4 steps, a sixth is 9. */
TEST(cgroup_nice_values_of_the_three_classes)
{
    begin("");
    open_group();
    int own = getpriority(PRIO_PROCESS, 0);
    if (own != 0)
        SKIP("started at nice %d", own);
    EXPECT_EQ(nice_in_class("high", 60), 0);
    EXPECT_EQ(nice_in_class("medium", 30), 4);
    EXPECT_EQ(nice_in_class("low", 10), 9);
}

TEST(cgroup_smallest_shares_are_allowed_ones)
{
    begin_v2("cpu");
    open_group();
    EXPECT_EQ(cgroup_put(&g, "least", 1, 5, &err), ERR_OK);
    EXPECT_CSTR(got(in_base("least/cpu.weight")), "100");
    EXPECT_EQ(cgroup_put(&g, "most", 100, 5, &err), ERR_OK);
    EXPECT_CSTR(got(in_base("most/cpu.weight")), "10000"); /* the kernel's greatest */
    begin("4:cpu:/\n");
    folder("/cpu");
    open_group();
    EXPECT_EQ(g.kind, CGROUP_V1);
    EXPECT_EQ(cgroup_put(&g, "least", 1, 5, &err), ERR_OK);
    EXPECT_CSTR(got(in_base("least/cpu.shares")), "10");
}

TEST(cgroup_a_process_that_cannot_be_moved_is_an_error)
{
    begin_v2("cpu");
    open_group();
    EXPECT_EQ(cgroup_put(&g, "high", 60, 1, &err), ERR_OK);
    EXPECT_EQ(unlink(in_base("high/cgroup.procs")), 0);
    EXPECT(cgroup_put(&g, "high", 60, 1, &err) != ERR_OK);
    EXPECT(str_contains(str_c(err.text), STR("cannot move process 1 into class high")));
}

TEST(cgroup_close_leaves_nothing)
{
    begin_v2("cpu");
    open_group();
    put_three(3);
    cgroup_close(&g);
    EXPECT(access(g.base, F_OK) < 0);
    EXPECT(access(in_root("/a/b"), F_OK) == 0);
}

TEST(cgroup_groups_of_dead_masters_are_removed)
{
    char dead[100], alive[100];
    begin_v2("cpu");
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    (void)snprintf(dead, sizeof dead, "/a/b/quern-%d", (int)pid);
    (void)snprintf(alive, sizeof alive, "/a/b/quern-%d", (int)getppid());
    EXPECT_EQ(make_group(in_root(dead), 0755), 0);
    EXPECT_EQ(make_group(in_root("/a/b/quern-zwei"), 0755), 0);
    EXPECT_EQ(make_group(in_root(alive), 0755), 0);
    open_group();
    EXPECT(access(in_root(dead), F_OK) < 0);
    EXPECT(access(in_root(alive), F_OK) == 0);
    EXPECT(access(in_root("/a/b/quern-zwei"), F_OK) == 0);
}

/* ---- quotas ---- */

static int cores(void)
{
    return cgroup_cores(root, self);
}

TEST(quota_v2_rounds_up_and_knows_max)
{
    static const struct {
        const char *text;
        int cores;
    } cases[] = {{"max 100000\n", 0},
                 {"200000 100000\n", 2},
                 {"150000 100000\n", 2},
                 {"50000 100000\n", 1},
                 {"1000 100000", 1},
                 {"400000 100000\n", 4},
                 {"", 0},
                 {"100000", 0},
                 {"0 100000\n", 0},
                 {"100000 0\n", 0},
                 {"-1 100000\n", 0},
                 {"x y\n", 0},
                 {"18446744073709551615 1\n", 0}};
    begin_v2("cpu");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        put(in_root("/a/b/cpu.max"), cases[i].text);
        if (cores() != cases[i].cores)
            FAIL("\"%s\": %d cores instead of %d", cases[i].text, cores(), cases[i].cores);
    }
}

TEST(quota_v2_of_groups_around_ours_counts)
{
    begin_v2("cpu");
    put(in_root("/a/b/cpu.max"), "max 100000\n");
    put(in_root("/a/cpu.max"), "300000 100000\n");
    EXPECT_EQ(cores(), 3);
    put(in_root("/a/b/cpu.max"), "500000 100000\n");
    EXPECT_EQ(cores(), 3);
    put(in_root("/a/b/cpu.max"), "100000 100000\n");
    EXPECT_EQ(cores(), 1);
    EXPECT_EQ(unlink(in_root("/a/b/cpu.max")), 0); /* its controller is not on here */
    EXPECT_EQ(cores(), 3);
}

/* Inside of a container the mount point is our group, with or without a namespace that says so. */
TEST(quota_v2_in_a_container)
{
    static const char *const selves[] = {"0::/\n", "0::/docker/0123abcd\n", "0::/../../other\n"};
    for (size_t i = 0; i < ARRAY_LEN(selves); i++) {
        begin(selves[i]);
        put(in_root("/cpu.max"), "200000 100000\n");
        EXPECT_EQ(cores(), 2);
    }
}

TEST(quota_v1_in_each_place)
{
    static const char *const selves[] = {"4:cpu:/s/t\n", "4:cpu,cpuacct:/s/t\n", "3:x:/\n4:cpuacct,cpu:/s/t\n0::/\n"};
    static const char *const mounts[] = {"/cpu", "/cpu,cpuacct", "/cpuacct,cpu"};
    char path[200];
    for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
        static const char *const levels[] = {"", "/s", "/s/t"};
        begin(selves[i]);
        for (size_t k = 0; k < ARRAY_LEN(levels); k++) {
            (void)snprintf(path, sizeof path, "%s%s", mounts[i], levels[k]);
            folder(path);
            (void)snprintf(path, sizeof path, "%s%s/cpu.cfs_period_us", mounts[i], levels[k]);
            put(in_root(path), "50000\n");
            (void)snprintf(path, sizeof path, "%s%s/cpu.cfs_quota_us", mounts[i], levels[k]);
            put(in_root(path), k == 1 ? "120000\n" : "-1\n"); /* the group around ours has one */
        }
        EXPECT_EQ(cores(), 3);
        put(in_root(path), "75000\n");
        EXPECT_EQ(cores(), 2);
    }
}

TEST(quota_v1_in_a_container_named_by_the_host)
{
    begin("4:cpu,cpuacct:/docker/0123abcd\n0::/\n");
    folder("/cpu,cpuacct");
    put(in_root("/cpu,cpuacct/cpu.cfs_quota_us"), "100000\n");
    put(in_root("/cpu,cpuacct/cpu.cfs_period_us"), "100000\n");
    EXPECT_EQ(cores(), 1);
}

TEST(quota_least_of_v1_and_v2)
{
    begin("4:cpu:/\n0::/u\n");
    folder("/cpu");
    put(in_root("/cpu/cpu.cfs_quota_us"), "600000\n");
    put(in_root("/cpu/cpu.cfs_period_us"), "100000\n");
    EXPECT_EQ(cores(), 6);
    folder("/unified");
    folder("/unified/u");
    put(in_root("/unified/u/cpu.max"), "500000 100000\n");
    EXPECT_EQ(cores(), 5);
}

TEST(quota_without_any_group)
{
    begin("");
    EXPECT_EQ(cores(), 0);
    (void)unlink(self);
    EXPECT_EQ(cores(), 0);
}

/* ---- memory ---- */

TEST(memory_v2_is_what_limits_leave)
{
    begin_v2("cpu memory");
    EXPECT_EQ(cgroup_memory(root, self), 0);
    put(in_root("/a/b/memory.max"), "max\n");
    put(in_root("/a/b/memory.current"), "5000\n");
    EXPECT_EQ(cgroup_memory(root, self), 0);
    put(in_root("/a/memory.max"), "100000\n"); /* of the group around ours */
    put(in_root("/a/memory.current"), "70000\n");
    EXPECT_EQ(cgroup_memory(root, self), 30000);
    put(in_root("/a/memory.stat"), "anon 1\nfile 60000\ninactive_file 20000\nactive_file 40000\n");
    EXPECT_EQ(cgroup_memory(root, self), 50000); /* pages that are given up first */
    put(in_root("/a/memory.current"), "130000\n");
    EXPECT_EQ(cgroup_memory(root, self), 1);
}

TEST(memory_v1_knows_no_limit_by_a_great_number)
{
    begin("5:memory:/m\n4:cpu:/\n");
    folder("/memory");
    folder("/memory/m");
    put(in_root("/memory/memory.limit_in_bytes"), "9223372036854771712\n");
    put(in_root("/memory/memory.usage_in_bytes"), "1000\n");
    EXPECT_EQ(cgroup_memory(root, self), 0);
    put(in_root("/memory/m/memory.limit_in_bytes"), "40000\n");
    put(in_root("/memory/m/memory.usage_in_bytes"), "30000\n");
    put(in_root("/memory/m/memory.stat"), "inactive_file 1\ntotal_inactive_file 500\n");
    EXPECT_EQ(cgroup_memory(root, self), 10500);
}

TEST(memory_of_this_machine)
{
    uint64_t left = memory_available();
    EXPECT(left > 0);
    EXPECT(left <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

/* ---- the real kernel, where it lets us ---- */

static bool is_in_class(int pid, const char *name)
{
    char path[64], text[4096], end[200];
    (void)snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
    (void)snprintf(end, sizeof end, "/quern-%d/%s\n", (int)getpid(), name);
    return str_contains(cgroup_read(path, text, sizeof text), str_c(end));
}

TEST(cgroup_of_the_kernel_takes_a_process_and_goes)
{
    int status, ends[2];
    cgroup_open(&g, CGROUP_ROOT, 60);
    if (g.kind == CGROUP_NICE)
        SKIP("%.200s", g.why);
    EXPECT_EQ(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        (void)close(ends[1]);
        _exit(read(ends[0], &c, 1) == 0 ? 0 : 1);
    }
    EXPECT_EQ(cgroup_put(&g, "high", 60, pid, &err), ERR_OK);
    EXPECT(is_in_class(pid, "high"));
    EXPECT_EQ(cgroup_put(&g, "low", 10, pid, &err), ERR_OK);
    EXPECT(is_in_class(pid, "low"));
    EXPECT_CSTR(got(in_base(g.kind == CGROUP_V2 ? "low/cpu.weight" : "low/cpu.shares")),
                g.kind == CGROUP_V2 ? "1000" : "102");
    (void)close(ends[1]);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    cgroup_close(&g);
    EXPECT(access(g.base, F_OK) < 0);
}

/* ---- v2 of this kernel, with whatever controller it can hand down ---- */

static char v2_root[64], controller[32], group[300];
static bool was_down;

static bool find_v2(void)
{
    static const char *const places[] = {CGROUP_ROOT, CGROUP_ROOT "/unified"};
    char path[100], text[300];
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        (void)snprintf(path, sizeof path, "%s/cgroup.controllers", places[i]);
        struct str all = cgroup_read(path, text, sizeof text), first = str_cut(all, ' ', &all);
        if (first.n == 0 || !str_copy(controller, sizeof controller, first))
            continue;
        (void)str_copy(v2_root, sizeof v2_root, str_c(places[i]));
        return true;
    }
    return false;
}

static bool tell(const char *folder_path, const char *name, const char *text)
{
    char path[500];
    (void)snprintf(path, sizeof path, "%s/%s", folder_path, name);
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

static void join(const char *path, int pid)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%d", pid);
    EXPECT(tell(path, "cgroup.procs", text));
}

static void begin_real(void)
{
    char text[300], path[100];
    if (!find_v2())
        SKIP("this kernel's cgroup v2 has no controller to hand down");
    (void)snprintf(group, sizeof group, "%s/quern-test-%d", v2_root, (int)getpid());
    (void)snprintf(path, sizeof path, "%s/cgroup.subtree_control", v2_root);
    was_down = str_contains(cgroup_read(path, text, sizeof text), str_c(controller));
    (void)snprintf(text, sizeof text, "+%s", controller);
    if (mkdir(group, 0755) < 0)
        SKIP("no group may be made in %s", v2_root);
    if (!tell(v2_root, "cgroup.subtree_control", text)) {
        (void)rmdir(group);
        SKIP("%s hands nothing down", v2_root);
    }
    cgroup_calls.controller = controller;
    (void)snprintf(self, sizeof self, "%s/self", t_tmpdir());
    (void)snprintf(text, sizeof text, "0::/quern-test-%d\n", (int)getpid());
    put(self, text);
    join(group, getpid());
}

static void end_real(void)
{
    char text[40];
    join(v2_root, getpid());
    EXPECT_EQ(rmdir(group), 0);
    (void)snprintf(text, sizeof text, "-%s", controller);
    if (!was_down)
        (void)tell(v2_root, "cgroup.subtree_control", text);
}

static bool is_in_group(int pid, const char *below)
{
    char path[64], text[4096], own[300], want[300];
    (void)snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
    (void)snprintf(want, sizeof want, "/%s%s", strrchr(group, '/') + 1, below);
    return cgroup_own(cgroup_read(path, text, sizeof text), STR(""), own, sizeof own) && strcmp(own, want) == 0;
}

static pid_t child(int ends[2])
{
    char c;
    EXPECT_EQ(pipe(ends), 0);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    (void)close(ends[1]);
    _exit(read(ends[0], &c, 1) == 0 ? 0 : 1);
}

/* As a unit of systemd with Delegate=yes: the group is ours, and we are in it. */
TEST(cgroup_v2_of_the_kernel_hands_down_beside_its_processes)
{
    char below[64];
    int ends[2], status;
    begin_real();
    pid_t pid = child(ends);
    cgroup_open_at(&g, v2_root, self, 60);
    EXPECT_EQ(g.kind, CGROUP_V2);
    EXPECT(g.is_aside);
    (void)snprintf(below, sizeof below, "/quern-%d/own", (int)getpid());
    EXPECT(is_in_group(getpid(), below));
    EXPECT(is_in_group(pid, below));
    EXPECT(str_contains(str_c(got(in_base("cgroup.subtree_control"))), str_c(controller)));
    (void)close(ends[1]);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    cgroup_close(&g);
    EXPECT(access(g.base, F_OK) < 0);
    EXPECT(is_in_group(getpid(), ""));
    end_real();
}

/* As a terminal's: whoever else is in the group is not moved, and nobody is. */
TEST(cgroup_v2_of_the_kernel_moves_nobody_elses_processes)
{
    int ends[2], status;
    begin_real();
    pid_t other = child(ends);
    pid_t pid = fork();
    if (pid == 0) { /* its sibling and its parent are not its own */
        cgroup_open_at(&g, v2_root, self, 60);
        _exit(g.kind != CGROUP_V2 && !g.is_aside && is_in_group(getpid(), "") ? 0 : 1);
    }
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    EXPECT(is_in_group(other, ""));
    EXPECT(is_in_group(getpid(), ""));
    (void)close(ends[1]);
    EXPECT_EQ(waitpid(other, &status, 0), other);
    end_real();
}
