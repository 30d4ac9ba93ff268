#include "app/worker_learned.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model/repo/fingerprint.h"
#include "sys/fd.h"

#define MAGIC    0x716c6e32u
#define PATH_CAP 1300

struct learned { /* of this layout only: another program finds out anew */
    uint32_t magic, bytes;
    struct hash128 key;
    uint32_t tries; /* that ran out of time */
    uint32_t max_batch, measures_len;
    uint8_t has_batch_dim, may_share, is_whole, pad;
    struct model_measure measures[MODEL_MEASURES_MAX];
    char batch_reason[sizeof((struct model_desc *)0)->batch_reason];
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

/* The file (size, times, inode), the engine, the settings, and what the model says of its tensors. */
static struct hash128 key_of(const struct backend *b, const struct backend_load *opt, const struct model_desc *d)
{
    struct hash128 h = repo_fingerprint(opt->path);
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

static bool path_of(const struct backend_load *opt, char *out)
{
    if (opt->path == NULL || opt->cache_dir == NULL)
        return false;
    int n = snprintf(out, PATH_CAP, "%s/batching", opt->cache_dir);
    return n > 0 && n < PATH_CAP;
}

static bool read_kept(const char *path, struct hash128 key, struct learned *l)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, l, sizeof *l);
    return n == (ssize_t)sizeof *l && l->magic == MAGIC && l->bytes == sizeof *l && l->key.lo == key.lo &&
           l->key.hi == key.hi && l->measures_len <= MODEL_MEASURES_MAX;
}

bool learned_recall(const struct backend *b, const struct backend_load *opt, struct model_desc *d)
{
    char path[PATH_CAP];
    struct learned l;
    if (d->batch_reason[0] != 0 || !path_of(opt, path) || !read_kept(path, key_of(b, opt, d), &l))
        return false;
    if (!l.is_whole && l.tries < LEARNED_TRIES)
        return false;
    d->has_batch_dim = l.has_batch_dim != 0;
    d->may_share = l.may_share != 0;
    d->max_batch = l.max_batch;
    d->measures_len = l.measures_len;
    memcpy(d->measures, l.measures, sizeof d->measures);
    memcpy(d->batch_reason, l.batch_reason, sizeof d->batch_reason);
    d->batch_reason[sizeof d->batch_reason - 1] = 0;
    return true;
}

void learned_keep(const struct backend *b, const struct backend_load *opt, const struct model_desc *d, bool is_whole)
{
    char path[PATH_CAP];
    struct learned before;
    struct err err = {0};
    if (!path_of(opt, path))
        return;
    struct learned l = {.magic = MAGIC,
                        .bytes = sizeof l,
                        .key = key_of(b, opt, d),
                        .max_batch = d->max_batch,
                        .measures_len = d->measures_len,
                        .has_batch_dim = d->has_batch_dim,
                        .may_share = d->may_share,
                        .is_whole = is_whole};
    if (!is_whole)
        l.tries = 1 + (read_kept(path, l.key, &before) ? before.tries : 0);
    memcpy(l.measures, d->measures, sizeof l.measures);
    memcpy(l.batch_reason, d->batch_reason, sizeof l.batch_reason);
    (void)file_replace(path, (struct str){(const char *)&l, sizeof l}, false, &err); /* failed: the next start tries */
}
