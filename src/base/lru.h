/* Bounded map from bytes to a pointer that drops the least recently used entry when a limit of items or bytes is
 * passed. on_drop is called for every value that leaves (eviction, replacement, removal, done). Not thread-safe. */
#ifndef BASE_LRU_H
#define BASE_LRU_H

#include "base/str.h"

struct lru;
typedef void lru_drop_fn(void *value, void *arg);

struct lru *lru_new(size_t max_items, size_t max_bytes, lru_drop_fn *on_drop, void *arg);
struct lru *lru_free(struct lru *l);                                    /* returns NULL */
void lru_put(struct lru *l, struct str key, void *value, size_t bytes); /* an entry over max_bytes is dropped at once */
void *lru_get(struct lru *l, struct str key);                           /* moves it to the front; NULL: none */
bool lru_remove(struct lru *l, struct str key);
size_t lru_len(const struct lru *l);
size_t lru_bytes(const struct lru *l);

#endif
