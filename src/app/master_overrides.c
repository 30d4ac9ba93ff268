/* Models loaded with a configuration or files of the request (DATA/uploads). The edge has written them into a hidden folder; here it gets its name, and goes
 * when nothing uses it any more. They last until the model is unloaded, or loaded without them, or quern ends. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/log.h"
#include "cli/config_override.h"
#include "sys/tree.h"

#define OVERRIDES_MAX 256
#define NEW_PREFIX    ".new-"

struct overrides {
    struct config_override list[OVERRIDES_MAX];
    char *previous[OVERRIDES_MAX]; /* what it replaces, until it serves; NULL: nothing */
    size_t len;
    uint64_t seq;
};

static struct overrides *overrides_of(struct master *m)
{
    if (!m->overrides) {
        m->overrides = calloc(1, sizeof *m->overrides);
        CHECK(m->overrides);
    }
    return m->overrides;
}

static void tell_config(const struct overrides *o)
{
    config_overrides_set(o->list, o->len);
}

static ptrdiff_t position(const struct overrides *o, const char *name)
{
    for (size_t i = 0; i < o->len; i++)
        if (strcmp(o->list[i].name, name) == 0)
            return (ptrdiff_t)i;
    return -1;
}

static void free_text(const char *text)
{
    free((void *)(uintptr_t)text);
}

static void remove_at(struct overrides *o, size_t i)
{
    free_text(o->list[i].name);
    free_text(o->list[i].folder);
    free(o->previous[i]);
    o->len--;
    o->list[i] = o->list[o->len];
    o->previous[i] = o->previous[o->len];
}

static void uploads_path(const struct master *m, const char *name, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s/uploads%s%s", m->snapshot->config.data, name[0] ? "/" : "", name);
}

/* ---- folders ---- */

static bool is_hidden(const char *theirs)
{
    return strncmp(theirs, NEW_PREFIX, sizeof NEW_PREFIX - 1) == 0 && !strchr(theirs, '/');
}

static bool is_inside(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return path && strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool is_used(const struct master *m, const char *folder)
{
    const struct overrides *o = m->overrides;
    for (size_t i = 0; o && i < o->len; i++)
        if (strcmp(o->list[i].folder, folder) == 0 || (o->previous[i] && strcmp(o->previous[i], folder) == 0))
            return true;
    for (const struct life *l = m->lives; l; l = l->next)
        if (l->state != LIFE_FAILED && is_inside(l->config->origin, folder)) /* its configuration has been read */
            return true;
    return false;
}

void overrides_sweep(struct master *m, const char *theirs)
{
    char folder[4300];
    struct err err;
    if (is_hidden(theirs)) {
        uploads_path(m, theirs, folder, sizeof folder);
        (void)tree_remove(folder, &err); /* gone already when it was taken */
    }
    uploads_path(m, "", folder, sizeof folder);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue; /* the edge is at it */
        uploads_path(m, e->d_name, folder, sizeof folder);
        if (!is_used(m, folder) && tree_remove(folder, &err))
            LOG_WARN("cannot remove what was loaded before", LOG_S("error", err.text));
    }
    if (d)
        (void)closedir(d);
}

void overrides_clear(struct master *m)
{
    char folder[4300];
    struct err err;
    uploads_path(m, "", folder, sizeof folder);
    if (tree_remove(folder, &err) && err.code != ERR_NOT_FOUND)
        LOG_WARN("cannot remove what was loaded by request", LOG_S("error", err.text));
}

/* The hidden folder that the edge names becomes one of the model's; nothing else may be meant. */
static enum err_code take_folder(struct master *m, const char *name, const char *theirs, char *out, size_t out_size,
                                 struct err *err)
{
    char hidden[4300], own[MODEL_NAME_MAX + 32];
    if (strchr(name, '/') || name[0] == '.') /* the edge's router lets none through */
        return err_set(err, ERR_INVALID, "'%.100s' is no model's name", name);
    if (!is_hidden(theirs))
        return err_set(err, ERR_INTERNAL, "not a folder of uploads");
    uploads_path(m, theirs, hidden, sizeof hidden);
    (void)snprintf(own, sizeof own, "%s.%llu", name, (unsigned long long)++overrides_of(m)->seq);
    uploads_path(m, own, out, out_size);
    if (rename(hidden, out) != 0)
        return err_sys(err, ERR_IO, errno, "cannot take what was uploaded");
    return ERR_OK;
}

/* ---- for master_loads.c ---- */

enum err_code overrides_put(struct master *m, const char *name, const char *theirs, struct err *err)
{
    struct overrides *o = overrides_of(m);
    char folder[4300];
    ptrdiff_t at = position(o, name);
    if (at < 0 && o->len == OVERRIDES_MAX)
        return err_set(err, ERR_BUSY, "more than %d models are loaded with files or configurations of requests",
                       OVERRIDES_MAX);
    if (take_folder(m, name, theirs, folder, sizeof folder, err))
        return err->code;
    if (at < 0) {
        at = (ptrdiff_t)o->len++;
        o->list[at] = (struct config_override){.name = strdup(name)};
        o->previous[at] = NULL;
    } else {
        free(o->previous[at]);
        o->previous[at] = (char *)(uintptr_t)o->list[at].folder;
    }
    o->list[at].folder = strdup(folder);
    CHECK(o->list[at].name && o->list[at].folder);
    tell_config(o);
    return ERR_OK;
}

void overrides_drop(struct master *m, const char *name)
{
    struct overrides *o = m->overrides;
    ptrdiff_t at = o ? position(o, name) : -1;
    if (at < 0)
        return;
    remove_at(o, (size_t)at);
    tell_config(o);
}

void overrides_settle(struct master *m, const char *name, bool is_good)
{
    struct overrides *o = m->overrides;
    ptrdiff_t at = o ? position(o, name) : -1;
    if (at < 0)
        return;
    if (is_good) {
        free(o->previous[at]);
        o->previous[at] = NULL;
    } else if (o->previous[at]) {
        free_text(o->list[at].folder);
        o->list[at].folder = o->previous[at];
        o->previous[at] = NULL;
    } else {
        remove_at(o, (size_t)at);
    }
    tell_config(o);
}
