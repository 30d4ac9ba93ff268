#include "proc/restart.h"

#include "base/clock.h"
#include "t.h"

#define MS NS_PER_MS

/* A life: how long until ready (-1: never), how long it lives then. Told: how long after its death it starts again (-1: never). */
struct life {
    int ready_ms, lives_ms, again_ms;
};

static void play(const struct life *lives, size_t n)
{
    struct restart r = {0};
    uint64_t now = 5 * NS_PER_S, at;
    for (size_t i = 0; i < n; i++) {
        restart_started(&r, now);
        if (lives[i].ready_ms >= 0) {
            now += (uint64_t)lives[i].ready_ms * MS;
            restart_ready(&r, now);
        }
        now += (uint64_t)lives[i].lives_ms * MS;
        bool again = restart_died(&r, now, &at);
        if (again != (lives[i].again_ms >= 0))
            FAIL("life %zu: %s", i, again ? "starts again" : "is given up");
        if (!again)
            return;
        if (at - now != (uint64_t)lives[i].again_ms * MS)
            FAIL("life %zu: again after %llu ms, expected %d", i, (unsigned long long)((at - now) / MS),
                 lives[i].again_ms);
        now = at;
        EXPECT_EQ(r.restarts, i + 1);
    }
}
#define PLAY(...)                                                                                                      \
    do {                                                                                                               \
        static const struct life lives[] = {__VA_ARGS__};                                                              \
        play(lives, ARRAY_LEN(lives));                                                                                 \
    } while (0)

TEST(a_child_that_served_starts_again_at_once)
{
    PLAY({20, 60000, 0}, {20, 100, 0}, {0, 5000, 0});
}

TEST(short_lives_wait_longer_each_time)
{
    PLAY({5, 10, 10}, {5, 99, 20}, {5, 0, 40}, {5, 0, 80}, {5, 0, 160}, {5, 0, 320}, {5, 0, 640}, {5, 0, 1280},
         {5, 0, 2560}, {5, 0, 5000}, {5, 0, 5000});
}

TEST(a_long_life_forgives_short_ones)
{
    PLAY({5, 10, 10}, {5, 10, 20}, {5, 100, 0}, {5, 10, 10});
}

TEST(a_child_that_never_gets_ready_is_given_up)
{
    PLAY({-1, 5, 100}, {-1, 5, 200}, {-1, 5, 400}, {-1, 5, 800}, {-1, 5, -1});
}

TEST(how_long_it_took_to_die_unready_does_not_matter)
{
    PLAY({-1, 100000, 100}, {-1, 0, 200}, {-1, 100000, 400}, {-1, 0, 800}, {-1, 100000, -1});
}

TEST(being_ready_forgives_deaths_before)
{
    PLAY({-1, 5, 100}, {-1, 5, 200}, {-1, 5, 400}, {-1, 5, 800}, {50, 500, 0}, {-1, 5, 100}, {-1, 5, 200});
}

/* It is known to be able to start: killed from outside, or memory is short. */
TEST(one_that_was_ready_before_is_never_given_up)
{
    PLAY({50, 500, 0}, {-1, 5, 100}, {-1, 5, 200}, {-1, 5, 400}, {-1, 5, 800}, {-1, 5, 1600}, {-1, 5, 3200},
         {-1, 5, 6400}, {-1, 5, 10000}, {-1, 5, 10000}, {50, 500, 0});
}

TEST(delays_have_a_limit_however_often_it_dies)
{
    struct restart r = {0};
    uint64_t now = 0, at;
    for (int i = 0; i < 1000; i++) {
        restart_started(&r, now);
        restart_ready(&r, now);
        EXPECT(restart_died(&r, now, &at));
        EXPECT(at >= now);
        EXPECT(at - now <= 5 * NS_PER_S);
        now = at;
    }
}
