#include "app/worker_learned.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/repo/fingerprint.h"
#include "sys/cpu.h"
#include "sys/fd.h"

#define MAGIC         0x716c6e33u
#define PATH_CAP      1300
#define PREFIX        "batching"
#define PROBE_NS      (20 * NS_PER_MS)  /* most time that looking for batching may cost at load */
#define PROBE_KEPT_NS (200 * NS_PER_MS) /* the same where the next start need not look again */
#define MEASURE_NS    (20 * NS_PER_MS)  /* and measuring what batches gain */

struct learned { /* of this layout only: another program finds out anew */
    uint32_t magic, bytes;
    struct hash128 key;
    uint32_t tries;   /* of the search which rows may share, that ran out of time */
    uint8_t is_whole; /* that search did not */
    uint8_t is_calm;  /* the measurement is to be believed */
    uint8_t has_batch_dim, may_share;
    uint32_t most_rows; /* before measuring */
    uint32_t max_batch, measures_len;
    struct model_measure measures[MODEL_MEASURES_MAX];
    char found[sizeof((struct model_desc *)0)->batch_reason]; /* before measuring */
    char reason[sizeof((struct model_desc *)0)->batch_reason];
};

static struct hash128 add(struct hash128 h, const void *p, size_t n)
{
    struct hash128 parts[2] = {h, hash128(p, n, 1)};
    return hash128(parts, sizeof parts, 2);
}

static struct hash128 add_text(struct hash128 h, const char *text)
{
    return add(h, text, strlen(text));
}

/* The file (size, times, inode), the engine, the processor, the settings, and what the model says of its tensors. */
static struct hash128 key_of(const struct backend *b, const struct backend_load *opt, const struct model_desc *d)
{
    struct hash128 h = repo_fingerprint(opt->path);
    uint64_t processor = cpu_print();
    h = add(h, &processor, sizeof processor);
    h = add_text(h, b->name);
    h = add_text(h, b->engine_version != NULL ? b->engine_version() : "");
    h = add(h, &opt->max_batch, sizeof opt->max_batch);
    h = add(h, &opt->threads, sizeof opt->threads);
    for (size_t i = 0; i < opt->params_len; i++) {
        h = add_text(h, opt->params[i].key);
        h = add_text(h, opt->params[i].value);
    }
    h = add(h, d->inputs, sizeof d->inputs[0] * d->inputs_len);
    return add(h, d->outputs, sizeof d->outputs[0] * d->outputs_len);
}

static bool path_of(const struct backend_load *opt, struct hash128 key, char *out)
{
    if (opt->path == NULL || opt->cache_dir == NULL)
        return false;
    int n = snprintf(out, PATH_CAP, "%s/" PREFIX "-%016llx", opt->cache_dir, (unsigned long long)key.lo);
    return n > 0 && n < PATH_CAP;
}

static bool read_kept(const char *path, struct hash128 key, struct learned *l)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, l, sizeof *l);
    if (n != (ssize_t)sizeof *l || l->magic != MAGIC || l->bytes != sizeof *l || l->key.lo != key.lo ||
        l->key.hi != key.hi || l->measures_len > MODEL_MEASURES_MAX)
        return false;
    l->found[sizeof l->found - 1] = l->reason[sizeof l->reason - 1] = '\0';
    return true;
}

/* Room for one more: with too many of them the oldest goes. */
static void sweep(const char *folder)
{
    char path[PATH_CAP], oldest[PATH_CAP] = "";
    struct timespec at = {0};
    struct stat st;
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (!str_starts(str_c(e->d_name), STR(PREFIX)) ||
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path || stat(path, &st) < 0)
            continue;
        n++;
        if (oldest[0] != '\0' &&
            (st.st_mtim.tv_sec > at.tv_sec || (st.st_mtim.tv_sec == at.tv_sec && st.st_mtim.tv_nsec >= at.tv_nsec)))
            continue;
        at = st.st_mtim;
        (void)str_copy(oldest, sizeof oldest, str_c(path));
    }
    if (d)
        (void)closedir(d);
    if (n >= LEARNED_FILES_MAX)
        (void)unlink(oldest);
}

static void keep(const struct backend_load *opt, const char *path, const struct learned *l)
{
    struct err err;
    if (access(path, F_OK) < 0)
        sweep(opt->cache_dir);
    (void)file_replace(path, (struct str){(const char *)l, sizeof *l}, false, &err); /* failed: the next start tries */
}

/* Which rows may share a run. */
static void find_sharing(const struct backend *b, void *instance, struct model_desc *d, uint64_t budget_ns,
                         struct learned *l)
{
    uint64_t start_ns = clock_now_ns();
    backend_probe_batching(b, instance, d, budget_ns);
    l->is_whole = clock_now_ns() - start_ns < budget_ns;
    l->tries++;
    l->is_calm = false;
    l->has_batch_dim = d->has_batch_dim;
    l->may_share = d->may_share;
    l->most_rows = d->max_batch;
    memcpy(l->found, d->batch_reason, sizeof l->found);
}

static void find_gain(const struct backend *b, void *instance, const struct backend_load *opt, struct model_desc *d,
                      struct learned *l)
{
    l->is_calm = backend_measure_batching(b, instance, d, opt->max_batch > 0, MEASURE_NS);
    l->max_batch = d->max_batch;
    l->measures_len = d->measures_len;
    memcpy(l->measures, d->measures, sizeof l->measures);
    memcpy(l->reason, d->batch_reason, sizeof l->reason);
}

static void take_sharing(const struct learned *l, struct model_desc *d)
{
    d->has_batch_dim = l->has_batch_dim != 0;
    d->may_share = l->may_share != 0;
    d->max_batch = l->most_rows;
    memcpy(d->batch_reason, l->found, sizeof d->batch_reason);
}

static void take_gain(const struct learned *l, struct model_desc *d)
{
    d->max_batch = l->max_batch;
    d->measures_len = l->measures_len;
    memcpy(d->measures, l->measures, sizeof d->measures);
    memcpy(d->batch_reason, l->reason, sizeof d->batch_reason);
}

void learned_batching(const struct backend *b, void *instance, const struct backend_load *opt, struct model_desc *d)
{
    char path[PATH_CAP];
    struct learned l = {.magic = 0};
    struct hash128 key = key_of(b, opt, d);
    if (d->batch_reason[0] != '\0' || !path_of(opt, key, path)) { /* the backend has said it, or there is no folder */
        find_sharing(b, instance, d, PROBE_NS, &l);
        find_gain(b, instance, opt, d, &l);
        return;
    }
    if (!read_kept(path, key, &l))
        l = (struct learned){.magic = MAGIC, .bytes = sizeof l, .key = key};
    if (l.is_whole || l.tries >= LEARNED_TRIES)
        take_sharing(&l, d);
    else
        find_sharing(b, instance, d, PROBE_KEPT_NS, &l);
    if (l.is_calm) {
        take_gain(&l, d);
        return;
    }
    find_gain(b, instance, opt, d, &l);
    keep(opt, path, &l);
}
