/* Linear probing in a table of a power of two. Removing moves later entries of the same run back, so there are no tombstones and a
 * table that sees many puts and takes does not slow down.
 *
 * [I1] cap is 0 or a power of two, and at most 3/4 of the slots are taken: every probe ends at an empty slot.
 * [I2] Between an entry's home slot and its place there is no empty slot. */
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

#define FIRST_SLOTS 16u

struct map_slot {
    char *key; /* NULL: empty */
    size_t key_bytes;
    uint64_t hash;
    void *value;
};

void map_init(struct map *m, size_t max_items)
{
    CHECK(max_items > 0 && max_items < SIZE_MAX / (4 * sizeof(struct map_slot)));
    *m = (struct map){.max_items = max_items};
}

void map_done(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        free(m->slots[i].key);
    free(m->slots);
    *m = (struct map){.max_items = m->max_items};
}

static uint64_t hash_of(struct str key)
{
    return hash64(key.p, key.n, hash_seed());
}

/* The slot that has the key, or the empty one where it belongs. Needs cap > 0. */
static struct map_slot *find(const struct map *m, struct str key, uint64_t hash)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *slot = &m->slots[i];
        if (slot->key == NULL)
            return slot;
        if (slot->hash == hash && str_eq((struct str){slot->key, slot->key_bytes}, key))
            return slot;
    }
}

static bool grow(struct map *m)
{
    size_t cap = m->cap == 0 ? FIRST_SLOTS : m->cap * 2;
    struct map bigger = {.slots = calloc(cap, sizeof *m->slots), .cap = cap};
    if (bigger.slots == NULL)
        return false;
    for (size_t i = 0; i < m->cap; i++) {
        struct map_slot *slot = &m->slots[i];
        if (slot->key != NULL)
            *find(&bigger, (struct str){slot->key, slot->key_bytes}, slot->hash) = *slot;
    }
    free(m->slots);
    m->slots = bigger.slots;
    m->cap = cap;
    return true;
}

bool map_put(struct map *m, struct str key, void *value)
{
    CHECK(value != NULL);
    uint64_t hash = hash_of(key);
    struct map_slot *slot = m->cap == 0 ? NULL : find(m, key, hash);
    if (slot != NULL && slot->key != NULL) {
        slot->value = value;
        return true;
    }
    if (m->len >= m->max_items)
        return false;
    if ((m->len + 1) * 4 > m->cap * 3) { /* [I1] */
        if (!grow(m))
            return false;
        slot = find(m, key, hash);
    }
    CHECK(slot != NULL);
    char *copy = malloc(key.n + 1);
    if (copy == NULL)
        return false;
    if (key.n > 0)
        memcpy(copy, key.p, key.n);
    copy[key.n] = '\0';
    *slot = (struct map_slot){copy, key.n, hash, value};
    m->len++;
    return true;
}

void *map_get(const struct map *m, struct str key)
{
    if (m->len == 0)
        return NULL;
    const struct map_slot *slot = find(m, key, hash_of(key));
    return slot->key == NULL ? NULL : slot->value;
}

/* Closes the hole at `hole`: whatever follows in the run and may stand there moves back. [I2] */
static void close_hole(struct map *m, size_t hole)
{
    size_t mask = m->cap - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].key != NULL; i = (i + 1) & mask) {
        size_t from_home = (i - (size_t)m->slots[i].hash) & mask;
        size_t from_hole = (i - hole) & mask;
        if (from_home >= from_hole) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
}

void *map_take(struct map *m, struct str key)
{
    if (m->len == 0)
        return NULL;
    struct map_slot *slot = find(m, key, hash_of(key));
    if (slot->key == NULL)
        return NULL;
    void *value = slot->value;
    free(slot->key);
    close_hole(m, (size_t)(slot - m->slots));
    m->len--;
    return value;
}

bool map_next(const struct map *m, size_t *i, struct str *key, void **value)
{
    for (; *i < m->cap; (*i)++) {
        const struct map_slot *slot = &m->slots[*i];
        if (slot->key == NULL)
            continue;
        *key = (struct str){slot->key, slot->key_bytes};
        *value = slot->value;
        (*i)++;
        return true;
    }
    return false;
}
