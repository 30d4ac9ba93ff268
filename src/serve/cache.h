/* Results kept for inputs that come again, and one run for equal inputs that are on their way at the same time.
 *
 * A model's cache lives with the model: another version or life begins with an empty one. Keys are the whole input: what shapes and types it has, and every
 * byte of its tensors. They are found by a seeded 128-bit hash and then compared: who crafts a collision gets a miss. Entries are shared by all threads
 * behind a lock, flights belong to one thread. */
#ifndef SERVE_CACHE_H
#define SERVE_CACHE_H

#include "base/hash.h"
#include "base/str.h"

struct cache;
struct cache_entry;

/* The head tells the length of each part, so that equal bytes are equal tensors. All borrowed. */
struct cache_key {
    struct hash128 hash;
    struct str head;
    const struct str *parts;
    size_t parts_len;
};

struct cache_key cache_key_of(struct str head, const struct str *parts, size_t parts_len);

struct cache *cache_new(uint64_t budget_bytes);
void cache_free(struct cache *c);

/* Most bytes of key and value together that are kept. */
uint64_t cache_entry_max(const struct cache *c);
/* A reference to the results, or NULL. */
struct cache_entry *cache_get(struct cache *c, const struct cache_key *key);
/* Results on their way in: the key is copied, the value is for the caller to fill. The caller holds the reference. NULL when memory is short. */
struct cache_entry *cache_entry_new(const struct cache_key *key, size_t value_bytes);
/* Keeps it when it is not too large for the budget, dropping what was not asked for longest. */
void cache_put(struct cache *c, struct cache_entry *e);
void cache_entry_unref(struct cache *c, struct cache_entry *e);

#define CACHE_VALUE_ALIGN 64u
/* Its memory, which stays where it is; not to be written after cache_put. */
void *cache_entry_value(struct cache_entry *e);

/* Whether what was found is to be run all the same, to see that the model still says so. Asked once for each time that something was found. */
bool cache_check_is_due(struct cache *c);
/* What came of it. True: the first time that it differed. */
bool cache_check_note(struct cache *c, bool has_differed);

struct cache_look {
    uint64_t bytes, budget_bytes, entries, evictions;
    uint64_t checks, differed;
};
void cache_look(struct cache *c, struct cache_look *out);

/* ---- flights: one request runs, equal ones wait for its answer. On one thread. ---- */

struct cache_waiter {
    struct cache_flight *flight;
    struct cache_waiter *prev, *next;
};

/* When it is over at the latest, and how urgent it is (1: most). Nobody waits for one that is in less of a hurry than himself. */
struct cache_hurry {
    uint64_t deadline_ns;
    uint32_t priority;
};

struct cache_flight {
    struct cache_hurry hurry;
    struct cache_key key; /* its bytes are the leader's, which lives as long as the flight is listed */
    struct cache_flight *next;
    struct cache_waiter *first, *last;
    struct cache_entry *entry;  /* the results, once there are some */
    struct cache_entry *before; /* what was kept already, when this run is to check it */
};

struct cache_flight *cache_flight_find(const struct cache *c, int thread, const struct cache_key *key,
                                       struct cache_hurry hurry);
struct cache_flight *cache_flight_begin(struct cache *c, int thread, const struct cache_key *key,
                                        struct cache_hurry hurry);
void cache_flight_join(struct cache_flight *f, struct cache_waiter *w);
void cache_flight_leave(struct cache_waiter *w);
/* Nobody can join any more. Before the leader is answered: its key goes with it. */
void cache_flight_close(struct cache *c, int thread, struct cache_flight *f);

#endif
