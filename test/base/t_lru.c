#include "t.h"

#include <stdio.h>
#include <string.h>

#include "base/lru.h"
#include "base/rand.h"

struct dropped {
    int count;
    const void *last;
};

static void on_drop(void *value, void *arg)
{
    struct dropped *d = arg;
    d->count++;
    d->last = value;
}

static int values[400];

TEST(lru_drops_the_least_recently_used)
{
    struct dropped d = {0};
    struct lru *l = lru_new(3, 1000, on_drop, &d);
    lru_put(l, STR("a"), &values[0], 1);
    lru_put(l, STR("b"), &values[1], 1);
    lru_put(l, STR("c"), &values[2], 1);
    EXPECT(lru_get(l, STR("a")) == &values[0]);
    lru_put(l, STR("d"), &values[3], 1);
    EXPECT(d.count == 1 && d.last == &values[1]);
    EXPECT(lru_get(l, STR("b")) == NULL);
    EXPECT(lru_get(l, STR("a")) == &values[0] && lru_get(l, STR("c")) == &values[2]);
    EXPECT_EQ(lru_len(l), 3);
    EXPECT(lru_free(l) == NULL);
    EXPECT_EQ(d.count, 4);
    EXPECT(lru_free(NULL) == NULL);
}

TEST(lru_counts_bytes)
{
    struct dropped d = {0};
    struct lru *l = lru_new(100, 100, on_drop, &d);
    lru_put(l, STR("a"), &values[0], 60);
    lru_put(l, STR("b"), &values[1], 40);
    EXPECT_EQ(lru_bytes(l), 100);
    EXPECT_EQ(d.count, 0);
    lru_put(l, STR("c"), &values[2], 1);
    EXPECT(d.count == 1 && d.last == &values[0]);
    EXPECT_EQ(lru_bytes(l), 41);
    lru_put(l, STR("d"), &values[3], 100); /* needs all the room */
    EXPECT_EQ(d.count, 3);
    EXPECT_EQ(lru_len(l), 1);
    lru_put(l, STR("e"), &values[4], 101); /* has no place at all; the others stay */
    EXPECT(d.count == 4 && d.last == &values[4]);
    EXPECT(lru_get(l, STR("d")) == &values[3]);
    lru_put(l, STR("f"), &values[5], SIZE_MAX);
    EXPECT_EQ(lru_bytes(l), 100);
    lru_free(l);
}

TEST(lru_replaces_and_removes)
{
    struct dropped d = {0};
    struct lru *l = lru_new(10, 100, on_drop, &d);
    lru_put(l, STR("a"), &values[0], 10);
    lru_put(l, STR("a"), &values[1], 20);
    EXPECT(d.count == 1 && d.last == &values[0]);
    EXPECT_EQ(lru_bytes(l), 20);
    EXPECT(lru_get(l, STR("a")) == &values[1]);
    lru_put(l, STR("a"), &values[2], 101); /* the old one is out of date even though the new one has no place */
    EXPECT_EQ(d.count, 3);
    EXPECT(lru_get(l, STR("a")) == NULL);
    lru_put(l, (struct str){NULL, 0}, &values[3], 0);
    EXPECT(lru_remove(l, STR("")));
    EXPECT(!lru_remove(l, STR("")));
    EXPECT(d.count == 4 && d.last == &values[3]);
    EXPECT_EQ(lru_len(l), 0);
    EXPECT_EQ(lru_bytes(l), 0);
    lru_free(l);
    EXPECT_EQ(d.count, 4);
}

/* The definition: a list in order of use. */
struct model {
    size_t keys[400], bytes[400], len;
};

static void model_remove(struct model *m, size_t key)
{
    for (size_t i = 0; i < m->len; i++) {
        if (m->keys[i] != key)
            continue;
        memmove(&m->keys[i], &m->keys[i + 1], (m->len - i - 1) * sizeof m->keys[0]);
        memmove(&m->bytes[i], &m->bytes[i + 1], (m->len - i - 1) * sizeof m->bytes[0]);
        m->len--;
        return;
    }
}

static void model_put(struct model *m, size_t key, size_t bytes, size_t max_items, size_t max_bytes)
{
    size_t sum = bytes;
    model_remove(m, key);
    for (size_t i = 0; i < m->len; i++)
        sum += m->bytes[i];
    while (m->len >= max_items || sum > max_bytes) {
        sum -= m->bytes[0];
        model_remove(m, m->keys[0]);
    }
    m->keys[m->len] = key;
    m->bytes[m->len++] = bytes;
}

TEST(lru_agrees_with_a_list_under_random_use)
{
    struct dropped d = {0};
    struct model m = {.len = 0};
    struct lru *l = lru_new(50, 2000, on_drop, &d);
    int puts = 0;
    rand_seed(5);
    for (int step = 0; step < 20000; step++) {
        char text[16];
        size_t key = (size_t)rand_below(200);
        struct str name = {text, (size_t)snprintf(text, sizeof text, "%zu", key)};
        if (rand_below(2) == 0) {
            size_t bytes = (size_t)rand_below(100);
            lru_put(l, name, &values[key], bytes);
            model_put(&m, key, bytes, 50, 2000);
            puts++;
        } else {
            size_t i = 0;
            while (i < m.len && m.keys[i] != key)
                i++;
            EXPECT(lru_get(l, name) == (i < m.len ? &values[key] : NULL));
            if (i < m.len)
                model_put(&m, key, m.bytes[i], 50, 2000);
        }
        EXPECT_EQ(lru_len(l), m.len);
        EXPECT_EQ(d.count + (int)m.len, puts); /* each value leaves once */
    }
    lru_free(l);
    EXPECT_EQ(d.count, puts);
}
