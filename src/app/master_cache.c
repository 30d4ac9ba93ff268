/* DATA/cache has a folder for each model with what makes its loading faster. That of a model which the configuration has not known for a week goes, and
 * before, oldest first, when they are too large together; so do the files of a known model's versions that are gone. Whoever is known has its folder's time set to now, so that a model may be away for a
 * while. A clock that jumps costs at worst a slower load. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/master_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/repo/repo.h"
#include "sys/tree.h"

#define FIRST_NS       (3 * NS_PER_S) /* the start has better things to do */
#define EVERY_NS       (3600 * NS_PER_S)
#define SOON_NS        (NS_PER_S) /* one folder at a time: the master has children to look after */
#define GONE_S         ((int64_t)7 * 24 * 3600)
#define GONE_BYTES_MAX (UINT64_C(2) << 30)
#define SCRATCH_BYTES  ((size_t)16 << 20)

struct found { /* the folder that was away longest */
    const char *name;
    int64_t age_s;
    uint64_t bytes; /* of all that are away */
};

static bool is_known(const struct master *m, const char *name)
{
    const struct model_config *models = m->snapshot->config.models.items;
    for (size_t i = 0; i < m->snapshot->config.models.len; i++)
        if (strcmp(models[i].name, name) == 0)
            return true;
    for (const struct life *l = m->lives; l; l = l->next)
        if (strcmp(l->config->name, name) == 0)
            return true;
    return false;
}

static int64_t age_of(const char *path)
{
    struct stat st;
    int64_t now = (int64_t)(clock_wall_ms() / 1000);
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return -1;
    return now > st.st_mtim.tv_sec ? now - st.st_mtim.tv_sec : 0;
}

static bool has_version(const struct master *m, const char *name, const char *version)
{
    const struct model_config *models = m->snapshot->config.models.items;
    for (size_t i = 0; i < m->snapshot->config.models.len; i++)
        if (strcmp(models[i].name, name) == 0 && strcmp(models[i].version, version) == 0)
            return true;
    for (const struct life *l = m->lives; l; l = l->next)
        if (strcmp(l->config->name, name) == 0 && strcmp(l->config->version, version) == 0)
            return true;
    return false;
}

/* Small files, but new ones with each version that ever was. */
static void forget_versions(const struct master *m, const char *name, const char *folder, struct arena *a)
{
    static const char *const kinds[] = {"memory.", "description."};
    const char **files;
    size_t len;
    struct stat st;
    struct err err = {0};
    int64_t now = (int64_t)(clock_wall_ms() / 1000);
    if (repo_list(folder, a, &files, &len, &err))
        return;
    for (size_t i = 0; i < len * ARRAY_LEN(kinds); i++) {
        const char *file = files[i / ARRAY_LEN(kinds)], *kind = kinds[i % ARRAY_LEN(kinds)];
        if (!str_starts(str_c(file), str_c(kind)) || has_version(m, name, file + strlen(kind)))
            continue;
        const char *path = arena_printf(a, "%s/%s", folder, file).p;
        if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) && now - st.st_mtim.tv_sec > GONE_S)
            (void)unlink(path); /* the next sweep tries again */
    }
}

static struct found look(const struct master *m, const char *folder, struct arena *a)
{
    struct found f = {.age_s = -1};
    const char **names;
    size_t len;
    struct err err;
    if (repo_list(folder, a, &names, &len, &err))
        return f;
    for (size_t i = 0; i < len; i++) {
        const char *path = arena_printf(a, "%s/%s", folder, names[i]).p;
        int64_t age = age_of(path);
        if (age >= 0 && is_known(m, names[i])) {
            forget_versions(m, names[i], path, a);
            (void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
        } else if (age >= 0) {
            f.bytes += tree_bytes(path);
            if (age > f.age_s)
                f = (struct found){names[i], age, f.bytes};
        }
    }
    return f;
}

/* True: there may be more to do. */
static bool sweep(const struct master *m)
{
    struct arena a;
    struct err err = {0};
    arena_init(&a, 65536, SCRATCH_BYTES);
    const char *folder = arena_printf(&a, "%s/cache", m->snapshot->config.data).p;
    struct found f = look(m, folder, &a);
    bool is_due = f.name && (f.age_s > GONE_S || f.bytes > GONE_BYTES_MAX), is_gone = false;
    if (is_due) {
        is_gone = tree_remove(arena_printf(&a, "%s/%s", folder, f.name).p, &err) == ERR_OK;
        if (is_gone)
            LOG_INFO("cache of a model that is gone was removed", LOG_S("model", f.name));
        else
            LOG_WARN("cache of a model that is gone stays", LOG_S("model", f.name), LOG_S("error", err.text));
    }
    arena_done(&a);
    return is_gone;
}

void cache_tick(struct master *m, uint64_t now_ns)
{
    if (m->next_cache_ns == 0)
        m->next_cache_ns = now_ns + FIRST_NS;
    if (m->stopping || now_ns < m->next_cache_ns)
        return;
    m->next_cache_ns = now_ns + (sweep(m) ? SOON_NS : EVERY_NS);
}

uint64_t cache_next_ns(const struct master *m)
{
    return m->stopping ? UINT64_MAX : m->next_cache_ns;
}
