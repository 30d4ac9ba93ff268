/* Answers kept for requests that come again, byte for byte, and one run for equal requests that are on their way at the same time.
 *
 * A model's cache lives with the model: another version or life begins with an empty one. Keys are the whole body and its form, found by a
 * seeded 128-bit hash and then compared: who crafts a collision gets a miss. Entries are shared by all threads behind a lock, flights belong to one
 * thread. */
#ifndef SERVE_CACHE_H
#define SERVE_CACHE_H

#include "base/hash.h"
#include "base/str.h"

struct cache;
struct cache_entry;

struct cache_key {
    struct hash128 hash;
    uint64_t form; /* what else the answer depends on */
    struct str body;
};

struct cache_key cache_key_of(struct str body, uint64_t form);

struct cache *cache_new(uint64_t budget_bytes);
void cache_free(struct cache *c);

/* A reference to the answer, or NULL. */
struct cache_entry *cache_get(struct cache *c, const struct cache_key *key);
/* An answer on its way in: key and parts are copied. The caller holds the reference. NULL when memory is short. */
struct cache_entry *cache_entry_new(const struct cache_key *key, struct str content_type, struct str header_length,
                                    const struct str *parts, size_t parts_len);
/* Keeps it when it is not too large for the budget, dropping what was not asked for longest. */
void cache_put(struct cache *c, struct cache_entry *e);
void cache_entry_unref(struct cache *c, struct cache_entry *e);

/* What is in an entry. header_length: value of Inference-Header-Content-Length, or empty. */
struct str cache_entry_type(const struct cache_entry *e);
struct str cache_entry_header(const struct cache_entry *e);
struct str cache_entry_body(const struct cache_entry *e);

struct cache_look {
    uint64_t bytes, budget_bytes, entries, evictions;
};
void cache_look(struct cache *c, struct cache_look *out);

/* ---- flights: one request runs, equal ones wait for its answer. On one thread. ---- */

struct cache_waiter {
    struct cache_flight *flight;
    struct cache_waiter *prev, *next;
};

struct cache_flight {
    struct cache_key key; /* the body is the leader's, which lives as long as the flight is listed */
    struct cache_flight *next;
    struct cache_waiter *first, *last;
    struct cache_entry *entry; /* the answer, once there is one */
};

struct cache_flight *cache_flight_find(const struct cache *c, int thread, const struct cache_key *key);
struct cache_flight *cache_flight_begin(struct cache *c, int thread, const struct cache_key *key);
void cache_flight_join(struct cache_flight *f, struct cache_waiter *w);
void cache_flight_leave(struct cache_waiter *w);
/* Nobody can join any more. Before the leader is answered: its body goes with it. */
void cache_flight_close(struct cache *c, int thread, struct cache_flight *f);

#endif
