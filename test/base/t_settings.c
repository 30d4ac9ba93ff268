#include "base/settings.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "t.h"

/* A small platform with one member of every kind. */
struct unit_cfg {
    const char *name;
    const char *path;
    int64_t copies;
    struct setting_list extra;
};
struct deep_cfg {
    double ratio;
    uint64_t wait_ns;
};
struct cfg {
    const char *title;
    int64_t count;
    bool is_on;
    uint64_t size;
    uint64_t wait_ns;
    int colour;
    struct setting_list hosts;
    struct deep_cfg deep;
    struct setting_list units;
    struct setting_list shares;
    int untouched; /* not in the table */
};

static const char *const colours[] = {"red", "green", "blue", NULL};
static const struct setting unit_table[] = {
    SETTING_STR("path", struct unit_cfg, path, .help = "A file."),
    SETTING_INT("copies", struct unit_cfg, copies, .def = "1", .min = 1, .max = 8, .help = "How many."),
    SETTING_TEXT_MAP("extra", struct unit_cfg, extra, .help = "Anything."),
    {0}};
static const struct setting deep_table[] = {
    SETTING_FLOAT("ratio", struct deep_cfg, ratio, .def = "0.5", .min = 0, .max = 1, .help = "A ratio."),
    SETTING_TIME("wait", struct deep_cfg, wait_ns, .def = "10s", .help = "A time."),
    {0}};
static const struct setting table[] = {
    SETTING_STR("title", struct cfg, title, .min = 1, .max = 40, .help = "A title."),
    SETTING_INT("count", struct cfg, count, .def = "3", .min = -5, .max = 100, .unit = "rows", .help = "A count."),
    SETTING_BOOL("on", struct cfg, is_on, .def = "true", .help = "A | switch."),
    SETTING_BYTES("size", struct cfg, size, .def = "64MiB", .min = 1024, .max = 1099511627776.0, .help = "A size."),
    SETTING_TIME("wait", struct cfg, wait_ns, .def = "30s", .min = 1000000, .max = 3600e9, .help = "A time."),
    SETTING_ENUM("colour", struct cfg, colour, .def = "green", .choices = colours, .help = "A colour."),
    SETTING_STRS("hosts", struct cfg, hosts, .def = "a:1, b:2", .min = 1, .max = 3, .help = "Hosts."),
    SETTING_SECTION("deep", struct cfg, deep, deep_table, .help = "A section."),
    SETTING_MAP("units", struct cfg, units, unit_table, struct unit_cfg, .max = 4, .help = "Units."),
    SETTING_INTS_MAP("shares", struct cfg, shares, .def = "high: 60, low: 10", .min = 1, .max = 100, .help = "Shares."),
    {0}};

static struct arena arena;
static struct err err;

static enum err_code parse(const char *yaml, struct cfg *out)
{
    arena_done(&arena); /* of the case before */
    arena_init(&arena, 4096, 8 << 20);
    memset(out, 0, sizeof *out);
    out->untouched = 7;
    return settings_parse("q.yaml", str_c(yaml), table, out, sizeof *out, &arena, &err);
}

static const char *host(const struct cfg *c, size_t i)
{
    EXPECT(i < c->hosts.len);
    return ((const char *const *)c->hosts.items)[i];
}

TEST(settings_empty_file_gives_defaults)
{
    static const char *const texts[] = {"", "# only a comment\n", "---\n", "~\n", "deep:\nunits:\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct cfg c;
        EXPECT_EQ(parse(texts[i], &c), ERR_OK);
        EXPECT(c.title == NULL);
        EXPECT_EQ(c.count, 3);
        EXPECT(c.is_on);
        EXPECT_EQ(c.size, 64 << 20);
        EXPECT_EQ(c.wait_ns, 30000000000);
        EXPECT_EQ(c.colour, 1);
        EXPECT_EQ(c.hosts.len, 2);
        EXPECT_CSTR(host(&c, 1), "b:2");
        EXPECT_NEAR(c.deep.ratio, 0.5, 0);
        EXPECT_EQ(c.deep.wait_ns, 10000000000);
        EXPECT_EQ(c.units.len, 0);
        EXPECT_EQ(c.shares.len, 2);
        EXPECT_CSTR(((struct setting_pair *)c.shares.items)[1].name, "low");
        EXPECT_EQ(((struct setting_pair *)c.shares.items)[1].value, 10);
        EXPECT_EQ(c.untouched, 7);
    }
}

TEST(settings_every_kind_is_read)
{
    struct cfg c;
    EXPECT_EQ(parse("title: \"Grüße # nicht Kommentar\"\n"
                    "count: -5\n"
                    "on: no\n"
                    "size: 1.5 GiB\n"
                    "wait: 1.5s\n"
                    "colour: blue\n"
                    "hosts: [x, 'y z', 8000]\n"
                    "deep: {ratio: 2.5e-1, wait: 250us}\n"
                    "units:\n"
                    "  one: /a/path\n"
                    "  two: {path: b, copies: 8, extra: {k: 1.10, l: yes, m: ''}}\n"
                    "  three:\n"
                    "shares: {z: 1, a: 99}\n",
                    &c),
              ERR_OK);
    EXPECT_CSTR(c.title, "Grüße # nicht Kommentar");
    EXPECT_EQ(c.count, -5);
    EXPECT(!c.is_on);
    EXPECT_EQ(c.size, 1610612736);
    EXPECT_EQ(c.wait_ns, 1500000000);
    EXPECT_EQ(c.colour, 2);
    EXPECT_CSTR(host(&c, 1), "y z");
    EXPECT_CSTR(host(&c, 2), "8000");
    EXPECT_NEAR(c.deep.ratio, 0.25, 0);
    EXPECT_EQ(c.deep.wait_ns, 250000);
    EXPECT_EQ(c.units.len, 3);
    const struct unit_cfg *u = c.units.items;
    EXPECT_CSTR(u[0].name, "one");
    EXPECT_CSTR(u[0].path, "/a/path");
    EXPECT_EQ(u[0].copies, 1);
    EXPECT_EQ(u[1].copies, 8);
    const struct setting_text_pair *extra = u[1].extra.items;
    EXPECT_EQ(u[1].extra.len, 3);
    EXPECT_CSTR(extra[0].value, "1.10");
    EXPECT_CSTR(extra[1].value, "yes");
    EXPECT_CSTR(extra[2].value, "");
    EXPECT(u[2].path == NULL);
    const struct setting_pair *shares = c.shares.items;
    EXPECT_CSTR(shares[0].name, "z"); /* order kept, not merged with the default */
    EXPECT_EQ(c.shares.len, 2);
}

TEST(settings_sizes_and_times_are_exact)
{
    static const struct {
        const char *text;
        uint64_t size;
    } sizes[] = {{"1024", 1024},          {"1kB", 0}, /* under the minimum of 1024 */
                 {"2kB", 2000},           {"64KiB", 65536},    {"1MB", 1000000}, {"0.5MiB", 524288},
                 {"1TiB", 1099511627776}, {"3 GB", 3000000000}};
    static const struct {
        const char *text;
        uint64_t ns;
    } times[] = {
        {"1ms", 1000000}, {"1h", 3600000000000}, {"2m", 120000000000}, {"0.001s", 1000000}, {"1000us", 1000000}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char text[64];
        struct cfg c;
        (void)snprintf(text, sizeof text, "size: %s\n", sizes[i].text);
        if (sizes[i].size == 0) {
            EXPECT_EQ(parse(text, &c), ERR_INVALID);
            continue;
        }
        EXPECT_EQ(parse(text, &c), ERR_OK);
        EXPECT_EQ(c.size, sizes[i].size);
    }
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        char text[64];
        struct cfg c;
        (void)snprintf(text, sizeof text, "wait: %s\n", times[i].text);
        EXPECT_EQ(parse(text, &c), ERR_OK);
        EXPECT_EQ(c.wait_ns, times[i].ns);
    }
}

/* One line per mistake: the text in full, as a person sees it, and the remedy. */
TEST(settings_errors_say_where_what_and_how)
{
    static const struct {
        const char *yaml, *text, *remedy;
    } cases[] = {
        {"count: two\n", "q.yaml:1:8: count: expected a whole number of rows from -5 to 100, got \"two\"", ""},
        {"count: 101\n", "q.yaml:1:8: count: expected a whole number of rows from -5 to 100, got \"101\"", ""},
        {"count: 1.5\n", "q.yaml:1:8: count: expected a whole number of rows from -5 to 100, got \"1.5\"", ""},
        {"count: 99999999999999999999\n",
         "q.yaml:1:8: count: expected a whole number of rows from -5 to 100, got \"99999999999999999999\"", ""},
        {"count: [1]\n", "q.yaml:1:8: count: expected a whole number of rows from -5 to 100, got a list", ""},
        {"count:\n", "q.yaml:1:7: count: expected a whole number of rows from -5 to 100, got nothing", ""},
        {"on: 1\n", "q.yaml:1:5: on: expected true or false, got \"1\"", ""},
        {"size: 64 MBit\n", "q.yaml:1:7: size: expected a size from 1KiB to 1TiB, got \"64 MBit\"",
         "write 512, 64KiB, 64MiB, 1GiB, or 64kB, 64MB, 1GB"},
        {"size: 99999999999999999999TiB\n",
         "q.yaml:1:7: size: expected a size from 1KiB to 1TiB, got \"99999999999999999999TiB\"",
         "write 512, 64KiB, 64MiB, 1GiB, or 64kB, 64MB, 1GB"},
        {"size: -1\n", "q.yaml:1:7: size: expected a size from 1KiB to 1TiB, got \"-1\"",
         "write 512, 64KiB, 64MiB, 1GiB, or 64kB, 64MB, 1GB"},
        {"wait: 30\n", "q.yaml:1:7: wait: expected a time from 1ms to 1h, got \"30\"",
         "write a number with its unit: 250us, 20ms, 1.5s, 2m, 1h"},
        {"wait: 0.1ns\n", "q.yaml:1:7: wait: expected a time from 1ms to 1h, got \"0.1ns\"",
         "write a number with its unit: 250us, 20ms, 1.5s, 2m, 1h"},
        {"colour: geren\n", "q.yaml:1:9: colour: expected one of red, green, blue, got \"geren\"",
         "did you mean \"green\"?"},
        {"colour: zzz\n", "q.yaml:1:9: colour: expected one of red, green, blue, got \"zzz\"", ""},
        {"hosts: []\n", "q.yaml:1:8: hosts: 0 items, from 1 to 3 are allowed", ""},
        {"hosts: [a, b, c, d]\n", "q.yaml:1:8: hosts: 4 items, from 1 to 3 are allowed", ""},
        {"hosts: [a, [b]]\n", "q.yaml:1:12: hosts[1]: expected text, got a list", ""},
        {"hosts: {a: b}\n", "q.yaml:1:8: hosts: expected a list of texts, or one text, got a map", ""},
        {"deep: [1]\n", "q.yaml:1:7: deep: expected a section, got a list",
         "write deep: {ratio: ...}; quern reference tells all keys"},
        {"deep: {ratio: 1e999}\n", "q.yaml:1:15: deep.ratio: expected a number from 0 to 1, got \"1e999\"", ""},
        {"deep: {ratio: nan}\n", "q.yaml:1:15: deep.ratio: expected a number from 0 to 1, got \"nan\"", ""},
        {"deep: {ratio: 0x1}\n", "q.yaml:1:15: deep.ratio: expected a number from 0 to 1, got \"0x1\"", ""},
        {"cuont: 1\n", "q.yaml:1:1: unknown key \"cuont\"", "did you mean \"count\"?"},
        {"deep:\n  rratio: 1\n", "q.yaml:2:3: deep: unknown key \"rratio\"", "did you mean \"ratio\"?"},
        {"deep: {frobnicate: 1}\n", "q.yaml:1:8: deep: unknown key \"frobnicate\"", "known here: ratio, wait"},
        {"units:\n  iris:\n    copies: 9\n",
         "q.yaml:3:13: units.iris.copies: expected a whole number from 1 to 8, got \"9\"", ""},
        {"units: {a: , b: , c: , d: , e: }\n", "q.yaml:1:8: units: 5 items, from 0 to 4 are allowed", ""},
        {"units: x\n", "q.yaml:1:8: units: expected a map from name to section, got a single value",
         "write units: {NAME: {path: ...}}"},
        {"units: {a: {extra: {b: [1]}}}\n", "q.yaml:1:24: units.a.extra.b: expected text, got a list", ""},
        {"shares: {a: 0}\n", "q.yaml:1:13: shares.a: expected a whole number from 1 to 100, got \"0\"", ""},
        {"title: ''\n", "q.yaml:1:8: title: the text must not be empty", ""},
        {"title: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
         "q.yaml:1:8: title: 41 bytes of text, at most 40 are allowed", ""},
        {"title: \"a\\0b\"\n", "q.yaml:1:8: text must not contain a NUL byte", ""},
        {"count: 1\ncount: 2\n", "q.yaml:2:1: key \"count\" stands here a second time, first in line 1",
         "keep one of the two"},
        {"deep: &x {wait: 1s}\n", "q.yaml:1:7: anchors (&name) are not supported",
         "write the value out; put a text that begins with & in quotes"},
        {"deep: *x\n", "q.yaml:1:7: aliases (*name) are not supported",
         "write the value out; put a text that begins with * in quotes"},
        {"count: !!int 3\n", "q.yaml:1:8: tags (!name) are not supported",
         "remove the tag; put a text that begins with ! in quotes"},
        {"count: ! 3\n", "q.yaml:1:8: tags (!name) are not supported",
         "remove the tag; put a text that begins with ! in quotes"},
        {"? [a]\n: 1\n", "q.yaml:1:3: a key must be plain text", ""},
        {"'': 1\n", "q.yaml:1:1: a key must not be empty", ""},
        {"- a\n- b\n", "q.yaml:1:1: expected lines of the form \"key: value\"", ""},
        {"hello\n", "q.yaml:1:1: expected lines of the form \"key: value\"", ""},
        {"count: 1\n---\ncount: 2\n", "q.yaml:2:1: a second document (---) in one file", ""},
        {"deep: {a: {b: [[[[[[[[[[[[[[1]]]]]]]]]]]]]]}}\n", "q.yaml:1:28: nested deeper than 16 levels", ""},
        {"count: 1\n\x01\n", "q.yaml:2:1: control characters are not allowed",
         "save the file as UTF-8 text without control characters"},
        {"title: \xff\n", "q.yaml:1:8: invalid leading UTF-8 octet",
         "save the file as UTF-8 text without control characters"},
        {"count:\t[1\n", "q.yaml:2:1: not valid YAML: did not find expected ',' or ']'",
         "look at the lines above too: the problem was found while parsing a flow sequence that began in line 1"},
        {"deep:\n\twait: 1s\n", "q.yaml:2:1: not valid YAML: found character that cannot start any token",
         "indent with spaces, not tabs; put text with special characters in quotes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cfg c;
        if (parse(cases[i].yaml, &c) == ERR_OK)
            FAIL("accepted: %s", cases[i].yaml);
        EXPECT_CSTR(err.text, cases[i].text);
        EXPECT_CSTR(err.remedy, cases[i].remedy);
        EXPECT_EQ(c.untouched, 7);
    }
}

TEST(settings_limits_of_size_and_count)
{
    struct buf b;
    struct cfg c;
    buf_init(&b, 4 << 20);
    buf_c(&b, "hosts: [");
    for (int i = 0; i < 10001; i++)
        buf_c(&b, "a,");
    buf_c(&b, "]\n");
    buf_char(&b, '\0');
    EXPECT_EQ(parse(b.p, &c), ERR_INVALID);
    EXPECT(strstr(err.text, "more than 10000 keys and list items"));

    buf_clear(&b);
    for (size_t i = 0; i <= SETTINGS_FILE_MAX; i++)
        buf_char(&b, '#');
    buf_char(&b, '\0');
    EXPECT_EQ(parse(b.p, &c), ERR_TOO_LARGE);
    EXPECT(strstr(err.text, "more than the 1 MiB"));

    buf_clear(&b);
    buf_c(&b, "units: {");
    for (int i = 0; i < 300; i++)
        buf_char(&b, 'k');
    buf_c(&b, ": x}\n");
    buf_char(&b, '\0');
    EXPECT_EQ(parse(b.p, &c), ERR_INVALID);
    EXPECT(strstr(err.text, "longer than 256 bytes"));
    buf_done(&b);
}

TEST(settings_foreign_text_in_errors_is_cut_and_clean)
{
    struct cfg c;
    EXPECT_EQ(parse("count: \"a\\e[31m\\n"
                    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"\n",
                    &c),
              ERR_INVALID);
    for (const char *p = err.text; *p; p++)
        EXPECT((unsigned char)*p >= 0x20);
    EXPECT(strstr(err.text, "got \"a\\x1b[31m\\x0abbb"));
    EXPECT(strstr(err.text, "...\""));
    EXPECT_EQ(parse("count: \"\\x9bx\\u00e9\"\n", &c), ERR_INVALID); /* C1 controls too, letters not */
    EXPECT(strstr(err.text, "got \"\\x9bx\xc3\xa9\""));
    EXPECT_EQ(parse("units: {\"a\\x9b\\eb\": {copies: 0}}\n", &c), ERR_INVALID);
    EXPECT(strstr(err.text, ": units.a??b.copies: "));
}

TEST(settings_small_arena_is_an_error_not_a_crash)
{
    struct buf b;
    struct cfg c = {0};
    buf_init(&b, 1 << 20);
    buf_c(&b, "units: {a: {extra: {");
    for (int i = 0; i < 900; i++)
        buf_printf(&b, "key%d: some text that needs room, ", i);
    buf_c(&b, "}}}\n");
    arena_init(&arena, 1024, 16384);
    EXPECT_EQ(settings_parse("q.yaml", buf_view(&b), table, &c, sizeof c, &arena, &err), ERR_TOO_LARGE);
    buf_done(&b);
}

TEST(settings_places_lead_back_to_the_file)
{
    struct cfg c = {0};
    struct setting_places places;
    arena_init(&arena, 4096, 1 << 20);
    struct str yaml = STR("title: x\nunits:\n  one: {path: p,\n        copies: 2}\nhosts:\n  - a\n  - b\n");
    EXPECT_EQ(settings_parse_places("q.yaml", yaml, table, &c, sizeof c, &arena, &places, &err), ERR_OK);
    const struct setting_place *p = settings_place(&places, "units.one.copies");
    EXPECT(p && p->line == 4 && p->column == 17);
    p = settings_place(&places, "units.one.extra"); /* not in the file: the one around it */
    EXPECT(p && p->line == 3 && p->column == 3);
    p = settings_place(&places, "hosts[1]");
    EXPECT(p && p->line == 7 && p->column == 5);
    EXPECT(!settings_place(&places, "colour"));
}

TEST(settings_places_of_many_keys)
{
    static const struct setting many[] = {
        SETTING_MAP("units", struct cfg, units, unit_table, struct unit_cfg, .max = 2000, .help = "Units."), {0}};
    struct cfg c = {0};
    struct setting_places places;
    struct buf yaml;
    char path[64];
    buf_init(&yaml, 1 << 20);
    arena_init(&arena, 4096, 8 << 20);
    buf_c(&yaml, "units:\n");
    for (int i = 0; i < 2000; i++)
        buf_printf(&yaml, "  u%d: {path: p, copies: 2}\n", i);
    EXPECT(!settings_place(&(struct setting_places){0}, "units"));
    EXPECT_EQ(settings_parse_places("q.yaml", buf_view(&yaml), many, &c, sizeof c, &arena, &places, &err), ERR_OK);
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(path, sizeof path, "units.u%d.copies", i);
        const struct setting_place *p = settings_place(&places, path);
        EXPECT(p && p->line == (uint32_t)i + 2 && str_eq_c(p->path, path));
    }
    EXPECT_EQ(settings_place(&places, "units.u2000.copies")->line, 2);
    settings_place_add(&places, "units.*.copies", &arena);
    EXPECT_STR(settings_place(&places, "units.*.copies")->path, "units.*.copies");
    EXPECT_EQ(settings_place(&places, "units.u1999.copies")->line, 2001);
    buf_done(&yaml);
}

TEST(settings_set_one_value_from_text)
{
    struct cfg c;
    EXPECT_EQ(parse("", &c), ERR_OK);
    EXPECT_EQ(settings_set(table, &c, "count", STR("42"), "--count", &arena, &err), ERR_OK);
    EXPECT_EQ(c.count, 42);
    EXPECT_EQ(settings_set(table, &c, "deep.wait", STR("5ms"), "--wait", &arena, &err), ERR_OK);
    EXPECT_EQ(c.deep.wait_ns, 5000000);
    EXPECT_EQ(settings_set(table, &c, "hosts", STR("p:1, q:2,r:3"), "--host", &arena, &err), ERR_OK);
    EXPECT_EQ(c.hosts.len, 3);
    EXPECT_CSTR(host(&c, 2), "r:3");
    EXPECT_EQ(settings_set(table, &c, "count", STR("x"), "--count", &arena, &err), ERR_INVALID);
    EXPECT_CSTR(err.text, "--count: expected a whole number of rows from -5 to 100, got \"x\"");
    EXPECT_EQ(settings_set(table, &c, "hosts", STR("a,,b"), "--host", &arena, &err), ERR_INVALID);
    EXPECT_CSTR(err.text, "--host: the text must not be empty");
    EXPECT_EQ(settings_set(table, &c, "nothing.here", STR("1"), "--x", &arena, &err), ERR_INVALID);
    EXPECT_EQ(settings_set(table, &c, "units", STR("1"), "--x", &arena, &err), ERR_INVALID);
    EXPECT_EQ(settings_set(table, &c, "deep", STR("1"), "--x", &arena, &err), ERR_INVALID);
    EXPECT_EQ(c.count, 42);
}

TEST(settings_are_found_by_their_dotted_key)
{
    struct setting_found f = settings_find(table, "deep.wait");
    EXPECT(f.setting == &deep_table[1] && f.offset == offsetof(struct cfg, deep) && !f.is_in_map);
    f = settings_find(table, "units.*.copies");
    EXPECT(f.setting == &unit_table[1] && f.offset == 0 && f.is_in_map);
    EXPECT(settings_find(table, "count").setting == &table[1]);
    EXPECT(settings_find(table, "deep").setting == &table[7]);
    EXPECT(settings_find(table, "units.one").setting == &table[8]);
    static const char *const none[] = {"", "nothing", "deep.nothing", "count.more", "units.one.nothing", "hosts.a"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        if (settings_find(table, none[i]).setting)
            FAIL("found: %s", none[i]);
}

static void show(const char *yaml, bool with_places, struct buf *out)
{
    struct cfg c = {0};
    struct setting_places places;
    arena_done(&arena);
    arena_init(&arena, 4096, 1 << 20);
    EXPECT_EQ(settings_parse_places("q.yaml", str_c(yaml), table, &c, sizeof c, &arena, &places, &err), ERR_OK);
    settings_dump(table, &c, with_places ? &places : NULL, out);
    buf_pad(out);
}

/* What `quern check` shows can be saved and read again: same values, same text. */
TEST(settings_dump_reads_back)
{
    static const char yaml[] = "title: 'a: \"b\" # c\\'\n"
                               "units: {'x y': {path: 'null', extra: {k: ' v ', e: ''}}, u: '-'}\n"
                               "wait: 1500ms\nsize: 1000000\ncount: 3\n";
    struct buf first, second, marked;
    buf_init(&first, 1 << 16);
    buf_init(&second, 1 << 16);
    buf_init(&marked, 1 << 16);
    show(yaml, false, &first);
    show(first.p, false, &second);
    EXPECT_STR(buf_view(&second), first.p);
    EXPECT(strstr(first.p, "wait: 1500ms\n"));
    EXPECT(strstr(first.p, "size: 1MB\n"));
    EXPECT(strstr(first.p, "title: \"a: \\\"b\\\" # c\\\\\"\n"));
    EXPECT(!strstr(first.p, "# default"));
    buf_clear(&first);
    buf_clear(&second);
    show("title: \"\\N\\L\\P\\uFEFF\\x80\\e\\u263a\"\n", false, &first); /* line ends of YAML, not folded to spaces */
    show(first.p, false, &second);
    EXPECT_STR(buf_view(&second), first.p);
    EXPECT(strstr(first.p, "title: \"\\u0085\\u2028\\u2029\\ufeff\\u0080\\u001b\u263a\"\n"));
    /* marked is what the file does not say, whatever its value */
    show(yaml, true, &marked);
    EXPECT(strstr(marked.p, "count: 3\n"));
    EXPECT(strstr(marked.p, "colour: green # default\n"));
    EXPECT(strstr(marked.p, "  ratio: 0.5 # default\n"));
    EXPECT(strstr(marked.p, "    path: \"null\"\n    copies: 1 # default\n    extra: {k: \" v \", e: \"\"}\n"));
    buf_clear(&marked);
    show("units: {one: a.onnx}\n", true, &marked); /* a short form says the first setting */
    EXPECT(strstr(marked.p, "    path: a.onnx\n    copies: 1 # default\n"));
    show("", true, &marked);
    EXPECT(strstr(marked.p, "units: {} # default\n"));
    buf_done(&first);
    buf_done(&second);
    buf_done(&marked);
}

TEST(settings_reference_lists_all_keys)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    settings_reference(table, "Things", &b);
    buf_char(&b, '\0');
    EXPECT(strstr(b.p, "## Things\n"));
    EXPECT(strstr(b.p, "| `count` | a whole number of rows from -5 to 100 | `3` | A count. |\n"));
    EXPECT(strstr(b.p, "| `on` | true or false | `true` | A \\| switch. |\n"));
    EXPECT(strstr(b.p, "### `units.NAME`\n"));
    EXPECT(strstr(b.p, "### `deep`\n"));
    buf_done(&b);
}

TEST(settings_load_reads_files_only)
{
    char path[512];
    struct cfg c = {0};
    const char *dir = t_tmpdir();
    arena_init(&arena, 4096, 1 << 20);
    (void)snprintf(path, sizeof path, "%s/q.yaml", dir);
    EXPECT_EQ(settings_load_places(path, table, &c, sizeof c, &arena, NULL, &err), ERR_NOT_FOUND);
    EXPECT(strstr(err.text, path));
    EXPECT_EQ(settings_load_places(dir, table, &c, sizeof c, &arena, NULL, &err), ERR_INVALID);
    EXPECT(strstr(err.text, "not a regular file"));
    FILE *f = fopen(path, "w");
    EXPECT(f && fputs("count: 12\n", f) >= 0 && fclose(f) == 0);
    EXPECT_EQ(settings_load_places(path, table, &c, sizeof c, &arena, NULL, &err), ERR_OK);
    EXPECT_EQ(c.count, 12);
}

TEST(settings_nearest_finds_typos_and_nothing_else)
{
    static const char *const names[] = {"listen", "threads", "isolation", "models", "log-level", "data"};
    static const struct {
        const char *word, *want;
    } cases[] = {{"listne", "listen"},
                 {"thread", "threads"},
                 {"Threads", "threads"},
                 {"isolatoin", "isolation"},
                 {"model", "models"},
                 {"log_level", "log-level"},
                 {"dta", "data"},
                 {"zebra", NULL},
                 {"x", NULL},
                 {"", NULL},
                 {"l", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = settings_nearest(str_c(cases[i].word), names, ARRAY_LEN(names));
        if (!cases[i].want && got)
            FAIL("%s: got %s", cases[i].word, got);
        if (cases[i].want)
            EXPECT_CSTR(got ? got : "(none)", cases[i].want);
    }
    char word[200];
    memset(word, 'a', sizeof word);
    EXPECT(settings_nearest((struct str){word, sizeof word}, names, ARRAY_LEN(names)) == NULL);
}

/* A remedy has room for so many names; it ends between two of them. */
TEST(a_long_list_of_known_keys_ends_with_dots)
{
    static char names[40][24];
    static struct setting many[41];
    struct cfg c;
    struct arena a;
    for (size_t i = 0; i < 40; i++) {
        (void)snprintf(names[i], sizeof names[i], "a-rather-long-name-%02zu", i);
        many[i] = (struct setting)SETTING_INT(names[i], struct cfg, count, .def = "1", .max = 9);
    }
    arena_init(&a, 4096, 1 << 20);
    EXPECT(settings_parse("q.yaml", STR("zzzzzz: 1\n"), many, &c, sizeof c, &a, &err) != ERR_OK);
    size_t n = strlen(err.remedy);
    EXPECT(n < sizeof err.remedy - 1 && n > sizeof err.remedy - 48);
    EXPECT(str_starts(str_c(err.remedy), STR("known here: a-rather-long-name-00, a-rather-long-name-01, ")));
    EXPECT_CSTR(err.remedy + n - 5, ", ...");
    EXPECT(err.remedy[n - 6] >= '0' && err.remedy[n - 6] <= '9');
    arena_done(&a);
}
