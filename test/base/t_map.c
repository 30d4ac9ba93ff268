#include "t.h"

#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/rand.h"

static int values[1000];

static struct str number_key(char out[16], size_t i)
{
    return (struct str){out, (size_t)snprintf(out, 16, "key%zu", i)};
}

TEST(map_puts_gets_replaces_and_takes)
{
    struct map m;
    map_init(&m, 10);
    EXPECT(map_get(&m, STR("a")) == NULL);
    EXPECT(map_take(&m, STR("a")) == NULL);
    EXPECT(map_put(&m, STR("a"), &values[0]));
    EXPECT(map_put(&m, STR("a\0b"), &values[1]));
    EXPECT(map_put(&m, (struct str){NULL, 0}, &values[2]));
    EXPECT_EQ(m.len, 3);
    EXPECT(map_get(&m, STR("a")) == &values[0]);
    EXPECT(map_get(&m, STR("a\0b")) == &values[1]);
    EXPECT(map_get(&m, STR("")) == &values[2]);
    EXPECT(map_put(&m, STR("a"), &values[3]));
    EXPECT_EQ(m.len, 3);
    EXPECT(map_take(&m, STR("a")) == &values[3]);
    EXPECT(map_get(&m, STR("a")) == NULL);
    EXPECT_EQ(m.len, 2);
    EXPECT_ABORT(EXPECT(map_put(&m, STR("x"), NULL)));
    map_done(&m);
    EXPECT(map_get(&m, STR("")) == NULL);
}

TEST(map_copies_its_keys)
{
    struct map m;
    char key[4] = "abc";
    map_init(&m, 10);
    EXPECT(map_put(&m, str_c(key), &values[0]));
    memset(key, 'x', 3);
    EXPECT(map_get(&m, STR("abc")) == &values[0]);
    EXPECT(map_get(&m, STR("xxx")) == NULL);
    map_done(&m);
}

TEST(map_refuses_more_than_its_maximum)
{
    struct map m;
    map_init(&m, 2);
    EXPECT(map_put(&m, STR("a"), &values[0]) && map_put(&m, STR("b"), &values[1]));
    EXPECT(!map_put(&m, STR("c"), &values[2]));
    EXPECT(map_put(&m, STR("b"), &values[3])); /* replacing needs no room */
    EXPECT(map_take(&m, STR("a")) == &values[0]);
    EXPECT(map_put(&m, STR("c"), &values[2]));
    EXPECT_EQ(m.len, 2);
    map_done(&m);
}

TEST(map_iterates_each_item_once)
{
    struct map m;
    char text[16];
    bool seen[500] = {false};
    map_init(&m, 500);
    for (size_t i = 0; i < 500; i++)
        EXPECT(map_put(&m, number_key(text, i), &values[i]));
    struct str key;
    void *value;
    size_t n = 0;
    for (size_t i = 0; map_next(&m, &i, &key, &value); n++) {
        size_t index = (size_t)((int *)value - values);
        EXPECT(str_eq(key, number_key(text, index)));
        EXPECT(!seen[index]);
        seen[index] = true;
    }
    EXPECT_EQ(n, 500);
    map_done(&m);
}

TEST(map_agrees_with_an_array_under_random_use)
{
    struct map m;
    char text[16];
    int *model[300] = {NULL};
    size_t len = 0;
    map_init(&m, 1000);
    rand_seed(11);
    for (int step = 0; step < 60000; step++) {
        size_t i = (size_t)rand_below(ARRAY_LEN(model));
        struct str key = number_key(text, i);
        int *value = &values[rand_below(ARRAY_LEN(values))];
        switch (rand_below(3)) {
        case 0:
            EXPECT(map_put(&m, key, value));
            len += model[i] == NULL;
            model[i] = value;
            break;
        case 1:
            EXPECT(map_take(&m, key) == model[i]);
            len -= model[i] != NULL;
            model[i] = NULL;
            break;
        default:
            EXPECT(map_get(&m, key) == model[i]);
        }
        EXPECT_EQ(m.len, len);
    }
    EXPECT(m.cap <= 512); /* puts and takes alone do not make it grow */
    for (size_t i = 0; i < ARRAY_LEN(model); i++)
        EXPECT(map_get(&m, number_key(text, i)) == model[i]);
    map_done(&m);
}
