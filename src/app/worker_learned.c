#include "app/worker_learned.h"

#include <string.h>

#include "app/kept.h"
#include "base/clock.h"
#include "model/repo/fingerprint.h"
#include "sys/cpu.h"

#define KIND          "batching"
#define LAYOUT        2
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

/* The file (size, times, inode), the engine, the processor, the settings, and what the model says of its tensors. */
static struct hash128 key_of(const struct backend *b, const struct backend_load *opt, const struct model_desc *d)
{
    struct hash128 h = repo_fingerprint(opt->path);
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

static bool read_kept(const struct backend_load *opt, struct hash128 key, struct learned *l)
{
    if (!kept_read(opt->cache_dir, KIND, LAYOUT, key, l, sizeof *l) || l->measures_len > MODEL_MEASURES_MAX)
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

void learned_batching(const struct backend *b, void *instance, const struct backend_load *opt, struct model_desc *d)
{
    struct learned l = {.tries = 0};
    if (d->batch_reason[0] != '\0' || !opt->path ||
        !opt->cache_dir) { /* the backend has said it, or there is no folder */
        find_sharing(b, instance, d, PROBE_NS, &l);
        find_gain(b, instance, opt, d, &l);
        return;
    }
    struct hash128 key = key_of(b, opt, d);
    if (!read_kept(opt, key, &l))
        l = (struct learned){.tries = 0};
    if (l.is_whole || l.tries >= LEARNED_TRIES)
        take_sharing(&l, d);
    else
        find_sharing(b, instance, d, PROBE_KEPT_NS, &l);
    if (l.is_calm || l.noisy >= LEARNED_TRIES) {
        take_gain(&l, d);
        return;
    }
    find_gain(b, instance, opt, d, &l);
    kept_write(opt->cache_dir, KIND, LAYOUT, key, &l, sizeof l);
}
