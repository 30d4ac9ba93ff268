/* Results kept: what is found again, what is not, who goes when memory is short; and equal requests that wait for one run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/cache.h"
#include "t.h"

/* A key of one part, whose head is its length and a number. */
struct made {
    uint64_t head[2];
    struct str part;
    struct cache_key key;
};

static struct cache_key *make(struct made *m, const char *part, uint64_t number)
{
    m->part = str_c(part);
    m->head[0] = m->part.n;
    m->head[1] = number;
    m->key = cache_key_of((struct str){(const char *)m->head, sizeof m->head}, &m->part, 1);
    return &m->key;
}

static struct cache_entry *put(struct cache *c, const struct cache_key *key, const char *value)
{
    struct cache_entry *e = cache_entry_new(key, strlen(value) + 1);
    EXPECT(e != NULL && (uintptr_t)cache_entry_value(e) % CACHE_VALUE_ALIGN == 0);
    memcpy(cache_entry_value(e), value, strlen(value) + 1);
    cache_put(c, e);
    return e;
}

static void expect_hit(struct cache *c, const struct cache_key *key, const char *value)
{
    struct cache_entry *e = cache_get(c, key);
    if (!e)
        FAIL("nothing where '%s' was kept", value);
    EXPECT_CSTR((char *)cache_entry_value(e), value);
    cache_entry_unref(c, e);
}

TEST(only_the_same_bytes_with_the_same_head_are_found)
{
    struct cache *c = cache_new(1 << 20);
    struct made a, b, d;
    make(&a, "body", 1);
    make(&b, "bodY", 1);
    make(&d, "body", 2);
    EXPECT(cache_get(c, &a.key) == NULL);
    cache_entry_unref(c, put(c, &a.key, "one"));
    expect_hit(c, &a.key, "one");
    EXPECT(cache_get(c, &b.key) == NULL);
    EXPECT(cache_get(c, &d.key) == NULL);
    cache_free(c);
}

TEST(a_collision_of_the_hash_is_a_miss)
{
    static const char *const texts[] = {"good", "evil", "goo", "goodd", ""};
    struct cache *c = cache_new(1 << 20);
    struct made m[ARRAY_LEN(texts)];
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        make(&m[i], texts[i], 1);
        m[i].key.hash = (struct hash128){7, 7};
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        cache_entry_unref(c, put(c, &m[i].key, texts[i]));
        for (size_t j = 0; j < ARRAY_LEN(texts); j++)
            if (j == i)
                expect_hit(c, &m[j].key, texts[j]);
            else
                EXPECT(cache_get(c, &m[j].key) == NULL);
    }
    cache_free(c);
}

TEST(every_part_counts_and_so_does_where_it_ends)
{
    struct cache *c = cache_new(1 << 20);
    uint64_t ends[3][2] = {{2, 1}, {1, 2}, {2, 1}};
    struct str parts[3][2] = {{STR("ab"), STR("c")}, {STR("a"), STR("bc")}, {STR("ab"), STR("d")}};
    struct cache_key key[3];
    for (int i = 0; i < 3; i++) {
        key[i] = cache_key_of((struct str){(const char *)ends[i], sizeof ends[i]}, parts[i], 2);
        key[i].hash = (struct hash128){1, 1};
    }
    cache_entry_unref(c, put(c, &key[0], "0"));
    expect_hit(c, &key[0], "0");
    EXPECT(cache_get(c, &key[1]) == NULL && cache_get(c, &key[2]) == NULL);
    cache_free(c);
}

TEST(what_was_not_asked_for_longest_goes_first_and_the_budget_holds)
{
    struct cache *c = cache_new(8000);
    struct cache_look look;
    char texts[60][24];
    struct made m[60];
    for (int i = 0; i < 60; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "input %d", i);
        make(&m[i], texts[i], 1);
        cache_entry_unref(c, put(c, &m[i].key, "answer"));
        expect_hit(c, &m[0].key, "answer"); /* asked for all the time */
        cache_look(c, &look);
        EXPECT(look.bytes <= 8000);
    }
    EXPECT(look.entries > 1 && look.entries < 60);
    EXPECT_EQ(look.entries + look.evictions, 60);
    EXPECT(cache_get(c, &m[1].key) == NULL);
    expect_hit(c, &m[59].key, "answer");
    char large[2000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    EXPECT(sizeof large >= cache_entry_max(c));
    cache_entry_unref(c, put(c, &m[1].key, large)); /* more than its share: not kept */
    EXPECT(cache_get(c, &m[1].key) == NULL);
    cache_free(c);
}

TEST(an_entry_in_use_outlives_its_eviction)
{
    struct cache *c = cache_new(4000);
    struct made a, other;
    struct cache_entry *e = put(c, make(&a, "a", 1), "kept");
    for (uint64_t number = 2; number < 40; number++)
        cache_entry_unref(c, put(c, make(&other, "b", number), "new"));
    EXPECT(cache_get(c, &a.key) == NULL);
    EXPECT_CSTR((char *)cache_entry_value(e), "kept");
    cache_entry_unref(c, e);
    cache_free(c);
}

TEST(flights_are_found_joined_and_left)
{
    struct cache *c = cache_new(1 << 20);
    struct made a, b, evil;
    make(&a, "a", 1);
    make(&b, "b", 1);
    make(&evil, "c", 1)->hash = a.key.hash;
    const struct cache_hurry calm = {1000, 2};
    struct cache_flight *f = cache_flight_begin(c, 0, &a.key, calm), *g = cache_flight_begin(c, 0, &b.key, calm);
    struct cache_waiter w[3];
    EXPECT(cache_flight_find(c, 0, &a.key, calm) == f && cache_flight_find(c, 0, &b.key, calm) == g);
    EXPECT(cache_flight_find(c, 1, &a.key, calm) == NULL);
    EXPECT(cache_flight_find(c, 0, &evil.key, calm) == NULL);
    for (int i = 0; i < 3; i++)
        cache_flight_join(f, &w[i]);
    cache_flight_leave(&w[1]);
    EXPECT(f->first == &w[0] && w[0].next == &w[2] && f->last == &w[2]);
    cache_flight_leave(&w[2]);
    cache_flight_leave(&w[0]);
    EXPECT(f->first == NULL && f->last == NULL);
    cache_flight_close(c, 0, f);
    EXPECT(cache_flight_find(c, 0, &a.key, calm) == NULL && cache_flight_find(c, 0, &b.key, calm) == g);
    cache_flight_close(c, 0, g);
    free(f);
    free(g);
    cache_free(c);
}

TEST(nobody_waits_for_who_is_in_less_of_a_hurry)
{
    struct cache *c = cache_new(1 << 20);
    struct made a;
    make(&a, "a", 1);
    struct cache_flight *calm = cache_flight_begin(c, 0, &a.key, (struct cache_hurry){1000, 2});
    EXPECT(cache_flight_find(c, 0, &a.key, (struct cache_hurry){1000, 2}) == calm);
    EXPECT(cache_flight_find(c, 0, &a.key, (struct cache_hurry){1001, 3}) == calm);
    EXPECT(cache_flight_find(c, 0, &a.key, (struct cache_hurry){999, 2}) == NULL);
    EXPECT(cache_flight_find(c, 0, &a.key, (struct cache_hurry){2000, 1}) == NULL);
    struct cache_flight *urgent = cache_flight_begin(c, 0, &a.key, (struct cache_hurry){2000, 1});
    EXPECT(cache_flight_find(c, 0, &a.key, (struct cache_hurry){2000, 1}) == urgent);
    EXPECT(cache_flight_find(c, 0, &a.key, (struct cache_hurry){1500, 2}) == calm);
    cache_flight_close(c, 0, calm);
    cache_flight_close(c, 0, urgent);
    free(calm);
    free(urgent);
    cache_free(c);
}
