#include "bench/search.h"

#define TRIES_MAX 10
#define PRECISION 1.03

void search_init(struct search *s, double capacity)
{
    *s = (struct search){.high = capacity * 1.05};
}

bool search_next(const struct search *s, double *out_rate)
{
    if (s->tries >= TRIES_MAX || s->high <= 0 || (s->low > 0 && s->high <= s->low * PRECISION))
        return false;
    /* The answer is more often near the capacity than near nothing. */
    *out_rate = s->tries == 0 ? s->high * 0.8 : (s->low + s->high) / 2;
    return true;
}

void search_tell(struct search *s, double rate, bool held)
{
    s->tries++;
    if (held)
        s->low = rate;
    else
        s->high = rate;
}
