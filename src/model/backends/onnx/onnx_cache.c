#include "model/backends/onnx/onnx_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rand.h"
#include "sys/cpu.h"
#include "sys/fd.h"

#define LAYOUT      "3" /* changes when entries of older programs must not be used */
#define KEY_CHARS   32
#define LEFT_S      600
#define ENTRIES_MAX 3 /* of one model: versions side by side, and the one before */
#define SETTLED_S   2 /* a file that changed so recently may change again without its times telling */

/* Not secret and the same in every process: the folder belongs to one model, whose owner gains nothing from a collision. */
static uint64_t hash_options(const struct onnx_model *m)
{
    char options[160];
    int n = snprintf(options, sizeof options, LAYOUT " %s %d %d %016llx", ort_version(), m->threads, m->has_arena,
                     (unsigned long long)cpu_print());
    return hash64(options, (size_t)n, 2);
}

static void make_key(const struct onnx_model *m, struct str bytes, char out[KEY_CHARS + 1])
{
    struct hash128 h = hash128(bytes.p, bytes.n, hash_options(m));
    (void)snprintf(out, KEY_CHARS + 1, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}

void onnx_cache_open(struct onnx_cache *c, const struct onnx_model *m, const char *cache_dir, struct str bytes)
{
    char key[KEY_CHARS + 1], id[9] = "";
    *c = (struct onnx_cache){.is_used = false};
    bool is_worth = m->compile == COMPILE_ALWAYS ||
                    (m->compile == COMPILE_AUTO && m->info.initializer_bytes >= ONNX_CACHE_BYTES_MIN);
    if (!cache_dir || m->info.external_files > 0 || !is_worth)
        return;
    make_key(m, bytes, key);
    rand_hex(id, 4);
    int a = snprintf(c->entry, sizeof c->entry, "%s/%s", cache_dir, key);
    int b = snprintf(c->fresh, sizeof c->fresh, "%s/new-%.8s", cache_dir, id);
    c->is_used = a < (int)sizeof c->entry && b < (int)sizeof c->fresh;
}

static void path_in(const char *folder, const char *name, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s/%s", folder, name);
}

bool onnx_cache_has(const struct onnx_cache *c)
{
    char path[1300];
    path_in(c->entry, "model.onnx", path, sizeof path);
    return c->is_used && access(path, R_OK) == 0;
}

void onnx_cache_used(const struct onnx_cache *c)
{
    (void)utimensat(AT_FDCWD, c->entry, NULL, 0); /* not ours: then it counts as older than it is */
}

struct ort_status *onnx_cache_make(struct onnx_cache *c, const struct ort_api *api, struct ort_session_options *o)
{
    char path[1300];
    if (mkdir(c->fresh, 0700) < 0) {
        c->is_used = false;
        return NULL;
    }
    path_in(c->fresh, "model.onnx", path, sizeof path);
    struct ort_status *s = api->SetOptimizedModelFilePath(o, path);
    if (s == NULL) /* it warns that the result is for this processor only, which the key says too */
        s = api->SetSessionLogSeverityLevel(o, ORT_LOG_ERROR);
    if (s == NULL)
        s = api->AddSessionConfigEntry(o, "session.optimized_model_external_initializers_file_name", "weights");
    if (s == NULL)
        s = api->AddSessionConfigEntry(o, "session.optimized_model_external_initializers_min_size_in_bytes", "1024");
    if (s == NULL)
        s = api->AddSessionConfigEntry(o, "session.save_external_prepacked_constant_initializers", "1");
    return s;
}

/* A folder of files, without subfolders. */
static void remove_folder(const char *path)
{
    char file[1600];
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        path_in(path, e->d_name, file, sizeof file);
        (void)unlink(file);
    }
    if (d)
        (void)closedir(d);
    (void)rmdir(path);
}

/* Left by a maker that died; one that lives is younger. */
static bool is_left(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && (uint64_t)st.st_mtim.tv_sec + LEFT_S < clock_wall_ms() / 1000;
}

/* When it was last used. */
static int64_t used_ns(const char *entry)
{
    struct stat st;
    return stat(entry, &st) == 0 ? (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec : 0;
}

/* One look at the folder: removes what dead makers left, and gives the entry that was not used for longest, but ours. Returns how many others there are. */
static int find_oldest(const struct onnx_cache *c, char *oldest, size_t oldest_size)
{
    char parent[1200], path[1600];
    int64_t oldest_ns = INT64_MAX;
    int n = 0;
    struct dirent *e;
    (void)str_copy(parent, sizeof parent, str_c(c->entry));
    *strrchr(parent, '/') = '\0';
    DIR *d = opendir(parent);
    while (d && (e = readdir(d)) != NULL) {
        path_in(parent, e->d_name, path, sizeof path);
        if (strncmp(e->d_name, "new-", 4) == 0 && is_left(path))
            remove_folder(path);
        if (strlen(e->d_name) != KEY_CHARS || strcmp(path, c->entry) == 0)
            continue;
        n++;
        if (used_ns(path) < oldest_ns) {
            oldest_ns = used_ns(path);
            (void)str_copy(oldest, oldest_size, str_c(path));
        }
    }
    if (d)
        (void)closedir(d);
    return n;
}

/* Entries of older files, engines or processors. */
static void remove_others(const struct onnx_cache *c)
{
    char oldest[1600];
    for (int n = find_oldest(c, oldest, sizeof oldest); n >= ENTRIES_MAX; n--) {
        remove_folder(oldest);
        (void)find_oldest(c, oldest, sizeof oldest);
    }
}

/* After a power failure a folder can have its new name while its files have not their content: weights of zeros would be served. */
static bool sync_files(const char *folder)
{
    static const char *const names[] = {"model.onnx", "weights"}; /* a model may have no weights to keep aside */
    char path[1300];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        path_in(folder, names[i], path, sizeof path);
        AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 ? errno != ENOENT : fdatasync(fd) < 0)
            return false;
    }
    return true;
}

bool onnx_cache_keep(struct onnx_cache *c)
{
    if (!c->is_used)
        return false;
    if (!onnx_cache_has(c))
        remove_folder(c->entry); /* what is left of one that was not removed whole */
    bool is_there = onnx_sums_write(c->fresh) && sync_files(c->fresh) && rename(c->fresh, c->entry) == 0;
    if (!is_there) {
        is_there = errno == ENOTEMPTY || errno == EEXIST; /* another instance was faster */
        remove_folder(c->fresh);
    }
    if (is_there)
        remove_others(c);
    return is_there && onnx_cache_has(c);
}

void onnx_cache_drop(struct onnx_cache *c)
{
    if (!c->is_used)
        return;
    remove_folder(c->fresh);
    remove_folder(c->entry);
}

bool onnx_cache_may_drop(const struct onnx_cache *c)
{
    return access(c->entry, W_OK | X_OK) == 0;
}

void onnx_cache_discard(const struct onnx_model *m)
{
    struct onnx_cache c = {.is_used = true};
    if (m->cache_entry == NULL)
        return;
    (void)str_copy(c.entry, sizeof c.entry, str_c(m->cache_entry));
    AUTO_FD lock = onnx_cache_lock(&c); /* nobody makes one at the moment */
    (void)lock;
    if (onnx_held_is_named(&m->held, c.entry))
        remove_folder(c.entry);
}

int onnx_cache_lock(const struct onnx_cache *c)
{
    char path[1300];
    if (!c->is_used)
        return -1;
    (void)str_copy(path, sizeof path, str_c(c->entry));
    (void)str_copy(strrchr(path, '/'), 7, STR("/.lock"));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX) < 0 && errno == EINTR)
        ;
    return fd; /* -1: then each makes its own, which costs time only */
}

/* ---- the file as it was when its entry was made or found ---- */

#define KNOWN_MAGIC 0x716c6e33u

struct known { /* of this program and this layout only */
    uint32_t magic, bytes;
    struct hash128 id;
    struct onnx_info info;
    uint64_t own; /* sum of all before */
};

static uint64_t sum_known(const struct known *k)
{
    return hash64(k, offsetof(struct known, own), KNOWN_MAGIC);
}

/* Where it lies, what it is, when it changed, and how it is loaded. The time of change is the system's own: nobody can set it back. */
static bool identify(const struct onnx_model *m, const char *path, struct hash128 *out, uint64_t *bytes)
{
    struct {
        uint64_t dev, inode, size, options, path, root, layout;
        int64_t modified, modified_ns, changed, changed_ns;
    } what = {0};
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    what.dev = st.st_dev;
    what.inode = st.st_ino;
    what.size = (uint64_t)st.st_size;
    what.modified = st.st_mtim.tv_sec;
    what.modified_ns = st.st_mtim.tv_nsec;
    what.changed = st.st_ctim.tv_sec;
    what.changed_ns = st.st_ctim.tv_nsec;
    what.options = hash_options(m);
    what.path = hash64(path, strlen(path), 1);
    what.root = m->root ? hash64(m->root, strlen(m->root), 1) : 0;
    what.layout = sizeof(struct onnx_info);
    *out = hash128(&what, sizeof what, 3);
    *bytes = what.size;
    int64_t now = (int64_t)(clock_wall_ms() / 1000);
    return st.st_mtim.tv_sec + SETTLED_S < now && st.st_ctim.tv_sec + SETTLED_S < now;
}

static void known_path(const char *entry, struct hash128 id, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s/known-%016llx", entry, (unsigned long long)id.lo);
}

static bool read_known(const char *entry, struct hash128 id, struct onnx_info *info)
{
    char path[1600];
    struct known k;
    known_path(entry, id, path, sizeof path);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, &k, sizeof k);
    if (n != (ssize_t)sizeof k || k.magic != KNOWN_MAGIC || k.bytes != sizeof k || k.id.lo != id.lo ||
        k.id.hi != id.hi || k.own != sum_known(&k))
        return false;
    *info = k.info;
    return true;
}

bool onnx_cache_find(struct onnx_cache *c, struct onnx_model *m, const char *cache_dir, const char *path)
{
    struct dirent *e;
    *c = (struct onnx_cache){.is_used = false};
    m->is_settled = cache_dir && m->compile != COMPILE_NEVER && identify(m, path, &m->file_id, &m->file_bytes);
    if (!m->is_settled)
        return false;
    DIR *d = opendir(cache_dir);
    while (!c->is_used && d && (e = readdir(d)) != NULL) {
        if (strlen(e->d_name) != KEY_CHARS ||
            snprintf(c->entry, sizeof c->entry, "%s/%s", cache_dir, e->d_name) >= (int)sizeof c->entry)
            continue;
        c->is_used = read_known(c->entry, m->file_id, &m->info);
        c->is_used = c->is_used && onnx_cache_has(c);
    }
    if (d)
        (void)closedir(d);
    return c->is_used;
}

void onnx_cache_know(const struct onnx_model *m, const char *path)
{
    char file[1600];
    struct err err = {0};
    uint64_t bytes;
    struct known k = {.magic = KNOWN_MAGIC, .bytes = sizeof k, .info = m->info};
    if (!m->cache_entry || !m->is_settled || !identify(m, path, &k.id, &bytes) || k.id.lo != m->file_id.lo ||
        k.id.hi != m->file_id.hi) /* it changed while it was read */
        return;
    k.own = sum_known(&k);
    known_path(m->cache_entry, k.id, file, sizeof file);
    if (access(file, F_OK) < 0)
        (void)file_replace(file, (struct str){(const char *)&k, sizeof k}, false, &err);
}

/* ---- what trial runs have shown ---- */

#define LEARNED_MAGIC 0x716c6e31u

struct learned { /* of this program and this layout only: another one learns anew */
    uint32_t magic, bytes, outputs_len, pad;
    struct tensor_spec outputs[MODEL_TENSORS_MAX];
    uint8_t is_placed[MODEL_TENSORS_MAX];
    uint64_t own; /* sum of all before */
};

static uint64_t sum_learned(const struct learned *l)
{
    return hash64(l, offsetof(struct learned, own), LEARNED_MAGIC);
}

bool onnx_cache_recall(struct onnx_model *m)
{
    char path[1300];
    static struct learned l; /* large; instances load one at a time */
    if (m->cache_entry == NULL)
        return false;
    path_in(m->cache_entry, "learned", path, sizeof path);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, &l, sizeof l);
    if (n != (ssize_t)sizeof l || l.magic != LEARNED_MAGIC || l.bytes != sizeof l || l.own != sum_learned(&l) ||
        l.outputs_len != m->outputs_len)
        return false;
    for (uint32_t i = 0; i < m->outputs_len; i++)
        if (strcmp(l.outputs[i].name, m->outputs[i].name) != 0 || l.outputs[i].dtype != m->outputs[i].dtype)
            return false;
    memcpy(m->outputs, l.outputs, sizeof m->outputs);
    for (uint32_t i = 0; i < m->outputs_len; i++)
        m->is_placed[i] = l.is_placed[i] != 0;
    return true;
}

void onnx_cache_remember(const struct onnx_model *m)
{
    char path[1300];
    struct err err = {0};
    static struct learned l;
    if (m->cache_entry == NULL)
        return;
    l = (struct learned){.magic = LEARNED_MAGIC, .bytes = sizeof l, .outputs_len = m->outputs_len};
    memcpy(l.outputs, m->outputs, sizeof l.outputs);
    for (uint32_t i = 0; i < m->outputs_len; i++)
        l.is_placed[i] = m->is_placed[i];
    l.own = sum_learned(&l);
    path_in(m->cache_entry, "learned", path, sizeof path);
    (void)file_replace(path, (struct str){(const char *)&l, sizeof l}, false,
                       &err); /* a failure costs the next start a trial */
}
