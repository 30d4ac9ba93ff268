/* The highest rate that holds an objective, by halving the interval. Pure: it says what to try, the caller tries and tells. */
#ifndef BENCH_SEARCH_H
#define BENCH_SEARCH_H

#include <stdbool.h>

struct search {
    double low, high; /* the highest rate that held, the lowest that did not */
    int tries;
};

/* capacity: what the server does when it is never idle; nothing much above it can hold. */
void search_init(struct search *s, double capacity);
/* False: finished; s->low is the answer (0: no rate that was tried held). */
bool search_next(const struct search *s, double *out_rate);
void search_tell(struct search *s, double rate, bool held);

#endif
