#include "app/edge_usage.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "sys/cpu.h"

struct share {
    int pid;
    uint64_t bytes; /* its share, or its resident memory */
    bool is_known;
};

static struct {
    struct share *now, *before;        /* as listed, this time and the last */
    size_t len, before_len, cap, next; /* next: who is asked first */
    _Atomic uint64_t total;
} usage;

void edge_usage_begin(void)
{
    struct share *swap = usage.before;
    usage.before = usage.now;
    usage.before_len = usage.len;
    usage.now = swap;
    usage.len = 0;
}

/* Lists change little from one second to the next: it stands where it stood, or near. */
static const struct share *last_of(int pid)
{
    for (size_t i = 0; i < usage.before_len; i++) {
        const struct share *s = &usage.before[(usage.len + i) % usage.before_len];
        if (s->pid == pid && s->is_known)
            return s;
    }
    return NULL;
}

static void grow(void)
{
    usage.cap = usage.cap ? usage.cap * 2 : 16;
    usage.now = realloc(usage.now, usage.cap * sizeof *usage.now);
    usage.before = realloc(usage.before, usage.cap * sizeof *usage.before);
    CHECK(usage.now && usage.before);
}

void edge_usage_add(int pid, uint64_t rss_bytes)
{
    const struct share *last = last_of(pid);
    struct share s = last ? *last : (struct share){.pid = pid, .bytes = rss_bytes};
    if (usage.len == usage.cap)
        grow();
    usage.now[usage.len++] = s;
}

void edge_usage_end(void)
{
    uint64_t end_ns = clock_now_ns() + EDGE_USAGE_NS, total = 0;
    for (size_t i = 0; i < usage.len && (i == 0 || clock_now_ns() < end_ns); i++) {
        struct share *s = &usage.now[usage.next++ % usage.len];
        uint64_t bytes = proc_share_read(s->pid);
        if (bytes > 0)
            *s = (struct share){s->pid, bytes, true};
    }
    for (size_t i = 0; i < usage.len; i++)
        total += usage.now[i].bytes;
    atomic_store_explicit(&usage.total, total, memory_order_relaxed);
}

uint64_t edge_usage_total(void)
{
    return atomic_load_explicit(&usage.total, memory_order_relaxed);
}
