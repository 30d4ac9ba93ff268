#include "serve/cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "serve/lane_shm.h"

#define BUCKETS     4096u /* a power of two */
#define ENTRY_SHARE 4     /* no entry takes more than this part of the budget */

struct cache_entry {
    struct cache_key key;
    struct cache_entry *chain;         /* of its bucket */
    struct cache_entry *newer, *older; /* by last use */
    uint32_t refs;                     /* behind the cache's lock once it was put */
    size_t bytes, body_len;
    char type[64], header[24];
    char data[]; /* the key's body, then the answer's */
};

struct cache {
    pthread_mutex_t lock;
    uint64_t budget, bytes, entries, evictions;
    struct cache_entry *newest, *oldest;
    struct cache_entry *buckets[BUCKETS];
    struct cache_flight *flights[LANE_THREADS_MAX];
};

struct cache_key cache_key_of(struct str body, uint64_t form)
{
    return (struct cache_key){hash128(body.p, body.n, hash_seed() ^ (form * 0x9E3779B97F4A7C15u)), form, body};
}

static bool same_hash(const struct cache_key *a, const struct cache_key *b)
{
    return a->hash.lo == b->hash.lo && a->hash.hi == b->hash.hi;
}

static bool same_key(const struct cache_key *a, const struct cache_key *b)
{
    return same_hash(a, b) && a->form == b->form && str_eq(a->body, b->body);
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

static struct cache_entry **bucket(struct cache *c, const struct cache_key *key)
{
    return &c->buckets[key->hash.lo & (BUCKETS - 1)];
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
    struct cache_entry **at = bucket(c, &e->key);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    use_unlink(c, e);
    c->bytes -= e->bytes;
    c->entries--;
    c->evictions++;
    drop_ref(e);
}

static struct cache_entry *find_hash(struct cache *c, const struct cache_key *key)
{
    struct cache_entry *e = *bucket(c, key);
    while (e && !same_hash(&e->key, key))
        e = e->chain;
    return e;
}

struct cache_entry *cache_get(struct cache *c, const struct cache_key *key)
{
    pthread_mutex_lock(&c->lock);
    struct cache_entry *e = find_hash(c, key);
    if (e) {
        e->refs++;
        use_unlink(c, e);
        use_push(c, e);
    }
    pthread_mutex_unlock(&c->lock);
    if (!e || same_key(&e->key, key)) /* compared outside the lock: bodies are large */
        return e;
    cache_entry_unref(c, e);
    return NULL;
}

struct cache_entry *cache_entry_new(const struct cache_key *key, struct str content_type, struct str header_length,
                                    const struct str *parts, size_t parts_len)
{
    size_t body_len = 0;
    for (size_t i = 0; i < parts_len; i++)
        body_len += parts[i].n;
    size_t bytes = sizeof(struct cache_entry) + key->body.n + body_len;
    struct cache_entry *e = malloc(bytes);
    if (!e)
        return NULL;
    memset(e, 0, sizeof *e);
    e->refs = 1;
    e->bytes = bytes;
    e->body_len = body_len;
    (void)str_copy(e->type, sizeof e->type, content_type);
    (void)str_copy(e->header, sizeof e->header, header_length);
    char *at = e->data;
    if (key->body.n > 0)
        memcpy(at, key->body.p, key->body.n);
    e->key = *key;
    e->key.body.p = at;
    at += key->body.n;
    for (size_t i = 0; i < parts_len; at += parts[i++].n)
        if (parts[i].n > 0)
            memcpy(at, parts[i].p, parts[i].n);
    return e;
}

void cache_put(struct cache *c, struct cache_entry *e)
{
    if (e->bytes > c->budget / ENTRY_SHARE)
        return;
    pthread_mutex_lock(&c->lock);
    struct cache_entry *old = find_hash(c, &e->key);
    if (old)
        evict(c, old); /* another thread was as fast, or its hash collides: the newer one stays */
    while (c->oldest && c->bytes + e->bytes > c->budget)
        evict(c, c->oldest);
    struct cache_entry **at = bucket(c, &e->key);
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

struct str cache_entry_type(const struct cache_entry *e)
{
    return str_c(e->type);
}

struct str cache_entry_header(const struct cache_entry *e)
{
    return str_c(e->header);
}

struct str cache_entry_body(const struct cache_entry *e)
{
    return (struct str){e->data + e->key.body.n, e->body_len};
}

void cache_look(struct cache *c, struct cache_look *out)
{
    pthread_mutex_lock(&c->lock);
    *out = (struct cache_look){c->bytes, c->budget, c->entries, c->evictions};
    pthread_mutex_unlock(&c->lock);
}

/* ---- flights ---- */

struct cache_flight *cache_flight_find(const struct cache *c, int thread, const struct cache_key *key)
{
    struct cache_flight *f = c->flights[thread];
    while (f && !same_key(&f->key, key))
        f = f->next;
    return f;
}

struct cache_flight *cache_flight_begin(struct cache *c, int thread, const struct cache_key *key)
{
    struct cache_flight *f = calloc(1, sizeof *f);
    CHECK(f);
    f->key = *key;
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
