#include "cli/leaves.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct walk {
    struct json_reader r;
    struct arena *arena;
    struct leaves *out;
    char path[LEAVES_PATH_MAX];
    struct level {
        bool is_object;
        size_t path_n; /* of the container */
        size_t items;
    } levels[LEAVES_DEPTH_MAX];
    int depth;
};

static void clean(char *text)
{
    for (char *p = text; *p; p++) {
        bool is_c1 = (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] < 0xa0;
        if (is_c1) /* two bytes, which some terminals obey as one control character */
            p[1] = ' ';
        if (is_c1 || (unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
}

static void put(struct walk *w, const char *path, enum json_type type, const char *text)
{
    struct leaves *f = w->out;
    if (f->len == LEAVES_ITEMS_MAX) {
        json_fail(&w->r, ERR_TOO_LARGE, "more than %d values", LEAVES_ITEMS_MAX);
        return;
    }
    if (f->len == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 64;
        struct leaf *bigger = arena_array(w->arena, struct leaf, cap);
        if (f->len)
            memcpy(bigger, f->items, f->len * sizeof *bigger);
        f->items = bigger;
        f->cap = cap;
    }
    f->items[f->len++] = (struct leaf){arena_cstr(w->arena, str_c(path)), type, text};
}

static void enter(struct walk *w, bool is_object)
{
    if (w->depth == LEAVES_DEPTH_MAX) {
        json_fail(&w->r, ERR_TOO_LARGE, "nested more than %d deep", LEAVES_DEPTH_MAX);
        return;
    }
    if (is_object ? json_object(&w->r) : json_array(&w->r))
        w->levels[w->depth++] = (struct level){is_object, strlen(w->path), 0};
}

static void take_value(struct walk *w)
{
    enum json_type type = json_peek(&w->r);
    struct str s = STR("");
    if (type == JSON_OBJECT || type == JSON_ARRAY) {
        enter(w, type == JSON_OBJECT);
        return;
    }
    if (!(type == JSON_STRING ? json_string(&w->r, w->arena, &s) : json_skip(&w->r, &s)))
        return;
    char *text = arena_cstr(w->arena, type == JSON_NULL ? STR("") : s);
    clean(text);
    put(w, w->path, type, text);
}

static void extend(struct walk *w, size_t from, struct str name)
{
    int n = snprintf(w->path + from, sizeof w->path - from, "%s%.*s", from ? "." : "", STR_F(name));
    if (n < 0 || (size_t)n >= sizeof w->path - from)
        json_fail(&w->r, ERR_TOO_LARGE, "a path is longer than %d bytes", LEAVES_PATH_MAX - 1);
}

/* To the next value of the innermost container, or out of it. */
static void step(struct walk *w)
{
    struct level *l = &w->levels[w->depth - 1];
    struct str key = STR("");
    char number[24];
    w->path[l->path_n] = '\0';
    if (l->is_object ? json_key(&w->r, &key) : json_item(&w->r)) {
        (void)snprintf(number, sizeof number, "%zu", l->items++);
        extend(w, l->path_n, l->is_object ? key : str_c(number));
        take_value(w);
        return;
    }
    if (!l->is_object && !w->r.failed) {
        (void)snprintf(number, sizeof number, "%zu", l->items);
        extend(w, l->path_n, STR("#"));
        put(w, w->path, JSON_NUMBER, arena_cstr(w->arena, str_c(number)));
    }
    w->depth--;
}

enum err_code leaves_read(struct str text, struct arena *a, struct leaves *out, struct err *err)
{
    struct walk *w = arena_new(a, struct walk);
    *out = (struct leaves){0};
    w->arena = a;
    w->out = out;
    json_init(&w->r, text, LEAVES_DEPTH_MAX + 1);
    take_value(w);
    while (w->depth > 0 && !w->r.failed)
        step(w);
    if (json_end(&w->r) == ERR_OK)
        return ERR_OK;
    *err = w->r.err;
    return err_wrap(err, "the server's answer");
}

const struct leaf *leaf_find(const struct leaves *f, const char *path)
{
    for (size_t i = 0; i < f->len; i++)
        if (strcmp(f->items[i].path, path) == 0)
            return &f->items[i];
    return NULL;
}

const char *leaf_text(const struct leaves *f, const char *path)
{
    const struct leaf *i = leaf_find(f, path);
    return i ? i->text : "";
}

double leaf_number(const struct leaves *f, const char *path)
{
    const struct leaf *i = leaf_find(f, path);
    return i && i->type == JSON_NUMBER ? strtod(i->text, NULL) : 0;
}

bool leaf_true(const struct leaves *f, const char *path)
{
    const struct leaf *i = leaf_find(f, path);
    return i && i->type == JSON_BOOL && strcmp(i->text, "true") == 0;
}

const char *leaf_text_at(const struct leaves *f, const char *fmt, ...)
{
    char path[LEAVES_PATH_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    return leaf_text(f, path);
}

double leaf_number_at(const struct leaves *f, const char *fmt, ...)
{
    char path[LEAVES_PATH_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    return leaf_number(f, path);
}
