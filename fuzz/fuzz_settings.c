/* Any bytes as a configuration, bound to a table that has every kind. What is read must show itself as YAML that reads back the same. */
#include <string.h>

#include "base/check.h"
#include "base/settings.h"

struct item {
    const char *name, *path;
    int64_t n;
    struct setting_list texts;
};
struct all {
    const char *text;
    int64_t n;
    double f;
    bool b;
    uint64_t size, wait_ns;
    int choice;
    struct setting_list strs, items, ints;
    struct item section;
};

static const char *const choices[] = {"one", "two", NULL};
static const struct setting item_table[] = {SETTING_STR("path", struct item, path, .min = 1),
                                            SETTING_INT("n", struct item, n, .def = "1"),
                                            SETTING_TEXT_MAP("texts", struct item, texts),
                                            {0}};
static const struct setting table[] = {SETTING_STR("text", struct all, text, .max = 100),
                                       SETTING_INT("n", struct all, n, .def = "0", .min = -9, .max = 9),
                                       SETTING_FLOAT("f", struct all, f, .def = "0.5"),
                                       SETTING_BOOL("b", struct all, b, .def = "no"),
                                       SETTING_BYTES("size", struct all, size, .def = "1KiB"),
                                       SETTING_TIME("wait", struct all, wait_ns, .def = "1s"),
                                       SETTING_ENUM("choice", struct all, choice, .def = "two", .choices = choices),
                                       SETTING_STRS("strs", struct all, strs, .max = 100),
                                       SETTING_MAP("items", struct all, items, item_table, struct item, .max = 100),
                                       SETTING_INTS_MAP("ints", struct all, ints, .def = "a: 1"),
                                       SETTING_SECTION("section", struct all, section, item_table),
                                       {0}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err_code read_and_show(struct str yaml, struct buf *shown, struct err *err)
{
    struct all all = {0};
    struct arena a;
    struct setting_places places;
    arena_init(&a, 4096, 16 << 20);
    enum err_code code = settings_parse_places("f", yaml, table, &all, sizeof all, &a, &places, err);
    if (!code)
        settings_dump(table, &all, NULL, shown);
    arena_done(&a);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf first, second;
    struct err err;
    buf_init(&first, 16 << 20);
    buf_init(&second, 16 << 20);
    enum err_code code = read_and_show((struct str){(const char *)data, size}, &first, &err);
    if (code) {
        CHECK(err.code == code && err.text[0] && !memchr(err.text, '\n', strlen(err.text)));
    } else if (!first.failed && first.len < SETTINGS_FILE_MAX) {
        CHECK(read_and_show(buf_view(&first), &second, &err) == ERR_OK);
        CHECK(str_eq(buf_view(&first), buf_view(&second)));
    }
    buf_done(&first);
    buf_done(&second);
    return 0;
}
