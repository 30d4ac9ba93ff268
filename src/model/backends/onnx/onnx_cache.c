#include "model/backends/onnx/onnx_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rand.h"
#include "sys/fd.h"

#define LAYOUT    "2" /* changes when entries of older programs must not be used */
#define KEY_CHARS 32
#define LEFT_S    600

/* What the packing of weights depends on: the first processor's features. */
static uint64_t processor_print(void)
{
    char text[8192];
    AUTO_FD fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
    struct str rest = {text, n > 0 ? (size_t)n : 0};
    uint64_t print = 1;
    while (rest.n > 0) {
        struct str line = str_cut(rest, '\n', &rest);
        if (line.n == 0)
            break; /* the next processor */
        if (str_starts(line, STR("flags")) || str_starts(line, STR("Features")) || str_starts(line, STR("model name")))
            print = hash64(line.p, line.n, print);
    }
    return print;
}

/* Not secret and the same in every process: the folder belongs to one model, whose owner gains nothing from a collision. */
static void make_key(const struct onnx_model *m, struct str bytes, char out[KEY_CHARS + 1])
{
    char options[160];
    int n = snprintf(options, sizeof options, LAYOUT " %s %d %d %016llx", ort_version(), m->threads, m->has_arena,
                     (unsigned long long)processor_print());
    uint64_t seed = hash64(options, (size_t)n, 2);
    struct hash128 h = hash128(bytes.p, bytes.n, seed);
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

struct ort_status *onnx_cache_use(const struct onnx_cache *c, const struct ort_api *api, struct ort_session_options *o)
{
    (void)c;
    return api->SetSessionGraphOptimizationLevel(o, ORT_OPTIMIZE_NONE); /* it was optimised when it was made */
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

/* Entries of older files, engines or processors, and what dead makers left. */
static void remove_others(const struct onnx_cache *c)
{
    char parent[1200], path[1600];
    (void)str_copy(parent, sizeof parent, str_c(c->entry));
    char *slash = strrchr(parent, '/');
    *slash = '\0';
    DIR *d = opendir(parent);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        path_in(parent, e->d_name, path, sizeof path);
        bool is_other = strlen(e->d_name) == KEY_CHARS && strcmp(path, c->entry) != 0;
        if (is_other || (strncmp(e->d_name, "new-", 4) == 0 && is_left(path)))
            remove_folder(path);
    }
    if (d)
        (void)closedir(d);
}

bool onnx_cache_keep(struct onnx_cache *c)
{
    if (!c->is_used)
        return false;
    bool is_there = rename(c->fresh, c->entry) == 0;
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

/* ---- what trial runs have shown ---- */

#define LEARNED_MAGIC 0x716c6e31u

struct learned { /* of this program and this layout only: another one learns anew */
    uint32_t magic, bytes, outputs_len, pad;
    struct tensor_spec outputs[MODEL_TENSORS_MAX];
    uint8_t is_placed[MODEL_TENSORS_MAX];
};

bool onnx_cache_recall(struct onnx_model *m)
{
    char path[1300];
    static struct learned l; /* large; instances load one at a time */
    if (m->cache_entry == NULL)
        return false;
    path_in(m->cache_entry, "learned", path, sizeof path);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, &l, sizeof l);
    if (n != (ssize_t)sizeof l || l.magic != LEARNED_MAGIC || l.bytes != sizeof l || l.outputs_len != m->outputs_len)
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
    path_in(m->cache_entry, "learned", path, sizeof path);
    (void)file_replace(path, (struct str){(const char *)&l, sizeof l}, false,
                       &err); /* a failure costs the next start a trial */
}
