#include "cli/config_edit.h"

#include <stdio.h>
#include <string.h>

#include "cli/config_int.h"

#define TEXT_MAX (2 * SETTINGS_FILE_MAX)

struct edit {
    const char *name, *model;
    struct arena arena;
    struct config c; /* as read from the text in work; its arena is not used */
    struct setting_places places;
    struct err *err;
};

static enum err_code read_text(struct edit *x, struct str text)
{
    memset(&x->c, 0, sizeof x->c);
    return settings_parse_places(x->name, text, config_table, &x->c, sizeof x->c, &x->arena, &x->places, x->err);
}

static enum err_code by_hand(struct edit *x, const char *why)
{
    err_set(x->err, ERR_UNSUPPORTED, "%s: models.%s is laid out in a way that cannot be edited here: %s", x->name,
            x->model, why);
    return err_remedy(x->err, "write the settings by hand");
}

/* The place of just this path, not of one around it. */
static const struct setting_place *place_of(const struct edit *x, const char *key)
{
    char path[SETTINGS_KEY_MAX * 2];
    (void)snprintf(path, sizeof path, "models.%s%s%s", x->model, key[0] ? "." : "", key);
    const struct setting_place *p = settings_place(&x->places, path);
    return p && str_eq_c(p->path, path) ? p : NULL;
}

static size_t line_start(struct str text, uint32_t line)
{
    size_t at = 0;
    for (; line > 1 && at < text.n; at++)
        line -= text.p[at] == '\n';
    return at;
}

static size_t line_end(struct str text, size_t at)
{
    while (at < text.n && text.p[at] != '\n')
        at++;
    return at;
}

/* Columns count characters; what stands before a value of ours is nearly always ASCII, and if not, the check at the end refuses. */
static size_t offset_of(struct str text, const struct setting_place *p)
{
    size_t at = line_start(text, p->line) + p->column - 1;
    return at < text.n ? at : text.n;
}

/* Behind a scalar: its quote, or for a plain one what ends it in either kind of layout. */
static size_t scalar_end(struct str text, size_t at)
{
    char quote = at < text.n && (text.p[at] == '"' || text.p[at] == '\'') ? text.p[at] : '\0';
    if (quote) {
        for (at++; at < text.n && text.p[at] != quote; at++)
            at += quote == '"' && text.p[at] == '\\';
        return at < text.n ? at + 1 : at;
    }
    size_t end = at;
    for (; at < text.n && !strchr("\n,}]", text.p[at]); at++) {
        if (text.p[at] == '#' && at > 0 && text.p[at - 1] == ' ')
            break;
        if (text.p[at] != ' ' && text.p[at] != '\r')
            end = at + 1;
    }
    return end;
}

static void splice(struct str text, size_t from, size_t to, struct str with, struct buf *out)
{
    buf_str(out, str_sub(text, 0, from));
    buf_str(out, with);
    buf_str(out, str_sub(text, to, text.n));
}

static void replace(struct edit *x, struct str text, const struct setting_place *p, const char *value, struct buf *out)
{
    (void)x;
    size_t at = offset_of(text, p);
    splice(text, at, scalar_end(text, at), str_c(value), out);
}

/* Into { ... }, as the first. */
static void insert_flow(struct edit *x, struct str text, size_t brace, const char *key, const char *value,
                        struct buf *out)
{
    size_t next = brace + 1;
    while (next < text.n && strchr(" \n\r", text.p[next]))
        next++;
    bool is_empty = next < text.n && text.p[next] == '}';
    struct str with = arena_printf(&x->arena, "%s: %s%s", key, value, is_empty ? "" : ", ");
    splice(text, brace + 1, brace + 1, with, out);
}

static void insert_line(struct edit *x, struct str text, size_t at, size_t indent, const char *key, const char *value,
                        struct buf *out)
{
    bool is_cut = at > 0 && text.p[at - 1] != '\n'; /* the last line has no end */
    struct str with = arena_printf(&x->arena, "%s%*s%s: %s\n", is_cut ? "\n" : "", (int)indent, "", key, value);
    splice(text, at, at, with, out);
}

/* How far what belongs to the model is indented: as its first line with something in it. 0: nothing belongs to it. */
static size_t child_indent(struct str text, size_t at, size_t own)
{
    while (at < text.n) {
        size_t n = 0;
        while (at + n < text.n && text.p[at + n] == ' ')
            n++;
        if (at + n < text.n && !strchr("\n\r#", text.p[at + n]))
            return n > own ? n : 0;
        at = line_end(text, at) + 1;
    }
    return 0;
}

/* Behind "NAME:" and blanks. */
static size_t behind_key(struct str text, size_t at)
{
    bool is_quoted = at < text.n && (text.p[at] == '"' || text.p[at] == '\'');
    at = is_quoted ? scalar_end(text, at) : at;
    while (at < text.n && text.p[at] != ':' && text.p[at] != '\n')
        at++;
    at += at < text.n && text.p[at] == ':';
    while (at < text.n && text.p[at] == ' ')
        at++;
    return at;
}

static enum err_code insert(struct edit *x, struct str text, const char *key, const char *value, struct buf *out)
{
    const struct setting_place *p = place_of(x, "");
    if (!p) {
        err_set(x->err, ERR_NOT_FOUND, "%s does not say models.%s", x->name, x->model);
        return err_remedy(x->err, "add it there: models: {%s: {%s: %s}}", x->model, key, value);
    }
    size_t at = behind_key(text, offset_of(text, p)), own = p->column - 1;
    if (at < text.n && text.p[at] == '{') {
        insert_flow(x, text, at, key, value, out);
    } else if (at == text.n || strchr("\n\r#", text.p[at])) {
        size_t next = line_end(text, at);
        next += next < text.n;
        size_t indent = child_indent(text, next, own);
        insert_line(x, text, next, indent > 0 ? indent : own + 2, key, value, out);
    } else { /* the short form: its value is the path */
        size_t end = scalar_end(text, at);
        struct str path = str_sub(text, at, end - at);
        splice(text, at, end, arena_printf(&x->arena, "{path: %.*s, %s: %s}", STR_F(path), key, value), out);
    }
    return ERR_OK;
}

/* A setting in a section ("batching.delay") that may not be there yet. */
static enum err_code insert_deep(struct edit *x, struct str text, const char *key, const char *value, struct buf *out)
{
    char section[SETTINGS_KEY_MAX];
    struct str rest;
    (void)str_copy(section, sizeof section, str_cut(str_c(key), '.', &rest));
    const char *inner = arena_cstr(&x->arena, rest);
    const struct setting_place *p = place_of(x, section);
    if (!p)
        return insert(x, text, section, arena_printf(&x->arena, "{%s: %s}", inner, value).p, out);
    size_t at = offset_of(text, p);
    if (at < text.n && text.p[at] == '{')
        insert_flow(x, text, at, inner, value, out);
    else
        insert_line(x, text, line_start(text, p->line), p->column - 1, inner, value, out);
    return ERR_OK;
}

static enum err_code apply(struct edit *x, struct str text, const struct config_change *c, struct buf *out)
{
    if (read_text(x, text))
        return x->err->code;
    const struct setting_place *p = place_of(x, c->key);
    enum err_code code = ERR_OK;
    if (p)
        replace(x, text, p, c->value, out);
    else if (c->is_default)
        buf_str(out, text);
    else
        code =
            strchr(c->key, '.') ? insert_deep(x, text, c->key, c->value, out) : insert(x, text, c->key, c->value, out);
    if (code == ERR_OK && out->failed)
        code = err_set(x->err, ERR_TOO_LARGE, "%s: the text would be too long", x->name);
    return code;
}

static struct model_config *model_of(struct edit *x)
{
    struct model_config *m = x->c.models.items;
    for (size_t i = 0; i < x->c.models.len; i++)
        if (strcmp(m[i].name, x->model) == 0)
            return &m[i];
    return NULL;
}

/* Both texts, read and shown in full: the old one with the changes must be the new one. */
static enum err_code compare(struct edit *x, struct str before, struct str after, const struct config_change *changes,
                             size_t len)
{
    struct buf want, have;
    if (read_text(x, before))
        return x->err->code;
    struct model_config *m = model_of(x);
    for (size_t i = 0; m && i < len; i++)
        if (settings_set(config_model_table, m, changes[i].key, str_c(changes[i].value), changes[i].key, &x->arena,
                         x->err))
            return x->err->code;
    buf_init(&want, TEXT_MAX);
    buf_init(&have, TEXT_MAX);
    settings_dump(config_table, &x->c, NULL, &want);
    enum err_code code = read_text(x, after);
    if (code)
        code = by_hand(x, arena_cstr(&x->arena, str_c(x->err->text)));
    if (code == ERR_OK) {
        settings_dump(config_table, &x->c, NULL, &have);
        if (want.failed || have.failed || !str_eq(buf_view(&want), buf_view(&have)))
            code = by_hand(x, "more than that would change");
    }
    buf_done(&want);
    buf_done(&have);
    return code;
}

enum err_code config_edit(const char *name, struct str yaml, const char *model, const struct config_change *changes,
                          size_t changes_len, struct buf *out, struct err *err)
{
    struct edit x = {.name = name, .model = model, .err = err};
    struct buf texts[2];
    struct str text = yaml;
    enum err_code code = ERR_OK;
    arena_init(&x.arena, 65536, (size_t)64 << 20);
    buf_init(&texts[0], TEXT_MAX);
    buf_init(&texts[1], TEXT_MAX);
    for (size_t i = 0; i < changes_len && code == ERR_OK; i++) {
        struct buf *next = &texts[i % 2];
        buf_clear(next);
        code = apply(&x, text, &changes[i], next);
        text = buf_view(next);
    }
    if (code == ERR_OK)
        code = compare(&x, yaml, text, changes, changes_len);
    if (code == ERR_OK)
        buf_str(out, text);
    buf_done(&texts[0]);
    buf_done(&texts[1]);
    arena_done(&x.arena);
    return code;
}
