/* Repository mode `watch`: looks at the models' files, and reloads what has changed and settled. A model whose files still change is left as it is,
 * whatever happens to the others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/repo/fingerprint.h"
#include "model/repo/repo.h"

#define ENTRIES_MAX   (2 * CONFIG_MODELS_MAX)
#define SCRATCH_BYTES ((size_t)96 << 20)

struct watched {
    char *path; /* a model's file or folder */
    struct hash128 print;
    uint64_t changed_ns;
    bool is_pending; /* changed, and not taken yet */
    bool is_told, is_seen;
};

struct watch {
    struct watched items[ENTRIES_MAX];
    size_t len;
    bool is_begun;
};

static const struct repository_config *settings(const struct master *m)
{
    return &m->snapshot->config.repository;
}

static struct watched *find(struct watch *w, const char *path)
{
    for (size_t i = 0; i < w->len; i++)
        if (strcmp(w->items[i].path, path) == 0)
            return &w->items[i];
    return NULL;
}

static void look(struct watch *w, const char *path, uint64_t now_ns)
{
    struct watched *e = find(w, path);
    if (e && e->is_seen)
        return;
    struct hash128 print = repo_fingerprint(path);
    if (!e) {
        if (w->len == ENTRIES_MAX)
            return;
        e = &w->items[w->len++];
        *e = (struct watched){.path = strdup(path), .print = print, .changed_ns = now_ns, .is_pending = w->is_begun};
        CHECK(e->path);
    }
    e->is_seen = true;
    if (print.lo == e->print.lo && print.hi == e->print.hi)
        return;
    e->print = print;
    e->changed_ns = now_ns;
    e->is_pending = true;
    e->is_told = false;
}

static void look_into(struct watch *w, const char *folder, uint64_t now_ns)
{
    struct arena a;
    const char **names;
    size_t len;
    struct err err;
    arena_init(&a, 65536, SCRATCH_BYTES);
    if (repo_list(folder, &a, &names, &len, &err) == ERR_OK)
        for (size_t i = 0; i < len; i++)
            look(w, arena_printf(&a, "%s%s%s", folder, str_ends(str_c(folder), STR("/")) ? "" : "/", names[i]).p,
                 now_ns);
    arena_done(&a);
}

static void look_at_all(struct master *m, struct watch *w, uint64_t now_ns)
{
    const struct config *c = &m->snapshot->config;
    const struct model_config *models = c->models.items;
    const char *const *folders = c->repository.paths.items;
    for (size_t i = 0; i < w->len; i++)
        w->items[i].is_seen = false;
    for (size_t i = 0; i < c->repository.paths.len; i++)
        look_into(w, folders[i], now_ns);
    for (size_t i = 0; i < c->models.len; i++)
        if (models[i].origin)
            look(w, models[i].origin, now_ns);
    for (size_t i = 0; i < w->len; i++)
        if (!w->items[i].is_seen)
            look(w, w->items[i].path, now_ns); /* gone from its folder: 0, 0 is a change too */
}

/* Forgets what is no more, once that has been taken. */
static void sweep(struct watch *w)
{
    for (size_t i = 0; i < w->len; i++)
        if (!w->items[i].is_pending && w->items[i].print.lo == 0 && w->items[i].print.hi == 0) {
            free(w->items[i].path);
            w->items[i--] = w->items[--w->len];
        }
}

static bool is_settled(const struct master *m, struct watched *e, uint64_t now_ns)
{
    if (now_ns - e->changed_ns < settings(m)->settle_ns)
        return false;
    if (!repo_is_being_written(e->path))
        return true;
    if (!e->is_told)
        LOG_INFO("model files are still being written", LOG_S("path", e->path));
    e->is_told = true;
    return false;
}

static bool take_settled(struct master *m, struct watch *w, uint64_t now_ns)
{
    bool any = false;
    for (size_t i = 0; i < w->len; i++) {
        struct watched *e = &w->items[i];
        if (!e->is_pending || !is_settled(m, e, now_ns))
            continue;
        e->is_pending = false;
        LOG_INFO("model files have changed", LOG_S("path", e->path));
        any = true;
    }
    return any;
}

void watch_tick(struct master *m, uint64_t now_ns)
{
    struct err err = {0};
    if (settings(m)->mode != REPOSITORY_WATCH || m->stopping || now_ns < m->next_scan_ns)
        return;
    if (!m->watch) {
        m->watch = calloc(1, sizeof *m->watch);
        CHECK(m->watch);
    }
    struct watch *w = m->watch;
    m->next_scan_ns = now_ns + settings(m)->scan_ns;
    look_at_all(m, w, now_ns);
    w->is_begun = true;
    if (take_settled(m, w, now_ns)) {
        m->is_auto_reload = true;
        (void)master_reload(m, &err); /* logs its own failure */
        m->is_auto_reload = false;
    }
    sweep(w);
}

uint64_t watch_next_ns(const struct master *m)
{
    return settings(m)->mode == REPOSITORY_WATCH && !m->stopping ? m->next_scan_ns : UINT64_MAX;
}

bool watch_holds(const struct master *m, const struct model_config *c)
{
    if (!m->is_auto_reload || !c->origin)
        return false;
    const struct watched *e = find(m->watch, c->origin);
    return e && e->is_pending;
}
