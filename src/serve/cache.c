#include "serve/cache.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "serve/lane_shm.h"

#define BUCKETS     4096u /* a power of two */
#define ENTRY_SHARE 4     /* no entry takes more than this part of the budget */
#define CHECK_FIRST 32    /* the first check comes soon, later ones cost next to nothing */
#define CHECK_EVERY 4096

struct cache_entry {
    struct hash128 hash;
    size_t head_len, key_len, value_at;
    struct cache_entry *chain;         /* of its bucket */
    struct cache_entry *newer, *older; /* by last use */
    uint32_t refs;                     /* behind the cache's lock once it was put */
    size_t bytes;
    alignas(CACHE_VALUE_ALIGN) char data[]; /* the key: head and parts; then the value */
};

struct cache {
    pthread_mutex_t lock;
    uint64_t budget, bytes, entries, evictions;
    _Atomic uint64_t found, checks, differed;
    struct cache_entry *newest, *oldest;
    struct cache_entry *buckets[BUCKETS];
    struct cache_flight *flights[LANE_THREADS_MAX];
};

#define MIX UINT64_C(0x9E3779B97F4A7C15)

struct cache_key cache_key_of(struct str head, const struct str *parts, size_t parts_len)
{
    struct hash128 sum = hash128(head.p, head.n, hash_seed());
    for (size_t i = 0; i < parts_len; i++) {
        struct hash128 h = hash128(parts[i].p, parts[i].n, hash_seed() + i + 1);
        sum.lo = sum.lo * MIX ^ h.lo;
        sum.hi = sum.hi * MIX ^ h.hi;
    }
    return (struct cache_key){sum, head, parts, parts_len};
}

static size_t key_bytes(const struct cache_key *key)
{
    size_t n = key->head.n;
    for (size_t i = 0; i < key->parts_len; i++)
        n += key->parts[i].n;
    return n;
}

static bool same_hash(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

static bool same_keys(const struct cache_key *a, const struct cache_key *b)
{
    bool is_same = same_hash(a->hash, b->hash) && a->parts_len == b->parts_len && str_eq(a->head, b->head);
    for (size_t i = 0; i < a->parts_len && is_same; i++)
        is_same = str_eq(a->parts[i], b->parts[i]);
    return is_same;
}

static bool is_key_of(const struct cache_entry *e, const struct cache_key *key)
{
    const char *at = e->data + e->head_len;
    if (!str_eq((struct str){e->data, e->head_len}, key->head) || e->key_len != key_bytes(key))
        return false;
    for (size_t i = 0; i < key->parts_len; at += key->parts[i++].n)
        if (!str_eq((struct str){at, key->parts[i].n}, key->parts[i]))
            return false;
    return true;
}

struct cache *cache_new(uint64_t budget_bytes)
{
    struct cache *c = calloc(1, sizeof *c);
    CHECK(c);
    (void)pthread_mutex_init(&c->lock, NULL);
    c->budget = budget_bytes;
    return c;
}

void cache_free(struct cache *c)
{
    while (c && c->newest) {
        struct cache_entry *e = c->newest;
        c->newest = e->older;
        free(e);
    }
    free(c);
}

/* ---- entries, all behind the lock ---- */

static struct cache_entry **bucket(struct cache *c, struct hash128 hash)
{
    return &c->buckets[hash.lo & (BUCKETS - 1)];
}

static void use_unlink(struct cache *c, struct cache_entry *e)
{
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
    e->newer = e->older = NULL;
}

static void use_push(struct cache *c, struct cache_entry *e)
{
    e->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static void drop_ref(struct cache_entry *e)
{
    if (--e->refs == 0)
        free(e);
}

static void evict(struct cache *c, struct cache_entry *e)
{
    struct cache_entry **at = bucket(c, e->hash);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    use_unlink(c, e);
    c->bytes -= e->bytes;
    c->entries--;
    c->evictions++;
    drop_ref(e);
}

static struct cache_entry *find_hash(struct cache *c, struct hash128 hash)
{
    struct cache_entry *e = *bucket(c, hash);
    while (e && !same_hash(e->hash, hash))
        e = e->chain;
    return e;
}

struct cache_entry *cache_get(struct cache *c, const struct cache_key *key)
{
    pthread_mutex_lock(&c->lock);
    struct cache_entry *e = find_hash(c, key->hash);
    if (e) {
        e->refs++;
        use_unlink(c, e);
        use_push(c, e);
    }
    pthread_mutex_unlock(&c->lock);
    if (!e || is_key_of(e, key)) /* compared outside the lock: inputs are large */
        return e;
    cache_entry_unref(c, e);
    return NULL;
}

struct cache_entry *cache_entry_new(const struct cache_key *key, size_t value_bytes)
{
    size_t key_len = key_bytes(key), value_at = ROUND_UP(key_len, CACHE_VALUE_ALIGN);
    size_t bytes = ROUND_UP(sizeof(struct cache_entry) + value_at + value_bytes, CACHE_VALUE_ALIGN);
    struct cache_entry *e = aligned_alloc(CACHE_VALUE_ALIGN, bytes);
    if (!e)
        return NULL;
    *e = (struct cache_entry){.hash = key->hash,
                              .head_len = key->head.n,
                              .key_len = key_len,
                              .value_at = value_at,
                              .refs = 1,
                              .bytes = bytes};
    char *at = e->data;
    memcpy(at, key->head.p, key->head.n);
    at += key->head.n;
    for (size_t i = 0; i < key->parts_len; at += key->parts[i++].n)
        if (key->parts[i].n > 0)
            memcpy(at, key->parts[i].p, key->parts[i].n);
    return e;
}

void *cache_entry_value(struct cache_entry *e)
{
    return e->data + e->value_at;
}

uint64_t cache_entry_max(const struct cache *c)
{
    return c->budget / ENTRY_SHARE;
}

void cache_put(struct cache *c, struct cache_entry *e)
{
    if (e->bytes > cache_entry_max(c))
        return;
    pthread_mutex_lock(&c->lock);
    struct cache_entry *old = find_hash(c, e->hash);
    if (old)
        evict(c, old); /* another thread was as fast, or its hash collides: the newer one stays */
    while (c->oldest && c->bytes + e->bytes > c->budget) {
        CHECK(!c->oldest->older);
        evict(c, c->oldest);
    }
    struct cache_entry **at = bucket(c, e->hash);
    e->chain = *at;
    *at = e;
    e->refs++;
    use_push(c, e);
    c->bytes += e->bytes;
    c->entries++;
    pthread_mutex_unlock(&c->lock);
}

void cache_entry_unref(struct cache *c, struct cache_entry *e)
{
    pthread_mutex_lock(&c->lock);
    drop_ref(e);
    pthread_mutex_unlock(&c->lock);
}

void cache_look(struct cache *c, struct cache_look *out)
{
    pthread_mutex_lock(&c->lock);
    *out = (struct cache_look){c->bytes, c->budget, c->entries, c->evictions, c->checks, c->differed};
    pthread_mutex_unlock(&c->lock);
}

bool cache_check_is_due(struct cache *c)
{
    uint64_t n = atomic_fetch_add_explicit(&c->found, 1, memory_order_relaxed) + 1;
    return n == CHECK_FIRST || n % CHECK_EVERY == 0;
}

bool cache_check_note(struct cache *c, bool has_differed)
{
    (void)atomic_fetch_add_explicit(&c->checks, 1, memory_order_relaxed);
    return has_differed && atomic_fetch_add_explicit(&c->differed, 1, memory_order_relaxed) == 0;
}

/* ---- flights ---- */

static bool is_in_time(const struct cache_flight *f, struct cache_hurry hurry)
{
    return f->hurry.deadline_ns <= hurry.deadline_ns && f->hurry.priority <= hurry.priority;
}

struct cache_flight *cache_flight_find(const struct cache *c, int thread, const struct cache_key *key,
                                       struct cache_hurry hurry)
{
    struct cache_flight *f = c->flights[thread];
    while (f && !(is_in_time(f, hurry) && same_keys(&f->key, key)))
        f = f->next;
    return f;
}

struct cache_flight *cache_flight_begin(struct cache *c, int thread, const struct cache_key *key,
                                        struct cache_hurry hurry)
{
    struct cache_flight *f = calloc(1, sizeof *f);
    CHECK(f);
    f->key = *key;
    f->hurry = hurry;
    f->next = c->flights[thread];
    c->flights[thread] = f;
    return f;
}

void cache_flight_join(struct cache_flight *f, struct cache_waiter *w)
{
    *w = (struct cache_waiter){.flight = f, .prev = f->last};
    *(f->last ? &f->last->next : &f->first) = w;
    f->last = w;
}

void cache_flight_leave(struct cache_waiter *w)
{
    struct cache_flight *f = w->flight;
    *(w->prev ? &w->prev->next : &f->first) = w->next;
    *(w->next ? &w->next->prev : &f->last) = w->prev;
    *w = (struct cache_waiter){0};
}

void cache_flight_close(struct cache *c, int thread, struct cache_flight *f)
{
    struct cache_flight **at = &c->flights[thread];
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
}
