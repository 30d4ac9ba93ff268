/* Entries hang in a chain of their bucket and in a ring in order of use: root.next is the newest, root.previous the oldest. */
#include "base/lru.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

#define FIRST_BUCKETS 16u

struct link {
    struct link *next, *previous;
};

struct entry {
    struct link link; /* first, so that a link of the ring is its entry */
    struct entry *chain;
    void *value;
    size_t bytes;
    uint64_t hash;
    size_t key_bytes;
    char key[];
};

struct lru {
    struct link root;
    struct entry **buckets;
    size_t buckets_len; /* power of two */
    size_t len, bytes;
    size_t max_items, max_bytes;
    lru_drop_fn *on_drop;
    void *arg;
};

static void ring_remove(struct link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
}

static void ring_push(struct lru *l, struct link *link)
{
    link->next = l->root.next;
    link->previous = &l->root;
    link->next->previous = link;
    l->root.next = link;
}

static void drop_value(struct lru *l, void *value)
{
    if (l->on_drop != NULL)
        l->on_drop(value, l->arg);
}

struct lru *lru_new(size_t max_items, size_t max_bytes, lru_drop_fn *on_drop, void *arg)
{
    CHECK(max_items > 0);
    struct lru *l = calloc(1, sizeof *l);
    CHECK(l != NULL);
    l->buckets = calloc(FIRST_BUCKETS, sizeof(struct entry *));
    CHECK(l->buckets != NULL);
    l->buckets_len = FIRST_BUCKETS;
    l->root.next = l->root.previous = &l->root;
    l->max_items = max_items;
    l->max_bytes = max_bytes;
    l->on_drop = on_drop;
    l->arg = arg;
    return l;
}

/* Where the pointer to the key's entry is, or the NULL at the end of its chain. */
static struct entry **find(const struct lru *l, struct str key, uint64_t hash)
{
    struct entry **at = &l->buckets[hash & (l->buckets_len - 1)];
    while (*at != NULL && !((*at)->hash == hash && str_eq((struct str){(*at)->key, (*at)->key_bytes}, key)))
        at = &(*at)->chain;
    return at;
}

static void remove_at(struct lru *l, struct entry **at)
{
    struct entry *entry = *at;
    void *value = entry->value;
    *at = entry->chain;
    ring_remove(&entry->link);
    l->len--;
    l->bytes -= entry->bytes;
    free(entry);
    drop_value(l, value);
}

static struct entry *oldest(struct lru *l)
{
    return (struct entry *)(void *)l->root.previous;
}

static void evict(struct lru *l)
{
    struct entry *entry = oldest(l);
    remove_at(l, find(l, (struct str){entry->key, entry->key_bytes}, entry->hash));
}

struct lru *lru_free(struct lru *l)
{
    if (l == NULL)
        return NULL;
    while (l->len > 0)
        evict(l);
    free(l->buckets);
    free(l);
    return NULL;
}

/* Keeps chains short. Without memory for more buckets the chains get longer, which is slower but right. */
static void grow_when_full(struct lru *l)
{
    if (l->len < l->buckets_len)
        return;
    struct entry **old = l->buckets;
    size_t old_len = l->buckets_len;
    struct entry **wider = calloc(old_len * 2, sizeof(struct entry *));
    if (wider == NULL)
        return;
    for (size_t i = 0; i < old_len; i++) {
        struct entry *next;
        for (struct entry *entry = old[i]; entry != NULL; entry = next) {
            struct entry **bucket = &wider[entry->hash & (old_len * 2 - 1)];
            next = entry->chain;
            entry->chain = *bucket;
            *bucket = entry;
        }
    }
    free(old);
    l->buckets = wider;
    l->buckets_len = old_len * 2;
}

static void insert(struct lru *l, struct entry *entry)
{
    grow_when_full(l);
    struct entry **bucket = &l->buckets[entry->hash & (l->buckets_len - 1)];
    entry->chain = *bucket;
    *bucket = entry;
    ring_push(l, &entry->link);
    l->len++;
    l->bytes += entry->bytes;
}

void lru_put(struct lru *l, struct str key, void *value, size_t bytes)
{
    uint64_t hash = hash64(key.p, key.n, hash_seed());
    struct entry **old = find(l, key, hash);
    if (*old != NULL)
        remove_at(l, old);
    struct entry *entry = bytes > l->max_bytes ? NULL : malloc(sizeof *entry + key.n);
    if (entry == NULL) { /* too large, or no memory: a cache may always forget */
        drop_value(l, value);
        return;
    }
    while (l->len >= l->max_items || l->bytes > l->max_bytes - bytes)
        evict(l);
    *entry = (struct entry){.value = value, .bytes = bytes, .hash = hash, .key_bytes = key.n};
    if (key.n > 0)
        memcpy(entry->key, key.p, key.n);
    insert(l, entry);
}

void *lru_get(struct lru *l, struct str key)
{
    struct entry *entry = *find(l, key, hash64(key.p, key.n, hash_seed()));
    if (entry == NULL)
        return NULL;
    ring_remove(&entry->link);
    ring_push(l, &entry->link);
    return entry->value;
}

bool lru_remove(struct lru *l, struct str key)
{
    struct entry **at = find(l, key, hash64(key.p, key.n, hash_seed()));
    if (*at == NULL)
        return false;
    remove_at(l, at);
    return true;
}

size_t lru_len(const struct lru *l)
{
    return l->len;
}

size_t lru_bytes(const struct lru *l)
{
    return l->bytes;
}
