/* What the workers of a model take, measured when they are ready, and remembered in DATA/cache/NAME for the next start. The folder may be written by
 * the model's own workers: what is read there is checked, and only says how much room to make. */
#include <dirent.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/master_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "sys/fd.h"
#include "sys/memory.h"

#define FILE_BYTES_MAX   4096
#define SANE_BYTES_MAX   (UINT64_C(1) << 50)
#define SANE_LOAD_NS_MAX (24 * 3600 * NS_PER_S)
#define PEAK_FORGET      16
#define BASE_BYTES       (UINT64_C(4) << 20) /* of a worker, whatever it loads */

uint64_t memory_need(const struct life *l)
{
    return l->res.memory.private_bytes + l->res.memory.shared_bytes;
}

/* ---- remembering ---- */

static void path_of(const struct master *m, const struct life *l, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s/cache/%s/memory.%s", m->snapshot->config.data, l->config->name,
                   l->config->version);
}

static void key_text(const struct life *l, char out[33])
{
    struct hash128 key = life_memory_key(l);
    (void)snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, key.hi, key.lo);
}

static bool is_sane(const struct model_memory *k)
{
    return k->private_bytes < SANE_BYTES_MAX && k->shared_bytes < SANE_BYTES_MAX && k->program_bytes < SANE_BYTES_MAX &&
           k->peak_bytes < SANE_BYTES_MAX && k->load_ns < SANE_LOAD_NS_MAX;
}

static bool parse(struct str text, const char *key, struct model_memory *out)
{
    struct json_reader r;
    struct arena a;
    struct str name, s = STR("");
    bool is_ours = false;
    struct model_memory k = {.is_known = true};
    arena_init(&a, 256, 4096);
    json_init(&r, text, 4);
    json_object(&r);
    while (json_key(&r, &name)) {
        if (str_eq_c(name, "key") && json_string(&r, &a, &s))
            is_ours = str_eq_c(s, key);
        else if (str_eq_c(name, "private_bytes"))
            json_u64(&r, &k.private_bytes);
        else if (str_eq_c(name, "shared_bytes"))
            json_u64(&r, &k.shared_bytes);
        else if (str_eq_c(name, "program_bytes"))
            json_u64(&r, &k.program_bytes);
        else if (str_eq_c(name, "peak_bytes"))
            json_u64(&r, &k.peak_bytes);
        else if (str_eq_c(name, "load_ns"))
            json_u64(&r, &k.load_ns);
        else
            json_skip(&r, NULL);
    }
    is_ours = json_end(&r) == ERR_OK && is_ours && is_sane(&k);
    if (is_ours)
        *out = k;
    arena_done(&a);
    return is_ours;
}

static uint64_t folder_bytes(const char *path)
{
    char file[4400];
    struct stat st;
    uint64_t sum = 0;
    DIR *d = opendir(path);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        (void)snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size;
    }
    if (d)
        (void)closedir(d);
    return sum;
}

static uint64_t file_bytes(const struct model_config *c)
{
    char path[4096];
    struct stat st;
    (void)str_copy(path, sizeof path, str_c(c->path));
    if (c->origin && c->path && strcmp(c->origin, c->path) != 0)
        return folder_bytes(dirname(path));
    return c->path && stat(c->path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* A model is hardly smaller in memory than its file. Where its memory has a limit, that is what it may take. */
static struct model_memory guess(const struct life *l)
{
    uint64_t instances = (uint64_t)l->children_len;
    if (l->config->memory_bytes > 0)
        return (struct model_memory){.private_bytes = instances * l->config->memory_bytes};
    return (struct model_memory){.private_bytes = l->res.file_bytes + instances * BASE_BYTES};
}

void memory_recall(const struct master *m, struct life *l)
{
    char path[4400], key[33];
    struct arena a;
    struct buf padded;
    struct str text;
    struct err err;
    l->res.file_bytes = file_bytes(l->config);
    path_of(m, l, path, sizeof path);
    key_text(l, key);
    arena_init(&a, 1024, 2 * FILE_BYTES_MAX);
    buf_init(&padded, 2 * FILE_BYTES_MAX);
    bool is_read = file_read(path, FILE_BYTES_MAX, &a, &text, &err) == ERR_OK;
    if (is_read) {
        buf_str(&padded, text);
        buf_pad(&padded);
    }
    if (!is_read || !parse(buf_view(&padded), key, &l->res.memory))
        l->res.memory = guess(l);
    buf_done(&padded);
    arena_done(&a);
}

static void keep(const struct master *m, const struct life *l)
{
    char path[4400], key[33];
    const struct model_memory *k = &l->res.memory;
    struct buf out;
    struct json_writer w;
    struct err err = {0};
    path_of(m, l, path, sizeof path);
    key_text(l, key);
    buf_init(&out, FILE_BYTES_MAX);
    jw_init(&w, &out);
    jw_object(&w);
    jw_kv_c(&w, "key", key);
    jw_kv_u64(&w, "private_bytes", k->private_bytes);
    jw_kv_u64(&w, "shared_bytes", k->shared_bytes);
    jw_kv_u64(&w, "program_bytes", k->program_bytes);
    jw_kv_u64(&w, "peak_bytes", k->peak_bytes);
    jw_kv_u64(&w, "load_ns", k->load_ns);
    jw_object_end(&w);
    char folder[4400];
    (void)str_copy(folder, sizeof folder, str_c(path));
    if (dir_make(dirname(folder), 0700, &err) || file_replace(path, buf_view(&out), false, &err))
        LOG_DEBUG("the need of memory is not remembered", LOG_S("model", l->config->name), LOG_S("error", err.text));
    buf_done(&out);
}

/* ---- measuring ---- */

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Each instance has its own memory; what they share counts once. Instances that are not there yet count like those that are. */
static bool measure(const struct life *l, struct model_memory *out)
{
    struct proc_memory p;
    uint64_t n = 0, peaks = 0;
    *out = (struct model_memory){.is_known = true};
    for (int i = 0; i < l->children_len; i++) {
        const struct child *c = &l->children[i];
        if (c->pid == 0 || c->state != CHILD_READY || !proc_memory_read(c->pid, &p))
            continue;
        uint64_t others = p.program_bytes + p.shared_bytes;
        n++;
        out->private_bytes += p.private_bytes;
        out->shared_bytes = max_of(out->shared_bytes, p.shared_bytes);
        out->program_bytes = max_of(out->program_bytes, p.program_bytes);
        peaks += max_of(p.private_bytes, p.peak_bytes > others ? p.peak_bytes - others : 0);
    }
    if (n == 0)
        return false;
    out->private_bytes = out->private_bytes / n * (uint64_t)l->children_len;
    out->peak_bytes = peaks / n * (uint64_t)l->children_len + out->shared_bytes;
    return true;
}

/* Of one residence the most counts: a model that needed it once will need it again. Peaks differ from load to load: the greatest is forgotten slowly. */
void memory_measure(const struct master *m, struct life *l)
{
    struct residence *r = &l->res;
    struct model_memory found, before = r->memory;
    if (!measure(l, &found))
        return;
    bool is_first = r->sampled_ns < r->ready_ns;
    r->sampled_ns = clock_now_ns();
    found.load_ns = r->ready_ns - r->started_ns;
    if (before.is_known)
        found.peak_bytes = max_of(found.peak_bytes, before.peak_bytes - before.peak_bytes / PEAK_FORGET);
    if (!is_first) {
        found.private_bytes = max_of(found.private_bytes, before.private_bytes);
        found.shared_bytes = max_of(found.shared_bytes, before.shared_bytes);
        found.peak_bytes = max_of(found.peak_bytes, before.peak_bytes);
    }
    r->memory = found;
    if (is_first || memory_need(l) > before.private_bytes + before.shared_bytes)
        keep(m, l);
}

uint64_t memory_now(const struct life *l)
{
    uint64_t sum = 0;
    for (int i = 0; i < l->children_len; i++)
        if (l->children[i].pid != 0)
            sum += proc_memory_quick(l->children[i].pid);
    return sum;
}
