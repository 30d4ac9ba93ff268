/* The kernel's counters as files of our own, and the machine's as it is. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/oom.h"
#include "t.h"

static char root[200];

static const char *in_root(const char *path)
{
    static char at[400];
    (void)snprintf(at, sizeof at, "%s%s", root, path);
    return at;
}

static void put(const char *path, const char *text)
{
    int fd = open(in_root(path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    EXPECT(fd >= 0);
    EXPECT_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void folder(const char *path)
{
    EXPECT_EQ(mkdir(in_root(path), 0755), 0);
}

static void open_with(struct oom_watch *w, const char *self)
{
    char path[400];
    put("/self", self);
    (void)snprintf(path, sizeof path, "%s/self", root);
    oom_watch_open(w, root, path);
}

static void v2_group(const char *kills)
{
    (void)snprintf(root, sizeof root, "%s", t_tmpdir());
    folder("/unit");
    folder("/unit/quern");
    put("/unit/memory.max", "314572800\n");
    put("/unit/quern/memory.max", "max\n");
    put("/unit/quern/memory.events", kills);
}

TEST(a_death_is_given_to_one_process)
{
    struct oom_watch w;
    v2_group("low 0\nhigh 7\nmax 0\noom 3\noom_kill 5\noom_group_kill 0\n");
    open_with(&w, "0::/unit/quern\n");
    EXPECT(!oom_watch_took(&w)); /* what was before we began is nobody's */
    put("/unit/quern/memory.events", "oom 9\noom_kill 7\n");
    EXPECT(oom_watch_took(&w));
    EXPECT(oom_watch_took(&w));
    EXPECT(!oom_watch_took(&w));
}

TEST(a_death_that_nobody_asked_for_is_forgotten)
{
    struct oom_watch w;
    v2_group("oom_kill 0\n");
    open_with(&w, "0::/unit/quern\n");
    put("/unit/quern/memory.events", "oom_kill 2\n");
    oom_watch_age(&w);
    EXPECT(oom_watch_took(&w)); /* it may still be dying */
    oom_watch_age(&w);
    EXPECT(!oom_watch_took(&w));
    put("/unit/quern/memory.events", "oom_kill 3\n");
    EXPECT(oom_watch_took(&w));
}

TEST(the_tightest_group_around_is_named)
{
    struct oom_watch w;
    char text[700];
    v2_group("oom_kill 0\n");
    open_with(&w, "0::/unit/quern\n");
    oom_watch_describe(&w, text, sizeof text);
    EXPECT_CSTR(text, "the limit of 300 MiB of the control group /unit");
    put("/unit/quern/memory.max", "104857600\n");
    oom_watch_describe(&w, text, sizeof text);
    EXPECT_CSTR(text, "the limit of 100 MiB of the control group /unit/quern");
    put("/unit/memory.max", "max\n");
    put("/unit/quern/memory.max", "max\n");
    oom_watch_describe(&w, text, sizeof text);
    EXPECT_CSTR(text, "the machine's memory");
}

TEST(version_1_counts_in_another_file)
{
    struct oom_watch w;
    char text[700];
    (void)snprintf(root, sizeof root, "%s", t_tmpdir());
    folder("/memory");
    folder("/memory/box");
    put("/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/memory/box/memory.limit_in_bytes", "52428800\n");
    put("/memory/box/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
    open_with(&w, "4:memory:/box\n3:cpu:/\n0::/\n");
    EXPECT(!oom_watch_took(&w));
    put("/memory/box/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
    EXPECT(oom_watch_took(&w));
    oom_watch_describe(&w, text, sizeof text);
    EXPECT_CSTR(text, "the limit of 50 MiB of the control group /box");
}

TEST(a_containers_tree_begins_at_its_own_group)
{
    struct oom_watch w;
    (void)snprintf(root, sizeof root, "%s", t_tmpdir());
    put("/memory.events", "oom_kill 0\n");
    open_with(&w, "0::/host/docker/1234\n");
    put("/memory.events", "oom_kill 1\n");
    EXPECT(oom_watch_took(&w));
}

TEST(without_groups_the_machine_counts)
{
    struct oom_watch w;
    char text[700];
    (void)snprintf(root, sizeof root, "%s", t_tmpdir());
    open_with(&w, "0::/nowhere\n");
    EXPECT_CSTR(w.mount, "");
    if (access("/proc/vmstat", R_OK) == 0) {
        w.seen = UINT64_MAX; /* the real counter may be anything but that */
        EXPECT(!oom_watch_took(&w));
    }
    oom_watch_describe(&w, text, sizeof text);
    EXPECT_CSTR(text, "the machine's memory");
}
