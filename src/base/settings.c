#include "base/settings.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/settings_int.h"

/* The walk over tables and nodes together. It recurses, but over the program's tables, never over the file: a file that is
 * nested deeper than its table is refused at the first level that the table does not have. */
struct bind {
    const char *name; /* of the file, or of the option */
    bool has_lines;
    struct arena *arena;
    struct err *err;
    char path[512]; /* of the value in work; cut when longer, for texts only */
    size_t path_len;
    struct setting_places *places;
    size_t places_cap;
};

static enum err_code bind_value(struct bind *b, const struct setting *s, void *field, const struct node *n);

static enum err_code place_error(struct bind *b, uint32_t line, uint32_t column)
{
    if (!b->has_lines)
        return err_wrap(b->err, "%s", b->name);
    return err_wrap(b->err, "%s:%u:%u%s%s", b->name, line, column, b->path_len ? ": " : "", b->path);
}

static enum err_code no_memory(struct bind *b)
{
    return err_set(b->err, ERR_TOO_LARGE, "%s: the configuration is too large", b->name);
}

static size_t path_push(struct bind *b, struct str key, bool is_index)
{
    size_t before = b->path_len, room = sizeof b->path - 2;
    if (!is_index && b->path_len && b->path_len < room)
        b->path[b->path_len++] = '.';
    for (size_t i = 0; i < key.n && b->path_len < room; i++) {
        unsigned char c = (unsigned char)key.p[i];
        bool is_c1 = c == 0xc2 && i + 1 < key.n && (unsigned char)key.p[i + 1] < 0xa0;
        b->path[b->path_len++] = c < 0x20 || c == 0x7f || is_c1 ? '?' : key.p[i];
        i += is_c1;
    }
    b->path[b->path_len] = '\0';
    return before;
}

static void path_pop(struct bind *b, size_t before)
{
    b->path_len = before;
    b->path[before] = '\0';
}

static enum err_code remember_place(struct bind *b, uint32_t line, uint32_t column)
{
    struct setting_places *p = b->places;
    if (!p)
        return ERR_OK;
    if (p->len == b->places_cap) {
        size_t cap = b->places_cap ? b->places_cap * 2 : 32;
        struct setting_place *items = arena_try_alloc(b->arena, cap * sizeof *items);
        if (!items)
            return no_memory(b);
        if (p->len)
            memcpy(items, p->items, p->len * sizeof *items);
        p->items = items;
        b->places_cap = cap;
    }
    char *path = arena_try_alloc(b->arena, b->path_len + 1);
    if (!path)
        return no_memory(b);
    memcpy(path, b->path, b->path_len + 1);
    p->items[p->len++] = (struct setting_place){{path, b->path_len}, line, column};
    return ERR_OK;
}

/* An empty value in YAML: nothing, ~ or null without quotes. */
static bool is_nothing(const struct node *n)
{
    return n->kind == NODE_SCALAR && n->is_plain &&
           (n->text.n == 0 || str_eq_c(n->text, "~") || str_eq_c(n->text, "null"));
}

static enum err_code wrong_shape(struct bind *b, const struct setting *s, const struct node *n)
{
    static const char *const kinds[] = {"a single value", "a list", "a map"};
    char allowed[200];
    settings_value_allowed(s, allowed, sizeof allowed);
    (void)err_set(b->err, ERR_INVALID, "expected %s, got %s", allowed, is_nothing(n) ? "nothing" : kinds[n->kind]);
    (void)place_error(b, n->line, n->column);
    if (s->kind == SET_SECTION)
        return err_remedy(b->err, "write %s: {%s: ...}; quern reference tells all keys", s->key, s->sub[0].key);
    if (s->kind == SET_MAP)
        return err_remedy(b->err, "write %s: {NAME: {%s: ...}}", s->key, s->sub[0].key);
    if (s->kind == SET_TEXT_MAP || s->kind == SET_INTS_MAP)
        return err_remedy(b->err, "write %s: {NAME: %s}", s->key, s->kind == SET_TEXT_MAP ? "TEXT" : "NUMBER");
    return b->err->code;
}

static enum err_code bind_scalar(struct bind *b, const struct setting *s, void *field, const struct node *n)
{
    if (n->kind != NODE_SCALAR || is_nothing(n))
        return wrong_shape(b, s, n);
    if (settings_value_parse(s, field, n->text, b->arena, b->err))
        return place_error(b, n->line, n->column);
    return ERR_OK;
}

static enum err_code check_len(struct bind *b, const struct setting *s, const struct node *n, size_t len)
{
    if ((s->min == 0 && s->max == 0) || ((double)len >= s->min && (double)len <= s->max))
        return ERR_OK;
    (void)err_set(b->err, ERR_INVALID, "%zu items, from %.0f to %.0f are allowed", len, s->min, s->max);
    return place_error(b, n->line, n->column);
}

static enum err_code new_list(struct bind *b, size_t len, size_t item_size, struct setting_list *out)
{
    *out = (struct setting_list){NULL, len};
    if (len == 0)
        return ERR_OK;
    out->items = arena_try_alloc(b->arena, len * item_size);
    if (!out->items)
        return no_memory(b);
    memset(out->items, 0, len * item_size);
    return ERR_OK;
}

static enum err_code bind_strs(struct bind *b, const struct setting *s, struct setting_list *out, const struct node *n)
{
    const struct setting text = {.key = s->key, .kind = SET_STR, .min = 1, .max = SETTINGS_TEXT_MAX};
    bool is_list = n->kind == NODE_LIST;
    size_t len = is_nothing(n) ? 0 : is_list ? n->len : 1;
    if (n->kind == NODE_MAP)
        return wrong_shape(b, s, n);
    if (check_len(b, s, n, len))
        return b->err->code;
    struct setting_list list;
    if (new_list(b, len, sizeof(const char *), &list))
        return b->err->code;
    const char **items = list.items;
    const struct node *item = is_list ? n->first : n;
    for (size_t i = 0; i < len; i++, item = item->next) {
        char index[32] = "";
        if (is_list)
            (void)snprintf(index, sizeof index, "[%zu]", i);
        size_t before = path_push(b, str_c(index), true);
        if (bind_scalar(b, &text, &items[i], item) || remember_place(b, item->line, item->column))
            return b->err->code;
        path_pop(b, before);
    }
    *out = list;
    return ERR_OK;
}

/* Maps from name to one value: the pair begins with the name. */
static enum err_code bind_pairs(struct bind *b, const struct setting *s, struct setting_list *out, const struct node *n)
{
    bool is_int = s->kind == SET_INTS_MAP;
    const struct setting value = {
        .key = s->key, .kind = is_int ? SET_INT : SET_STR, .min = s->min, .max = s->max, .unit = s->unit};
    if (n->kind != NODE_MAP && !is_nothing(n))
        return wrong_shape(b, s, n);
    struct setting_list list;
    static_assert(sizeof(struct setting_pair) == sizeof(struct setting_text_pair), "one list serves both");
    if (new_list(b, n->len, sizeof(struct setting_pair), &list))
        return b->err->code;
    struct setting_pair *ints = list.items;
    struct setting_text_pair *texts = list.items;
    const struct node *item = n->first;
    for (size_t i = 0; item && i < list.len; i++, item = item->next) {
        size_t before = path_push(b, item->key, false);
        char *name = arena_try_alloc(b->arena, item->key.n + 1);
        if (!name)
            return no_memory(b);
        memcpy(name, item->key.p, item->key.n);
        name[item->key.n] = '\0';
        void *field = is_int ? (void *)&ints[i].value : (void *)&texts[i].value;
        *(is_int ? &ints[i].name : &texts[i].name) = name;
        if (bind_scalar(b, &value, field, item) || remember_place(b, item->key_line, item->key_column))
            return b->err->code;
        path_pop(b, before);
    }
    *out = list;
    return ERR_OK;
}

static enum err_code unknown_key(struct bind *b, const struct setting *table, const struct node *n)
{
    const char *names[128] = {0};
    size_t len = 0;
    for (; table[len].key && len < ARRAY_LEN(names); len++)
        names[len] = table[len].key;
    char quoted[SETTINGS_QUOTED_MAX], known[sizeof b->err->remedy] = "";
    const char *near = settings_nearest(n->key, names, len);
    (void)err_set(b->err, ERR_INVALID, "unknown key %s", settings_quote(n->key, quoted));
    (void)place_error(b, n->key_line, n->key_column);
    if (near)
        return err_remedy(b->err, "did you mean \"%s\"?", near);
    for (size_t i = 0, at = 0; i < len; i++) {
        bool is_room = at + strlen(names[i]) + sizeof "known here: , , ..." < sizeof known;
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", is_room ? names[i] : "...");
        if (!is_room)
            break;
    }
    return err_remedy(b->err, "known here: %s", known);
}

static enum err_code bind_section(struct bind *b, const struct setting *table, void *out, const struct node *n)
{
    for (const struct node *child = n->first; child; child = child->next) {
        const struct setting *s = table;
        while (s->key && !str_eq_c(child->key, s->key))
            s++;
        if (!s->key)
            return unknown_key(b, table, child);
        size_t before = path_push(b, child->key, false);
        if (remember_place(b, child->line, child->column) || bind_value(b, s, settings_field(s, out), child))
            return b->err->code;
        path_pop(b, before);
    }
    return ERR_OK;
}

static enum err_code set_defaults(struct bind *b, const struct setting *table, void *out);

static enum err_code bind_map_item(struct bind *b, const struct setting *s, void *item, const struct node *n)
{
    char *name = arena_try_alloc(b->arena, n->key.n + 1);
    if (!name)
        return no_memory(b);
    memcpy(name, n->key.p, n->key.n);
    name[n->key.n] = '\0';
    *(const char **)item = name;
    if (set_defaults(b, s->sub, item) || remember_place(b, n->key_line, n->key_column))
        return b->err->code;
    if (is_nothing(n))
        return ERR_OK;
    if (n->kind == NODE_MAP)
        return bind_section(b, s->sub, item, n);
    size_t before = path_push(b, str_c(s->sub->key), false); /* one line stands for its first setting */
    if (remember_place(b, n->line, n->column))
        return b->err->code;
    path_pop(b, before);
    return bind_value(b, s->sub, settings_field(s->sub, item), n);
}

static enum err_code bind_map(struct bind *b, const struct setting *s, struct setting_list *out, const struct node *n)
{
    if (n->kind != NODE_MAP && !is_nothing(n))
        return wrong_shape(b, s, n);
    struct setting_list list;
    if (check_len(b, s, n, n->len) || new_list(b, n->len, s->item_size, &list))
        return b->err->code;
    unsigned char *items = list.items;
    const struct node *child = n->first;
    for (size_t i = 0; child && i < list.len; i++, child = child->next) {
        size_t before = path_push(b, child->key, false);
        if (bind_map_item(b, s, items + i * s->item_size, child))
            return b->err->code;
        path_pop(b, before);
    }
    *out = list;
    return ERR_OK;
}

static enum err_code bind_value(struct bind *b, const struct setting *s, void *field, const struct node *n)
{
    switch (s->kind) {
    case SET_STR:
    case SET_INT:
    case SET_FLOAT:
    case SET_BOOL:
    case SET_BYTES:
    case SET_TIME:
    case SET_ENUM:
        return bind_scalar(b, s, field, n);
    case SET_STRS:
        return bind_strs(b, s, field, n);
    case SET_SECTION:
        if (n->kind != NODE_MAP && !is_nothing(n))
            return wrong_shape(b, s, n);
        return bind_section(b, s->sub, field, n);
    case SET_MAP:
        return bind_map(b, s, field, n);
    case SET_INTS_MAP:
    case SET_TEXT_MAP:
        return bind_pairs(b, s, field, n);
    }
    return err_set(b->err, ERR_INTERNAL, "%s: setting %s has an unknown kind", b->name, s->key);
}

#define TEXT_ITEMS_MAX 64

/* "a, b" or "a: 1, b: 2", as defaults and options say it, to the nodes that a file would give. nodes[0] is the whole. */
static bool text_to_nodes(enum setting_kind kind, struct str text, struct node nodes[TEXT_ITEMS_MAX + 1])
{
    nodes[0] = (struct node){.kind = NODE_SCALAR, .text = text};
    if (settings_is_scalar(kind))
        return true;
    bool is_map = kind != SET_STRS;
    nodes[0] = (struct node){.kind = is_map ? NODE_MAP : NODE_LIST};
    for (size_t i = 1; text.n; i++) {
        if (i > TEXT_ITEMS_MAX)
            return false;
        struct str value = str_trim(str_cut(text, ',', &text)), key = {"", 0};
        if (is_map) {
            key = str_trim(str_cut(value, ':', &value));
            value = str_trim(value);
        }
        nodes[i] = (struct node){.kind = NODE_SCALAR, .text = value, .key = key};
        if (nodes[0].last)
            nodes[0].last->next = &nodes[i];
        else
            nodes[0].first = &nodes[i];
        nodes[0].last = &nodes[i];
        nodes[0].len++;
    }
    return true;
}

static enum err_code set_default(struct bind *b, const struct setting *s, void *out)
{
    void *field = settings_field(s, out);
    struct node nodes[TEXT_ITEMS_MAX + 1];
    if (s->kind == SET_SECTION)
        return set_defaults(b, s->sub, field);
    if (s->kind == SET_STR) {
        *(const char **)field = s->def; /* constants of the table need no copy */
        return ERR_OK;
    }
    if (s->kind == SET_MAP || (!settings_is_scalar(s->kind) && !s->def)) {
        *(struct setting_list *)field = (struct setting_list){0};
        return ERR_OK;
    }
    CHECK(s->def != NULL); /* a number without a default would be a surprise */
    struct bind plain = {.name = s->key, .arena = b->arena, .err = b->err};
    CHECK(text_to_nodes(s->kind, str_c(s->def), nodes));
    return bind_value(&plain, s, field, &nodes[0]);
}

static enum err_code set_defaults(struct bind *b, const struct setting *table, void *out)
{
    for (const struct setting *s = table; s->key; s++)
        if (set_default(b, s, out))
            return b->err->code;
    return ERR_OK;
}

static void check_table(const struct setting *table, size_t size)
{
    for (const struct setting *s = table; s->key; s++)
        CHECK(s->offset < size);
}

void settings_defaults(const struct setting *table, void *out, size_t size, struct arena *a)
{
    struct err err = {0};
    struct bind b = {.name = "defaults", .arena = a, .err = &err};
    check_table(table, size);
    CHECK(set_defaults(&b, table, out) == ERR_OK);
}

enum err_code settings_parse_places(const char *name, struct str yaml, const struct setting *table, void *out,
                                    size_t size, struct arena *a, struct setting_places *places, struct err *err)
{
    struct arena nodes;
    struct node *root = NULL;
    struct bind b = {.name = name, .has_lines = true, .arena = a, .err = err, .places = places};
    check_table(table, size);
    if (places)
        *places = (struct setting_places){0};
    arena_init(&nodes, 16384, 8 * SETTINGS_FILE_MAX);
    if (!settings_tree(name, yaml, &nodes, &root, err) && !set_defaults(&b, table, out) && root && !is_nothing(root)) {
        if (root->kind == NODE_MAP)
            (void)bind_section(&b, table, out, root);
        else
            (void)err_set(err, ERR_INVALID, "%s:%u:%u: expected lines of the form \"key: value\"", name, root->line,
                          root->column);
    }
    if (places && err->code == ERR_OK && settings_places_index(places, a))
        (void)no_memory(&b);
    arena_done(&nodes);
    return err->code;
}

enum err_code settings_parse(const char *name, struct str yaml, const struct setting *table, void *out, size_t size,
                             struct arena *a, struct err *err)
{
    return settings_parse_places(name, yaml, table, out, size, a, NULL, err);
}

/* base does no input or output but this: sys/fd.h is above it, and a configuration is read before anything else runs. */
static enum err_code read_file(int fd, const char *path, struct buf *out, struct err *err)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "cannot read %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "cannot read %s: not a regular file", path);
    for (;;) {
        char part[16384];
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, ERR_IO, errno, "cannot read %s", path);
        if (n == 0)
            return ERR_OK;
        buf_add(out, part, (size_t)n);
        if (out->failed)
            return err_set(err, ERR_TOO_LARGE, "%s: more than the 1 MiB that a configuration may have", path);
    }
}

enum err_code settings_load_places(const char *path, const struct setting *table, void *out, size_t size,
                                   struct arena *a, struct setting_places *places, struct err *err)
{
    struct buf text;
    buf_init(&text, SETTINGS_FILE_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    enum err_code code = read_file(fd, path, &text, err);
    if (fd >= 0)
        (void)close(fd); /* was only read */
    if (!code)
        code = settings_parse_places(path, buf_view(&text), table, out, size, a, places, err);
    buf_done(&text);
    return code;
}

struct setting_found settings_find(const struct setting *table, const char *key)
{
    struct setting_found found = {0};
    for (struct str rest = str_c(key);;) {
        struct str part = str_cut(rest, '.', &rest);
        const struct setting *s = table;
        while (s->key && !str_eq_c(part, s->key))
            s++;
        if (s->key && s->kind == SET_MAP && rest.n) {
            (void)str_cut(rest, '.', &rest); /* the item's name */
            found.is_in_map = true;
            found.offset = 0;
        } else if (s->key && s->kind == SET_SECTION && rest.n) {
            found.offset += s->offset;
        } else {
            found.setting = s->key && !rest.n ? s : NULL;
            return found;
        }
        found.setting = s;
        if (!rest.n)
            return found;
        table = s->sub;
    }
}

enum err_code settings_set(const struct setting *table, void *out, const char *key, struct str value, const char *where,
                           struct arena *a, struct err *err)
{
    struct bind b = {.name = where, .arena = a, .err = err};
    struct setting_found found = settings_find(table, key);
    const struct setting *s = found.setting;
    struct node nodes[TEXT_ITEMS_MAX + 1];
    if (!s)
        return err_set(err, ERR_INVALID, "%s: there is no setting %s", where, key);
    if (found.is_in_map || (!settings_is_scalar(s->kind) && s->kind != SET_STRS))
        return err_set(err, ERR_INVALID, "%s: %s can be set in a configuration file only", where, key);
    if (!text_to_nodes(s->kind, value, nodes))
        return err_set(err, ERR_INVALID, "%s: more than %d items", where, TEXT_ITEMS_MAX);
    unsigned char *base = out;
    return bind_value(&b, s, settings_field(s, base + found.offset), &nodes[0]);
}
