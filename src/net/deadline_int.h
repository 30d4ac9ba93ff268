/* Time limits without a timer for each connection: one list for each kind of limit. All entries of a list wait equally long, so a list
 * that is appended to at the end is sorted, and starting, stopping and finding the next to expire cost O(1). */
#ifndef NET_DEADLINE_INT_H
#define NET_DEADLINE_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct deadline {
    struct deadline *prev, *next; /* NULL when not in a list */
    uint64_t at_ns;
    int kind; /* of the list that it is in */
};

struct deadline_list {
    struct deadline ends; /* ring; next is the first to expire */
    uint64_t limit_ns;
    int kind;
};

void deadline_list_init(struct deadline_list *l, int kind, uint64_t limit_ns);
void deadline_start(struct deadline_list *l, struct deadline *d, uint64_t now_ns); /* moves it when it is in a list */
void deadline_stop(struct deadline *d);                                            /* harmless when not in a list */
bool deadline_is_on(const struct deadline *d);
struct deadline *deadline_first(struct deadline_list *l);                    /* NULL: none */
struct deadline *deadline_expired(struct deadline_list *l, uint64_t now_ns); /* the first, when its time has come */

#endif
