#include "bench/histogram.h"

#include <math.h>

#define STEPS ((size_t)1 << HISTOGRAM_STEP_BITS)

static size_t slot_of(uint64_t ns)
{
    if (ns < STEPS)
        return (size_t)ns;
    unsigned shift = 63U - (unsigned)__builtin_clzll(ns) - HISTOGRAM_STEP_BITS;
    return ((size_t)shift + 1) * STEPS + (size_t)((ns >> shift) & (STEPS - 1));
}

/* The greatest value of a slot. */
static uint64_t top_of(size_t slot)
{
    if (slot < STEPS)
        return slot;
    unsigned shift = (unsigned)(slot / STEPS) - 1;
    return ((STEPS + slot % STEPS + 1) << shift) - 1;
}

void histogram_record(struct histogram *h, uint64_t ns)
{
    h->counts[slot_of(ns)]++;
    h->total++;
    h->sum_ns += (double)ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_SLOTS; i++)
        into->counts[i] += from->counts[i];
    into->total += from->total;
    into->sum_ns += from->sum_ns;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t seen = 0, want = (uint64_t)ceil(q * (double)h->total);
    want = want < 1 ? 1 : want;
    for (size_t i = 0; i < HISTOGRAM_SLOTS; i++) {
        seen += h->counts[i];
        if (seen >= want)
            return top_of(i) < h->max_ns ? top_of(i) : h->max_ns;
    }
    return h->max_ns;
}

double histogram_mean(const struct histogram *h)
{
    return h->total ? h->sum_ns / (double)h->total : 0;
}
