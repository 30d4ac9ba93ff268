/* Hash map from bytes to a pointer; open addressing, seeded hash (strangers choose keys). Keys are copied. Not
 * thread-safe. max_items bounds it: map_put returns false beyond. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/str.h"

struct map_slot;

struct map {
    struct map_slot *slots;     /* private */
    size_t len, cap, max_items; /* len may be read */
};

void map_init(struct map *m, size_t max_items);
void map_done(struct map *m);                                           /* frees keys, not values */
ATTR_MUST_USE bool map_put(struct map *m, struct str key, void *value); /* replaces; value must not be NULL */
void *map_get(const struct map *m, struct str key);                     /* NULL: none */
void *map_take(struct map *m, struct str key);                          /* removes, returns the value or NULL */
/* Iterates in no order: for (size_t i = 0; map_next(m, &i, &key, &value);). No changes while iterating. */
bool map_next(const struct map *m, size_t *i, struct str *key, void **value);

#endif
