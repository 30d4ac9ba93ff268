#include "app/worker_learned.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "app/kept.h"
#include "base/clock.h"
#include "model/repo/fingerprint.h"
#include "sys/cpu.h"

#define KIND          "batching"
#define KIND_GAIN     "gain"
#define LAYOUT        4                 /* greater with each change of how sizes are measured or chosen */
#define PROBE_NS      (20 * NS_PER_MS)  /* most time that looking for batching may cost at load */
#define PROBE_KEPT_NS (200 * NS_PER_MS) /* the same where the next start need not look again */
#define MEASURE_NS    (20 * NS_PER_MS)  /* and measuring what batches gain */

struct learned {
    uint32_t tries;   /* of the search which rows may share, that ran out of time */
    uint8_t is_whole; /* that search did not */
    uint32_t noisy;   /* measurements on a machine that was not calm */
    uint8_t is_calm;  /* the measurement is to be believed */
    uint8_t has_batch_dim, may_share;
    uint32_t most_rows; /* before measuring */
    uint32_t max_batch, measures_len;
    struct model_measure measures[MODEL_MEASURES_MAX];
    char found[sizeof((struct model_desc *)0)->batch_reason]; /* before measuring */
    char reason[sizeof((struct model_desc *)0)->batch_reason];
};

/* With what is known of the file: the engine, the processor, the settings, and what the model says of its tensors. */
static struct hash128 key_of(struct hash128 h, const struct backend *b, const struct backend_load *opt,
                             const struct model_desc *d)
{
    uint64_t processor = cpu_print();
    h = kept_add(h, &processor, sizeof processor);
    h = kept_add_text(h, b->name);
    h = kept_add_text(h, b->engine_version != NULL ? b->engine_version() : "");
    h = kept_add(h, &opt->max_batch, sizeof opt->max_batch);
    h = kept_add(h, &opt->threads, sizeof opt->threads);
    for (size_t i = 0; i < opt->params_len; i++) {
        h = kept_add_text(h, opt->params[i].key);
        h = kept_add_text(h, opt->params[i].value);
    }
    h = kept_add(h, d->inputs, sizeof d->inputs[0] * d->inputs_len);
    return kept_add(h, d->outputs, sizeof d->outputs[0] * d->outputs_len);
}

/* A new version of a model that was trained further has the same tensors, rows that share a run alike, and a file of the same size: it costs what the old one did. */
static struct hash128 key_of_gain(const struct backend *b, const struct backend_load *opt, const struct model_desc *d,
                                  const struct learned *l)
{
    struct stat st = {0};
    (void)stat(opt->path, &st);
    struct hash128 h = kept_add((struct hash128){0, 0}, &st.st_size, sizeof st.st_size);
    h = kept_add(h, &l->has_batch_dim, sizeof l->has_batch_dim);
    h = kept_add(h, &l->may_share, sizeof l->may_share);
    h = kept_add(h, &l->most_rows, sizeof l->most_rows);
    h = kept_add_text(h, l->found);
    return key_of(h, b, opt, d);
}

static bool read_kept(const struct backend_load *opt, const char *kind, struct hash128 key, struct learned *l)
{
    if (!kept_read(opt->cache_dir, kind, LAYOUT, key, l, sizeof *l) || l->measures_len > MODEL_MEASURES_MAX)
        return false;
    l->found[sizeof l->found - 1] = l->reason[sizeof l->reason - 1] = '\0';
    return true;
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
    l->noisy = l->measures_len = 0;
    l->has_batch_dim = d->has_batch_dim;
    l->may_share = d->may_share;
    l->most_rows = d->max_batch;
    memcpy(l->found, d->batch_reason, sizeof l->found);
}

static void find_gain(const struct backend *b, void *instance, const struct backend_load *opt, struct model_desc *d,
                      struct learned *l)
{
    d->measures_len = l->measures_len;
    memcpy(d->measures, l->measures, sizeof d->measures);
    l->is_calm = backend_measure_batching(b, instance, d, opt->max_batch > 0, MEASURE_NS);
    l->noisy += !l->is_calm;
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

static bool is_believed(const struct learned *l)
{
    return l->is_calm || l->noisy >= LEARNED_TRIES;
}

/* What was measured on a version before this one, if nothing was on this. */
static void adopt_gain(const struct backend_load *opt, struct hash128 key, struct learned *l)
{
    struct learned theirs;
    if (l->noisy > 0 || !read_kept(opt, KIND_GAIN, key, &theirs))
        return;
    l->is_calm = theirs.is_calm;
    l->noisy = theirs.noisy;
    l->max_batch = theirs.max_batch;
    l->measures_len = theirs.measures_len;
    memcpy(l->measures, theirs.measures, sizeof l->measures);
    memcpy(l->reason, theirs.reason, sizeof l->reason);
}

void learned_batching(const struct backend *b, void *instance, const struct backend_load *opt, struct model_desc *d)
{
    struct learned l = {.tries = 0};
    if (d->batch_reason[0] != '\0' || !opt->path ||
        !opt->cache_dir) { /* the backend has said it, or there is no folder */
        find_sharing(b, instance, d, PROBE_NS, &l);
        find_gain(b, instance, opt, d, &l);
        return;
    }
    struct hash128 key = key_of(repo_fingerprint(opt->path), b, opt, d);
    if (!read_kept(opt, KIND, key, &l))
        l = (struct learned){.tries = 0};
    if (l.is_whole || l.tries >= LEARNED_TRIES)
        take_sharing(&l, d);
    else
        find_sharing(b, instance, d, PROBE_KEPT_NS, &l);
    if (is_believed(&l)) {
        take_gain(&l, d);
        return;
    }
    struct hash128 gain = key_of_gain(b, opt, d, &l);
    adopt_gain(opt, gain, &l);
    if (is_believed(&l)) {
        take_gain(&l, d);
    } else {
        find_gain(b, instance, opt, d, &l);
        kept_write(opt->cache_dir, KIND_GAIN, LAYOUT, gain, &l, sizeof l);
    }
    kept_write(opt->cache_dir, KIND, LAYOUT, key, &l, sizeof l);
}
