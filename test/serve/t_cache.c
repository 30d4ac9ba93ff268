/* Answers kept: what is found again, what is not, who goes when memory is short; and equal requests that wait for one run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/cache.h"
#include "t.h"

static struct cache_entry *put(struct cache *c, const struct cache_key *key, const char *answer)
{
    struct str parts[] = {str_c(answer), STR("!")};
    struct cache_entry *e = cache_entry_new(key, STR("text/x"), STR("17"), parts, 2);
    EXPECT(e != NULL);
    cache_put(c, e);
    return e;
}

static void expect_hit(struct cache *c, const struct cache_key *key, const char *answer)
{
    struct cache_entry *e = cache_get(c, key);
    if (!e)
        FAIL("no answer where '%s' was kept", answer);
    EXPECT_STR(cache_entry_body(e), answer);
    EXPECT_STR(cache_entry_type(e), "text/x");
    EXPECT_STR(cache_entry_header(e), "17");
    cache_entry_unref(c, e);
}

TEST(only_the_same_bytes_in_the_same_form_are_found)
{
    struct cache *c = cache_new(1 << 20);
    struct cache_key a = cache_key_of(STR("body"), 1), b = cache_key_of(STR("bodY"), 1),
                     d = cache_key_of(STR("body"), 2);
    EXPECT(cache_get(c, &a) == NULL);
    cache_entry_unref(c, put(c, &a, "one"));
    expect_hit(c, &a, "one!");
    EXPECT(cache_get(c, &b) == NULL);
    EXPECT(cache_get(c, &d) == NULL);
    cache_free(c);
}

TEST(a_collision_of_the_hash_is_a_miss)
{
    struct cache *c = cache_new(1 << 20);
    struct cache_key good = cache_key_of(STR("good"), 1), evil = cache_key_of(STR("evil"), 1);
    evil.hash = good.hash;
    cache_entry_unref(c, put(c, &evil, "poison"));
    EXPECT(cache_get(c, &good) == NULL);
    cache_entry_unref(c, put(c, &good, "cure"));
    expect_hit(c, &good, "cure!");
    EXPECT(cache_get(c, &evil) == NULL);
    cache_free(c);
}

TEST(what_was_not_asked_for_longest_goes_first_and_the_budget_holds)
{
    struct cache *c = cache_new(4000);
    struct cache_look look;
    char bodies[40][24];
    struct cache_key keys[40];
    for (int i = 0; i < 40; i++) {
        (void)snprintf(bodies[i], sizeof bodies[i], "body %d", i);
        keys[i] = cache_key_of(str_c(bodies[i]), 1);
        cache_entry_unref(c, put(c, &keys[i], "answer"));
        expect_hit(c, &keys[0], "answer!"); /* asked for all the time */
        cache_look(c, &look);
        EXPECT(look.bytes <= 4000);
    }
    EXPECT(look.entries > 1 && look.entries < 40);
    EXPECT_EQ(look.entries + look.evictions, 40);
    EXPECT(cache_get(c, &keys[1]) == NULL);
    expect_hit(c, &keys[39], "answer!");
    char large[2000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    cache_entry_unref(c, put(c, &keys[1], large)); /* more than its share: not kept */
    EXPECT(cache_get(c, &keys[1]) == NULL);
    cache_free(c);
}

TEST(an_entry_in_use_outlives_its_eviction)
{
    struct cache *c = cache_new(2000);
    struct cache_key a = cache_key_of(STR("a"), 1);
    struct cache_entry *e = put(c, &a, "kept");
    for (uint64_t form = 2; form < 40; form++) {
        struct cache_key other = cache_key_of(STR("b"), form);
        cache_entry_unref(c, put(c, &other, "new"));
    }
    EXPECT(cache_get(c, &a) == NULL);
    EXPECT_STR(cache_entry_body(e), "kept!");
    cache_entry_unref(c, e);
    cache_free(c);
}

TEST(flights_are_found_joined_and_left)
{
    struct cache *c = cache_new(1 << 20);
    struct cache_key a = cache_key_of(STR("a"), 1), b = cache_key_of(STR("b"), 1), evil = b;
    evil.hash = a.hash;
    struct cache_flight *f = cache_flight_begin(c, 0, &a), *g = cache_flight_begin(c, 0, &b);
    struct cache_waiter w[3];
    EXPECT(cache_flight_find(c, 0, &a) == f && cache_flight_find(c, 0, &b) == g);
    EXPECT(cache_flight_find(c, 1, &a) == NULL);
    EXPECT(cache_flight_find(c, 0, &evil) == NULL);
    for (int i = 0; i < 3; i++)
        cache_flight_join(f, &w[i]);
    cache_flight_leave(&w[1]);
    EXPECT(f->first == &w[0] && w[0].next == &w[2] && f->last == &w[2]);
    cache_flight_leave(&w[2]);
    cache_flight_leave(&w[0]);
    EXPECT(f->first == NULL && f->last == NULL);
    cache_flight_close(c, 0, f);
    EXPECT(cache_flight_find(c, 0, &a) == NULL && cache_flight_find(c, 0, &b) == g);
    cache_flight_close(c, 0, g);
    free(f);
    free(g);
    cache_free(c);
}
