#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

#include "base/check.h"

#define WALL_MS_MAX UINT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z: the last one with a year of four digits */

typedef uint64_t clock_source_fn(void);

static _Atomic(clock_source_fn *) source;

uint64_t clock_now_ns(void)
{
    clock_source_fn *now_ns = atomic_load_explicit(&source, memory_order_relaxed);
    if (UNLIKELY(now_ns != NULL))
        return now_ns();
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t clock_thread_ns(void)
{
    clock_source_fn *now_ns = atomic_load_explicit(&source, memory_order_relaxed);
    struct timespec t;
    if (UNLIKELY(now_ns != NULL))
        return now_ns();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t clock_wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (t.tv_sec < 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / NS_PER_MS;
}

void clock_set_source(uint64_t (*now_ns)(void))
{
    atomic_store_explicit(&source, now_ns, memory_order_relaxed);
}

static char *put_digits(char *out, unsigned v, int width, char after)
{
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + v % 10);
        v /= 10;
    }
    out[width] = after;
    return out + width + 1;
}

void clock_format(uint64_t wall_ms, char *out, size_t out_size)
{
    CHECK(out_size >= 25);
    if (wall_ms > WALL_MS_MAX)
        wall_ms = WALL_MS_MAX;
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm t;
    gmtime_r(&seconds, &t);
    out = put_digits(out, (unsigned)t.tm_year + 1900, 4, '-');
    out = put_digits(out, (unsigned)t.tm_mon + 1, 2, '-');
    out = put_digits(out, (unsigned)t.tm_mday, 2, 'T');
    out = put_digits(out, (unsigned)t.tm_hour, 2, ':');
    out = put_digits(out, (unsigned)t.tm_min, 2, ':');
    out = put_digits(out, (unsigned)t.tm_sec, 2, '.');
    out = put_digits(out, (unsigned)(wall_ms % 1000), 3, 'Z');
    *out = '\0';
}
