/* Finding the quern that runs, in a made-up /proc. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/running.h"
#include "run_cli.h"
#include "sys/fd.h"
#include "t.h"

static char home[400], proc[512];
static struct arena a;

static void enter(void)
{
    (void)snprintf(home, sizeof home, "%s", t_tmpdir());
    (void)snprintf(proc, sizeof proc, "%s/proc", home);
    EXPECT(mkdir(proc, 0700) == 0);
    arena_init(&a, 4096, 1 << 20);
}

/* A data directory of a quern that is this very process: it lives, and has the lock. The lock's descriptor. */
static int put_data(const char *data)
{
    char run[600], lock[700], status[100];
    int fd = -1;
    struct err err;
    (void)snprintf(run, sizeof run, "%s/run", data);
    EXPECT(dir_make(run, 0700, &err) == ERR_OK);
    (void)snprintf(status, sizeof status, "{\"master_pid\":%d}", (int)getpid());
    put_file(run, "status.json", status);
    (void)snprintf(lock, sizeof lock, "%s/lock", run);
    EXPECT(file_lock(lock, &fd, &err) == ERR_OK);
    return fd;
}

/* A process of that number with the lock of data open. */
static void put_process(const char *pid, const char *comm, const char *data)
{
    char folder[700], link[800], target[700];
    struct err err;
    (void)snprintf(folder, sizeof folder, "%s/%s/fd", proc, pid);
    EXPECT(dir_make(folder, 0700, &err) == ERR_OK);
    (void)snprintf(link, sizeof link, "%s/3", folder);
    (void)snprintf(target, sizeof target, "%s/run/lock", data);
    EXPECT(symlink(target, link) == 0);
    *strrchr(folder, '/') = '\0';
    put_file(folder, "comm", comm);
}

static const char *folder(const char *name)
{
    return arena_printf(&a, "%s/%s", home, name).p;
}

static const char *me(void)
{
    return arena_printf(&a, "%d", (int)getpid()).p;
}

TEST(running_default_is_preferred)
{
    enter();
    (void)put_data(folder("default"));
    (void)put_data(folder("other"));
    put_process(me(), "quern\n", folder("other"));
    struct running r = running_look(proc, folder("default"), &a);
    EXPECT_CSTR(r.data, folder("default"));
    EXPECT(!r.others);
    arena_done(&a);
}

TEST(running_only_one_is_found)
{
    enter();
    (void)put_data(folder("other"));
    put_process(me(), "quern\n", folder("other"));
    EXPECT_CSTR(running_look(proc, folder("default"), &a).data, folder("other"));
    arena_done(&a);
}

TEST(running_others_are_no_masters)
{
    enter();
    int fd = put_data(folder("other"));
    put_process(me(), "bash\n", folder("other"));
    EXPECT_CSTR(running_look(proc, folder("default"), &a).data, folder("default"));
    put_process("1", "quern\n", folder("other")); /* not the process that the status names */
    put_process("self", "quern\n", folder("other"));
    EXPECT_CSTR(running_look(proc, folder("default"), &a).data, folder("default"));
    put_file(arena_printf(&a, "%s/%s", proc, me()).p, "comm", "quern\n");
    EXPECT_CSTR(running_look(proc, folder("default"), &a).data, folder("other"));
    (void)fd_close(fd); /* nobody has the lock: it has ended */
    EXPECT_CSTR(running_look(proc, folder("default"), &a).data, folder("default"));
    arena_done(&a);
}

TEST(running_several_are_told)
{
    struct err err = {0};
    enter();
    (void)put_data(folder("b"));
    put_process(me(), "quern\n", folder("b"));
    /* the same number written another way: a second process, as far as the folder tells */
    (void)put_data(folder("c"));
    put_process(arena_printf(&a, "0%s", me()).p, "quern\n", folder("c"));
    struct running r = running_look(proc, folder("default"), &a);
    EXPECT_CSTR(r.data, folder("default"));
    EXPECT(r.others && strstr(r.others, folder("b")) && strstr(r.others, folder("c")));
    (void)err_set(&err, ERR_UNAVAILABLE, "x");
    (void)running_remedy(&r, &err, "otherwise");
    EXPECT(strstr(err.remedy, "--data DIR") && !strstr(err.remedy, "otherwise"));
    r.others = NULL;
    (void)running_remedy(&r, &err, "otherwise");
    EXPECT_CSTR(err.remedy, "otherwise");
    arena_done(&a);
}
