/* The settings of batching: what is taken, and what each mistake is told. */
#include <stdio.h>
#include <unistd.h>

#include "cli/config.h"
#include "cli/config_queue.h"
#include "run_cli.h"
#include "t.h"

static struct err err;

static enum err_code load(const char *settings, struct config *c)
{
    char yaml[400];
    EXPECT(chdir(t_tmpdir()) == 0);
    (void)snprintf(yaml, sizeof yaml, "models: {m: {path: \"builtin:identity\", %s}}\n", settings);
    put_file(".", "quern.yaml", yaml);
    return config_load(c, "quern.yaml", &err);
}

static const struct model_config *first(const struct config *c)
{
    EXPECT_EQ(c->models.len, 1);
    return c->models.items;
}

TEST(batching_is_read)
{
    struct config c;
    uint32_t v[BATCHING_SIZES_MAX];
    EXPECT_EQ(load("priority: 3, batching: {delay: 2ms, preferred: [8, 16], sizes: [1, 4, 16], ordered: true}", &c),
              ERR_OK);
    const struct model_config *m = first(&c);
    EXPECT_EQ(m->priority, 3);
    EXPECT_EQ(m->batching.delay_ns, 2000000);
    EXPECT(m->batching.is_ordered);
    EXPECT_EQ(config_sizes(&m->batching.preferred, v), 2);
    EXPECT_EQ(v[0], 8);
    EXPECT_EQ(v[1], 16);
    EXPECT_EQ(config_sizes(&m->batching.sizes, v), 3);
    EXPECT_EQ(v[2], 16);
    config_done(&c);
}

TEST(batching_defaults)
{
    struct config c;
    uint32_t v[BATCHING_SIZES_MAX];
    EXPECT_EQ(load("batching: {}", &c), ERR_OK);
    const struct model_config *m = first(&c);
    EXPECT_EQ(m->priority, 1);
    EXPECT_EQ(m->batching.delay_ns, 0);
    EXPECT(!m->batching.is_ordered);
    EXPECT_EQ(config_sizes(&m->batching.preferred, v), 0);
    EXPECT_EQ(config_max_batch(m), 0);
    config_done(&c);
}

/* Who asks for sizes asks for runs as large. */
TEST(sizes_asked_for_are_the_most_rows_unless_max_batch_says_less)
{
    static const struct {
        const char *settings;
        int64_t max;
    } cases[] = {
        {"batching: {sizes: [4, 32]}", 32},
        {"batching: {preferred: [8, 24]}", 24},
        {"batching: {preferred: [8], sizes: [4, 32]}", 32},
        {"max_batch: 64, batching: {sizes: [4, 32]}", 64},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config c;
        EXPECT_EQ(load(cases[i].settings, &c), ERR_OK);
        EXPECT_EQ(config_max_batch(first(&c)), cases[i].max);
        config_done(&c);
    }
}

TEST(queues_are_read)
{
    struct config c;
    EXPECT_EQ(load("queue_max: 9, queue_timeout: 20ms, queue_late: delay, priorities: {1: {queue_timeout: 5ms}, 10: "
                   "{queue_max: 3}}",
                   &c),
              ERR_OK);
    const struct model_config *m = first(&c);
    const struct priority_config *p = m->priorities.items;
    EXPECT_EQ(m->queue_timeout_ns, 20000000);
    EXPECT_EQ(m->queue_late, QUEUE_DELAY);
    EXPECT_EQ(m->priorities.len, 2);
    EXPECT_EQ(config_priority(&p[0]), 1);
    EXPECT_EQ(p[0].queue_timeout_ns, 5000000);
    EXPECT_EQ(p[0].queue_late, QUEUE_REJECT);
    EXPECT_EQ(p[0].queue_max, 0);
    EXPECT_EQ(config_priority(&p[1]), 10);
    EXPECT_EQ(p[1].queue_max, 3);
    EXPECT_EQ(p[1].queue_timeout_ns, 0);
    config_done(&c);
}

TEST(mistakes_in_batching_are_told)
{
    static const struct {
        const char *settings, *text;
    } cases[] = {
        {"batching: {sizes: [4, 2]}", "models.m.batching.sizes: 2 comes after 4: sizes must ascend"},
        {"batching: {sizes: [4, 4]}", "sizes must ascend"},
        {"batching: {sizes: [0]}", "\"0\" is not a whole number of rows from 1 to 65536"},
        {"batching: {sizes: [65537]}", "\"65537\" is not a whole number"},
        {"batching: {sizes: [-1]}", "\"-1\" is not a whole number"},
        {"batching: {preferred: [4, x]}", "models.m.batching.preferred: \"x\" is not a whole number"},
        {"batching: {sizes: [1, 2, 3, 4, 5, 6, 7, 8, 9]}", "9 items, from 0 to 8 are allowed"},
        {"max_batch: 8, batching: {preferred: [16]}", "16 rows are more than a run has, 8"},
        {"batching: {sizes: [8], preferred: [16]}", "16 rows are more than a run has, 8"},
        {"batching: {delay: 40s}", "requests would time out while they wait"},
        {"timeout: 1ms, batching: {delay: 1ms}", "requests would time out while they wait"},
        {"batching: {delay: 2m}", "models.m.batching.delay"},
        {"batching: {dely: 1ms}", "unknown key \"dely\""},
        {"priority: 11", "expected a whole number from 1 to 10"},
        {"priority: 0", "expected a whole number from 1 to 10"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config c;
        if (load(cases[i].settings, &c) != ERR_INVALID || !str_contains(str_c(err.text), str_c(cases[i].text)))
            FAIL("%s: '%s' does not contain '%s'", cases[i].settings, err.text, cases[i].text);
    }
}

TEST(mistakes_in_queues_are_told)
{
    static const struct {
        const char *settings, *text;
    } cases[] = {
        {"queue_late: delay", "models.m.queue_late: delay needs a queue_timeout"},
        {"queue_timeout: 1s, queue_late: dela", "queue_late"},
        {"queue_timeout: 1s, queue_late: delay, batching: {ordered: true}", "keep the order in which requests come"},
        {"priorities: {2: {queue_max: 1}}, batching: {ordered: true}", "keep the order in which requests come"},
        {"queue_timeout: 2ms, batching: {delay: 2ms}", "models.m.batching.delay: requests may not wait so long"},
        {"priorities: {2: {queue_timeout: 2ms}}, batching: {delay: 2ms}", "requests may not wait so long"},
        {"priorities: {2: {queue_late: delay}}", "models.m.priorities.2.queue_late: delay needs a queue_timeout"},
        {"priorities: {0: {}}", "models.m.priorities.0: a priority is a whole number from 1 to 10"},
        {"priorities: {11: {}}", "models.m.priorities.11: a priority is a whole number"},
        {"priorities: {01: {}}", "models.m.priorities.01: a priority is a whole number"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config c;
        if (load(cases[i].settings, &c) != ERR_INVALID || !str_contains(str_c(err.text), str_c(cases[i].text)))
            FAIL("%s: '%s' does not contain '%s'", cases[i].settings, err.text, cases[i].text);
    }
}
