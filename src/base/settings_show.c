#include "base/settings_int.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

/* --- Reference ----------------------------------------------------------------------------------------------------------------- */

#define SECTIONS_MAX 32

struct section {
    const struct setting *table;
    char path[96];
    const char *help;
};

static void add_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            buf_char(out, '\\');
        buf_char(out, *text);
    }
}

static void add_row(struct buf *out, const struct setting *s)
{
    char allowed[200];
    settings_value_allowed(s, allowed, sizeof allowed);
    buf_printf(out, "| `%s` | ", s->key);
    add_cell(out, allowed);
    buf_c(out, " | ");
    if (s->def)
        buf_printf(out, "`%s`", s->def);
    buf_c(out, " | ");
    add_cell(out, s->help ? s->help : "");
    buf_c(out, " |\n");
}

void settings_reference(const struct setting *table, const char *title, struct buf *out)
{
    struct section queue[SECTIONS_MAX] = {{.table = table}};
    size_t len = 1;
    buf_printf(out, "## %s\n", title);
    for (size_t i = 0; i < len; i++) {
        if (queue[i].path[0])
            buf_printf(out, "\n### `%s`\n", queue[i].path);
        if (queue[i].help)
            buf_printf(out, "\n%s\n", queue[i].help);
        buf_c(out, "\n| Key | Value | Default | Meaning |\n| --- | --- | --- | --- |\n");
        for (const struct setting *s = queue[i].table; s->key; s++) {
            add_row(out, s);
            if (!s->sub)
                continue;
            CHECK(len < SECTIONS_MAX);
            struct section *sub = &queue[len++];
            *sub = (struct section){.table = s->sub, .help = s->help};
            (void)snprintf(sub->path, sizeof sub->path, "%.60s%s%s%s", queue[i].path, queue[i].path[0] ? "." : "",
                           s->key, s->kind == SET_MAP ? ".NAME" : "");
        }
    }
}

/* --- Dump ---------------------------------------------------------------------------------------------------------------------- */

static bool is_plain_safe(struct str s)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-";
    if (s.n == 0 || s.p[0] == '-' || str_eq_c(s, "null") || str_eq_c(s, "..."))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool is_inner_colon = s.p[i] == ':' && i > 0 && i + 1 < s.n;
        if (!is_inner_colon && !strchr(safe, s.p[i]))
            return false;
    }
    return true;
}

static void add_text(struct buf *out, struct str s)
{
    if (is_plain_safe(s)) {
        buf_str(out, s);
        return;
    }
    buf_char(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", (unsigned)c);
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else
            buf_char(out, (char)c);
    }
    buf_char(out, '"');
}

static void indent(struct buf *out, int depth)
{
    for (int i = 0; i < depth; i++)
        buf_c(out, "  ");
}

static bool same_list(const struct setting *s, const struct setting_list *a, const struct setting_list *b)
{
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++) {
        const char *const *xs = a->items, *const *ys = b->items;
        const struct setting_pair *xp = a->items, *yp = b->items;
        bool is_same = s->kind == SET_STRS ? strcmp(xs[i], ys[i]) == 0
                                           : strcmp(xp[i].name, yp[i].name) == 0 && xp[i].value == yp[i].value;
        if (!is_same)
            return false;
    }
    return true;
}

/* Equal to the table's default, however it was given. */
static bool is_default(const struct setting *s, const void *field)
{
    union {
        const char *text;
        int64_t i;
        double f;
        bool b;
        uint64_t u;
        int choice;
        struct setting_list list;
    } def;
    struct setting one[2] = {*s, {0}};
    struct arena a;
    bool is_same;
    one[0].offset = 0;
    arena_init(&a, 1024, 1 << 16);
    settings_defaults(one, &def, sizeof def, &a);
    if (s->kind == SET_STR) {
        const char *text = *(const char *const *)field;
        is_same = text == def.text || (text && def.text && strcmp(text, def.text) == 0);
    } else if (settings_is_scalar(s->kind)) {
        struct buf x, y;
        buf_init(&x, SETTINGS_TEXT_MAX);
        buf_init(&y, SETTINGS_TEXT_MAX);
        settings_value_format(s, field, &x);
        settings_value_format(s, &def, &y);
        is_same = str_eq(buf_view(&x), buf_view(&y));
        buf_done(&x);
        buf_done(&y);
    } else {
        is_same =
            s->kind == SET_TEXT_MAP ? ((const struct setting_list *)field)->len == 0 : same_list(s, field, &def.list);
    }
    arena_done(&a);
    return is_same;
}

static void dump_scalar(const struct setting *s, const void *field, struct buf *out)
{
    struct buf text;
    buf_init(&text, 2 * SETTINGS_TEXT_MAX);
    settings_value_format(s, field, &text);
    add_text(out, buf_view(&text));
    buf_done(&text);
}

static void dump_list(const struct setting *s, const struct setting_list *list, struct buf *out)
{
    buf_c(out, s->kind == SET_STRS ? "[" : "{");
    for (size_t i = 0; i < list->len; i++) {
        buf_c(out, i ? ", " : "");
        if (s->kind == SET_STRS) {
            add_text(out, str_c(((const char *const *)list->items)[i]));
        } else if (s->kind == SET_INTS_MAP) {
            const struct setting_pair *p = list->items;
            add_text(out, str_c(p[i].name));
            buf_printf(out, ": %lld", (long long)p[i].value);
        } else {
            const struct setting_text_pair *p = list->items;
            add_text(out, str_c(p[i].name));
            buf_c(out, ": ");
            add_text(out, str_c(p[i].value));
        }
    }
    buf_c(out, s->kind == SET_STRS ? "]" : "}");
}

static void dump_table(const struct setting *table, const void *values, int depth, struct buf *out);

static void dump_map(const struct setting *s, const struct setting_list *list, int depth, struct buf *out)
{
    const unsigned char *items = list->items;
    for (size_t i = 0; i < list->len; i++) {
        const void *item = items + i * s->item_size;
        indent(out, depth);
        add_text(out, str_c(*(const char *const *)item));
        buf_c(out, ":\n");
        dump_table(s->sub, item, depth + 1, out);
    }
}

/* Recurses over the program's tables, which are few and flat. */
static void dump_table(const struct setting *table, const void *values, int depth, struct buf *out)
{
    for (const struct setting *s = table; s->key; s++) {
        const void *field = settings_field_const(s, values);
        bool is_unset = s->kind == SET_STR && !*(const char *const *)field;
        indent(out, depth);
        if (is_unset) {
            buf_printf(out, "# %s: not set\n", s->key);
            continue;
        }
        buf_printf(out, "%s:", s->key);
        if (s->kind == SET_SECTION) {
            buf_char(out, '\n');
            dump_table(s->sub, field, depth + 1, out);
            continue;
        }
        if (s->kind == SET_MAP) {
            const struct setting_list *list = field;
            buf_c(out, list->len ? "\n" : " {} # default\n");
            dump_map(s, list, depth + 1, out);
            continue;
        }
        buf_char(out, ' ');
        if (settings_is_scalar(s->kind))
            dump_scalar(s, field, out);
        else
            dump_list(s, field, out);
        buf_c(out, is_default(s, field) ? " # default\n" : "\n");
    }
}

void settings_dump(const struct setting *table, const void *values, struct buf *out)
{
    dump_table(table, values, 0, out);
}
