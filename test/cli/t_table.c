#include "cli/table.h"

#include "t.h"

TEST(table_aligns_columns)
{
    static const char *const heads[] = {"NAME", "N", "NOTE"};
    struct arena a;
    struct table t;
    struct buf out;
    arena_init(&a, 1024, 1 << 20);
    buf_init(&out, 4096);
    table_init(&t, &a, heads, 3, 1U << 1);
    table_row(&t, (const char *const[]){"größer", "1", NULL});
    table_row(&t, (const char *const[]){"b", "1000", "two"});
    table_row(&t, (const char *const[]){"c", "2", ""});
    table_write(&t, "  ", &out);
    EXPECT_STR(buf_view(&out), "  NAME       N  NOTE\n  größer     1  -\n  b       1000  two\n  c          2\n");
    buf_done(&out);
    arena_done(&a);
}

TEST(table_grows_and_is_bounded)
{
    static const char *const heads[] = {"N"};
    struct arena a;
    struct table t;
    arena_init(&a, 1024, 8 << 20);
    table_init(&t, &a, heads, 1, 0);
    for (size_t i = 0; i < TABLE_ROWS_MAX + 5; i++)
        table_row(&t, (const char *const[]){"x"});
    EXPECT_EQ(t.rows, TABLE_ROWS_MAX);
    arena_done(&a);
}

TEST(table_numbers_for_people)
{
    struct arena a;
    arena_init(&a, 1024, 1 << 20);
    EXPECT_CSTR(table_bytes(&a, 0), "0 B");
    EXPECT_CSTR(table_bytes(&a, 999), "999 B");
    EXPECT_CSTR(table_bytes(&a, 1234), "1.2 kB");
    EXPECT_CSTR(table_bytes(&a, 28000000), "28 MB");
    EXPECT_CSTR(table_bytes(&a, 999999), "1.0 MB");
    EXPECT_CSTR(table_bytes(&a, 5000000000), "5.0 GB");
    EXPECT_CSTR(table_duration(&a, 0), "0s");
    EXPECT_CSTR(table_duration(&a, 200500), "3m 20s");
    EXPECT_CSTR(table_duration(&a, 3600000), "1h 0m");
    EXPECT_CSTR(table_duration(&a, UINT64_C(86400000) * 12 + 10800000), "12d 3h");
    arena_done(&a);
}
