#include "cli/running.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/config.h"
#include "cli/status.h"

#define PROCESSES_MAX   100000 /* looked at */
#define DESCRIPTORS_MAX 4096   /* looked at, of each; the lock is one of a master's first */

static bool runs_at(const char *data, int64_t pid, struct arena *a)
{
    struct status s = {0};
    struct err ignored = {0};
    return status_read(data, a, &s, &ignored) == ERR_OK && s.is_running && (pid == 0 || s.master_pid == pid);
}

/* The data directory of a descriptor that is a master's lock; NULL: it is something else. */
static const char *of_lock(const char *link, struct arena *a)
{
    char target[PATH_MAX];
    ssize_t n = readlink(link, target, sizeof target);
    struct str end = STR("/run/lock");
    if (n <= 0 || n >= (ssize_t)sizeof target || !str_ends((struct str){target, (size_t)n}, end))
        return NULL;
    return arena_cstr(a, (struct str){target, (size_t)n - end.n});
}

/* The data directory of a process when it is a master. A master has the lock open, and its own number in status.json. */
static const char *of_process(const char *proc, const char *pid, struct arena *a)
{
    char path[PATH_MAX];
    const char *data = NULL;
    (void)snprintf(path, sizeof path, "%s/%s/fd", proc, pid);
    DIR *d = opendir(path);
    if (!d)
        return NULL;
    const struct dirent *e;
    for (int looked = 0; !data && looked < DESCRIPTORS_MAX && (e = readdir(d)); looked++) {
        (void)snprintf(path, sizeof path, "%s/%s/fd/%s", proc, pid, e->d_name);
        data = of_lock(path, a);
        if (data && !runs_at(data, strtol(pid, NULL, 10), a))
            data = NULL;
    }
    (void)closedir(d);
    return data;
}

static bool is_quern(const char *proc, const char *pid)
{
    char path[PATH_MAX], name[32];
    (void)snprintf(path, sizeof path, "%s/%s/comm", proc, pid);
    FILE *f = fopen(path, "re");
    bool is = f && fgets(name, sizeof name, f) && strcmp(name, "quern\n") == 0;
    if (f)
        (void)fclose(f);
    return is;
}

struct running running_look(const char *proc, const char *fallback, struct arena *a)
{
    struct running r = {.data = fallback};
    const char *only = NULL;
    size_t found = 0;
    DIR *d = runs_at(fallback, 0, a) ? NULL : opendir(proc);
    const struct dirent *e;
    for (int looked = 0; d && looked < PROCESSES_MAX && (e = readdir(d)); looked++) {
        if (!isdigit((unsigned char)e->d_name[0]) || !is_quern(proc, e->d_name))
            continue;
        const char *data = of_process(proc, e->d_name, a);
        if (!data)
            continue;
        only = data;
        if (++found <= RUNNING_SHOWN)
            r.others = r.others ? arena_printf(a, "%s, %s", r.others, data).p : data;
    }
    if (d)
        (void)closedir(d);
    if (found == 1)
        return (struct running){.data = only};
    if (found > RUNNING_SHOWN)
        r.others = arena_printf(a, "%s and %zu more", r.others, found - RUNNING_SHOWN).p;
    return r;
}

struct running running_find(const struct args *args, struct arena *a)
{
    const char *given = args_get(args, "data"), *environment = getenv("QUERN_DATA");
    if (given)
        return (struct running){.data = given};
    if (environment && environment[0])
        return (struct running){.data = config_data_default(a)};
    return running_look("/proc", config_data_default(a), a);
}

enum err_code running_remedy(const struct running *r, struct err *err, const char *otherwise)
{
    if (r->others)
        return err_remedy(err, "name one that runs with --data DIR: %.180s", r->others);
    return err_remedy(err, "%s", otherwise);
}
