#include "model/repo/repo.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/backend.h"

bool repo_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool repo_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum err_code repo_list(const char *path, struct arena *a, const char ***out, size_t *out_len, struct err *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return err_sys(err, errno == ENOTDIR ? ERR_INVALID : ERR_IO, errno, "cannot read the folder %s", path);
    const char **names = arena_array(a, const char *, REPO_ENTRIES_MAX);
    size_t len = 0;
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        if (len == REPO_ENTRIES_MAX) {
            (void)closedir(dir);
            return err_set(err, ERR_TOO_LARGE, "%s has more than %d entries", path, REPO_ENTRIES_MAX);
        }
        names[len++] = arena_cstr(a, str_c(e->d_name));
    }
    (void)closedir(dir);
    qsort(names, len, sizeof *names, compare_names);
    *out = names;
    *out_len = len;
    return ERR_OK;
}

/* ---- versions ---- */

static bool is_version(const char *name, uint64_t *number)
{
    return name[0] != '0' && strlen(name) <= 18 && str_to_u64(str_c(name), number);
}

/* model.onnx in a version's folder: "model" with the extension of a backend. False: none. */
static bool find_file(const char *dir, const char *version, const char *file_name, char *out, size_t out_size)
{
    if (file_name && !file_name[0]) {
        int n = snprintf(out, out_size, "%s/%s", dir, version);
        return n > 0 && (size_t)n < out_size && repo_is_dir(out);
    }
    if (file_name) {
        int n = snprintf(out, out_size, "%s/%s/%s", dir, version, file_name);
        return n > 0 && (size_t)n < out_size && repo_is_file(out);
    }
    struct str rest = str_c(backend_names());
    while (rest.n) {
        const struct backend *b = backend_by_name(str_trim(str_cut(rest, ',', &rest)));
        for (size_t i = 0; b && b->extensions[i]; i++) {
            int n = snprintf(out, out_size, "%s/%s/model%s", dir, version, b->extensions[i]);
            if (n > 0 && (size_t)n < out_size && repo_is_file(out))
                return true;
        }
    }
    return false;
}

static int compare_versions(const void *a, const void *b)
{
    const struct repo_version *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

enum err_code repo_versions(const char *dir, const char *file_name, struct arena *a, struct repo_version **out,
                            size_t *out_len, struct err *err)
{
    char path[4200];
    if (!repo_is_dir(dir))
        return err_set(err, ERR_INVALID, "%s is not a folder", dir);
    DIR *d = opendir(dir);
    if (!d)
        return err_sys(err, ERR_IO, errno, "cannot read the folder %s", dir);
    struct repo_version *v = arena_array(a, struct repo_version, REPO_VERSIONS_MAX);
    size_t len = 0, seen = 0;
    const struct dirent *e;
    uint64_t number;
    while ((e = readdir(d)) != NULL && ++seen <= REPO_ENTRIES_MAX && len < REPO_VERSIONS_MAX)
        if (is_version(e->d_name, &number) && find_file(dir, e->d_name, file_name, path, sizeof path))
            v[len++] = (struct repo_version){number, arena_cstr(a, str_c(path))};
    (void)closedir(d);
    if (e)
        return err_set(err, ERR_TOO_LARGE, "%s has more than %d versions or %d entries", dir, REPO_VERSIONS_MAX,
                       REPO_ENTRIES_MAX);
    qsort(v, len, sizeof *v, compare_versions);
    *out = v;
    *out_len = len;
    return ERR_OK;
}

bool repo_is_model(const char *dir)
{
    char path[4200];
    struct arena a;
    struct repo_version *v;
    size_t len = 0;
    struct err err;
    (void)snprintf(path, sizeof path, "%s/" REPO_CONFIG_FILE, dir);
    if (repo_is_file(path))
        return true;
    arena_init(&a, 65536, (size_t)8 << 20);
    enum err_code code = repo_versions(dir, NULL, &a, &v, &len, &err);
    bool has = code == ERR_OK ? len > 0 : code == ERR_TOO_LARGE; /* whoever reads them tells */
    arena_done(&a);
    return has;
}

/* ---- policies ---- */

static enum err_code specific(const char *const *texts, size_t len, struct arena *a, struct repo_policy *out,
                              struct err *err)
{
    uint64_t *numbers = arena_array(a, uint64_t, len);
    for (size_t i = 0; i < len; i++)
        if (!is_version(texts[i], &numbers[i])) {
            (void)err_set(err, ERR_INVALID, "\"%.40s\" is neither \"all\" nor \"latest:N\" nor a version", texts[i]);
            return err_remedy(err, "versions are whole numbers from 1: versions: [1, 3]");
        }
    *out = (struct repo_policy){.kind = REPO_SPECIFIC, .versions = numbers, .versions_len = len};
    return ERR_OK;
}

enum err_code repo_policy_parse(const char *const *texts, size_t len, struct arena *a, struct repo_policy *out,
                                struct err *err)
{
    static const char latest[] = "latest:";
    *out = (struct repo_policy){.kind = REPO_LATEST, .latest = 1};
    if (len == 0 || (len == 1 && strcmp(texts[0], "latest") == 0))
        return ERR_OK;
    if (len == 1 && strcmp(texts[0], "all") == 0) {
        out->kind = REPO_ALL;
        return ERR_OK;
    }
    if (len > 1 || strncmp(texts[0], latest, sizeof latest - 1) != 0)
        return specific(texts, len, a, out, err);
    if (!str_to_u64(str_c(texts[0] + sizeof latest - 1), &out->latest) || out->latest == 0)
        return err_set(err, ERR_INVALID, "\"%.40s\": expected latest:N with a number from 1", texts[0]);
    return ERR_OK;
}

static bool is_asked_for(const struct repo_policy *p, uint64_t number)
{
    for (size_t i = 0; i < p->versions_len; i++)
        if (p->versions[i] == number)
            return true;
    return false;
}

static bool is_there(const struct repo_version *v, size_t len, uint64_t number)
{
    for (size_t i = 0; i < len; i++)
        if (v[i].number == number)
            return true;
    return false;
}

enum err_code repo_choose(const struct repo_policy *p, struct repo_version *v, size_t len, size_t *chosen,
                          struct err *err)
{
    if (p->kind == REPO_ALL || (p->kind == REPO_LATEST && p->latest >= len)) {
        *chosen = len;
        return ERR_OK;
    }
    if (p->kind == REPO_LATEST) {
        memmove(v, v + len - p->latest, (size_t)p->latest * sizeof *v);
        *chosen = (size_t)p->latest;
        return ERR_OK;
    }
    for (size_t i = 0; i < p->versions_len; i++)
        if (!is_there(v, len, p->versions[i]))
            return err_set(err, ERR_NOT_FOUND, "version %llu has no model file", (unsigned long long)p->versions[i]);
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        if (is_asked_for(p, v[i].number))
            v[n++] = v[i];
    *chosen = n;
    return ERR_OK;
}
