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
            /* A copy: the compiler cannot tell that the two elements of the queue are different ones (-Wrestrict). */
            struct section of = queue[i];
            (void)snprintf(sub->path, sizeof sub->path, "%.60s%s%s%s", of.path, of.path[0] ? "." : "", s->key,
                           s->kind == SET_MAP ? ".NAME" : "");
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

/* A code point that YAML reads otherwise than it stands there: controls, line ends of other alphabets, the byte order mark. Returns
 * its length in bytes and the point, or 0. */
static size_t special_point(struct str s, unsigned *point)
{
    const unsigned char *p = (const unsigned char *)s.p;
    *point = p[0];
    if (p[0] < 0x20 || p[0] == 0x7f)
        return 1;
    if (s.n >= 2 && p[0] == 0xc2 && p[1] < 0xa0) {
        *point = p[1];
        return 2;
    }
    if (s.n < 3 || (p[0] != 0xe2 && p[0] != 0xef))
        return 0;
    *point = (p[0] & 0xfU) << 12 | (p[1] & 0x3fU) << 6 | (p[2] & 0x3fU);
    bool is_special = *point == 0x2028 || *point == 0x2029 || *point == 0xfeff || *point >= 0xfffe;
    return is_special ? 3 : 0;
}

static void add_text(struct buf *out, struct str s)
{
    if (is_plain_safe(s)) {
        buf_str(out, s);
        return;
    }
    buf_char(out, '"');
    while (s.n) {
        unsigned point;
        size_t n = special_point(s, &point);
        if (n)
            buf_printf(out, "\\u%04x", point);
        else if (s.p[0] == '"' || s.p[0] == '\\')
            buf_printf(out, "\\%c", s.p[0]);
        else
            buf_char(out, s.p[0]);
        s = str_sub(s, n ? n : 1, s.n);
    }
    buf_char(out, '"');
}

struct dump {
    struct buf *out;
    const struct setting_places *places;
    char path[512]; /* of the value in work */
};

static size_t push(struct dump *d, const char *key)
{
    size_t before = strlen(d->path);
    (void)snprintf(d->path + before, sizeof d->path - before, "%s%s", before ? "." : "", key);
    return before;
}

static void indent(struct buf *out, int depth)
{
    for (int i = 0; i < depth; i++)
        buf_c(out, "  ");
}

static void end_line(const struct dump *d)
{
    const struct setting_place *at = d->places ? settings_place(d->places, d->path) : NULL;
    bool is_default = d->places && !(at && str_eq_c(at->path, d->path));
    buf_c(d->out, is_default ? " # default\n" : "\n");
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

void settings_text(const struct setting *s, const void *values, struct buf *out)
{
    const void *field = settings_field_const(s, values);
    CHECK(s->kind != SET_SECTION && s->kind != SET_MAP);
    if (!settings_is_scalar(s->kind))
        dump_list(s, field, out);
    else if (s->kind != SET_STR || *(const char *const *)field)
        settings_value_format(s, field, out);
}

static void dump_table(struct dump *d, const struct setting *table, const void *values, int depth);

static void dump_map(struct dump *d, const struct setting *s, const struct setting_list *list, int depth)
{
    const unsigned char *items = list->items;
    if (list->len == 0) {
        buf_c(d->out, " {}");
        end_line(d);
        return;
    }
    buf_char(d->out, '\n');
    for (size_t i = 0; i < list->len; i++) {
        const void *item = items + i * s->item_size;
        const char *name = *(const char *const *)item;
        size_t before = push(d, name);
        indent(d->out, depth);
        add_text(d->out, str_c(name));
        buf_c(d->out, ":\n");
        dump_table(d, s->sub, item, depth + 1);
        d->path[before] = '\0';
    }
}

static void dump_value(struct dump *d, const struct setting *s, const void *field, int depth)
{
    if (s->kind == SET_SECTION) {
        buf_char(d->out, '\n');
        dump_table(d, s->sub, field, depth + 1);
    } else if (s->kind == SET_MAP) {
        dump_map(d, s, field, depth + 1);
    } else {
        buf_char(d->out, ' ');
        if (settings_is_scalar(s->kind))
            dump_scalar(s, field, d->out);
        else
            dump_list(s, field, d->out);
        end_line(d);
    }
}

/* Recurses over the program's tables, which are few and flat. */
static void dump_table(struct dump *d, const struct setting *table, const void *values, int depth)
{
    for (const struct setting *s = table; s->key; s++) {
        const void *field = settings_field_const(s, values);
        size_t before = push(d, s->key);
        indent(d->out, depth);
        if (s->kind == SET_STR && !*(const char *const *)field) {
            buf_printf(d->out, "# %s: not set\n", s->key);
        } else {
            buf_printf(d->out, "%s:", s->key);
            dump_value(d, s, field, depth);
        }
        d->path[before] = '\0';
    }
}

void settings_dump(const struct setting *table, const void *values, const struct setting_places *places,
                   struct buf *out)
{
    struct dump d = {.out = out, .places = places};
    dump_table(&d, table, values, 0);
}
