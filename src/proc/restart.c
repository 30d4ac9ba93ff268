#include "proc/restart.h"

#include "base/clock.h"

#define SHORT_LIFE_NS        (100 * NS_PER_MS)
#define SHORT_DELAY_MAX_NS   (5 * NS_PER_S)
#define UNREADY_DELAY_NS     (100 * NS_PER_MS)
#define UNREADY_DELAY_MAX_NS (10 * NS_PER_S)

static uint64_t doubled(uint64_t first, uint32_t times, uint64_t max)
{
    uint64_t d = times < 20 ? first << times : max;
    return d < max ? d : max;
}

void restart_started(struct restart *r, uint64_t now_ns)
{
    r->started_ns = now_ns;
    r->ready_ns = 0;
}

void restart_ready(struct restart *r, uint64_t now_ns)
{
    r->ready_ns = now_ns;
    r->was_ready = true;
    r->unready_deaths = 0;
}

bool restart_died(struct restart *r, uint64_t now_ns, uint64_t *out_at_ns)
{
    r->restarts++;
    if (r->ready_ns == 0) {
        r->unready_deaths++;
        if (r->unready_deaths >= RESTART_TRIES && !r->was_ready)
            return false;
        *out_at_ns = now_ns + doubled(UNREADY_DELAY_NS, r->unready_deaths - 1, UNREADY_DELAY_MAX_NS);
        return true;
    }
    if (now_ns - r->ready_ns >= SHORT_LIFE_NS) {
        r->short_lives = 0;
        *out_at_ns = now_ns;
        return true;
    }
    r->short_lives++;
    *out_at_ns = now_ns + doubled(10 * NS_PER_MS, r->short_lives - 1, SHORT_DELAY_MAX_NS);
    return true;
}
