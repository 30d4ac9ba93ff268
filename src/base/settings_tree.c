#include "base/settings_int.h"

#include <string.h>
#include <yaml.h>

#include "base/map.h"

/* The part of YAML that a configuration needs: one document of maps, lists and scalars. What makes YAML dangerous or surprising
 * (anchors that multiply, tags that change types, keys that are not text) is refused with its place. */
struct tree {
    const char *name;
    struct str yaml;
    struct arena *arena;
    struct err *err;
    yaml_parser_t parser;
    struct node *root;
    struct node *open[SETTINGS_DEPTH_MAX]; /* maps and lists not yet closed */
    size_t depth;
    size_t items;
    bool has_key; /* a map's key was read, its value comes next */
    struct str key;
    yaml_mark_t key_mark;
};

static enum err_code fail_at(struct tree *t, size_t line, size_t column, const char *text, const char *detail)
{
    return err_set(t->err, ERR_INVALID, "%s:%zu:%zu: %s%s", t->name, line, column, text, detail);
}

static enum err_code fail_mark(struct tree *t, const yaml_mark_t *m, const char *text, const char *detail)
{
    return fail_at(t, m->line + 1, m->column + 1, text, detail);
}

/* libyaml's reader knows only the offset of a byte that it refuses. */
static enum err_code fail_offset(struct tree *t, size_t offset, const char *text)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset && i < t->yaml.n; i++) {
        bool is_newline = t->yaml.p[i] == '\n';
        line += is_newline;
        column = is_newline ? 1 : column + 1;
    }
    return fail_at(t, line, column, text, "");
}

static enum err_code fail_yaml(struct tree *t)
{
    const yaml_parser_t *p = &t->parser;
    const char *problem = p->problem ? p->problem : "not valid YAML";
    if (p->error == YAML_MEMORY_ERROR)
        return err_set(t->err, ERR_TOO_LARGE, "%s: not enough memory to read it", t->name);
    if (p->error == YAML_READER_ERROR) {
        (void)fail_offset(t, p->problem_offset, problem);
        return err_remedy(t->err, "save the file as UTF-8 text without control characters");
    }
    (void)fail_mark(t, &p->problem_mark, "not valid YAML: ", problem);
    if (strstr(problem, "cannot start any token"))
        return err_remedy(t->err, "indent with spaces, not tabs; put text with special characters in quotes");
    if (p->context)
        return err_remedy(t->err, "look at the lines above too: the problem was found %s that began in line %zu",
                          p->context, p->context_mark.line + 1);
    return t->err->code;
}

static enum err_code copy_text(struct tree *t, const yaml_event_t *e, struct str *out)
{
    struct str s = {(const char *)e->data.scalar.value, e->data.scalar.length};
    if (memchr(s.p, '\0', s.n))
        return fail_mark(t, &e->start_mark, "text must not contain a NUL byte", "");
    char *copy = arena_try_alloc(t->arena, s.n + 1);
    if (!copy)
        return err_set(t->err, ERR_TOO_LARGE, "%s: not enough memory to read it", t->name);
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    *out = (struct str){copy, s.n};
    return ERR_OK;
}

static enum err_code check_plain(struct tree *t, const yaml_event_t *e, const yaml_char_t *anchor,
                                 const yaml_char_t *tag)
{
    if (anchor) {
        (void)fail_mark(t, &e->start_mark, "anchors (&name) are not supported", "");
        return err_remedy(t->err, "write the value out; put a text that begins with & in quotes");
    }
    if (tag) {
        (void)fail_mark(t, &e->start_mark, "tags (!name) are not supported", "");
        return err_remedy(t->err, "remove the tag; put a text that begins with ! in quotes");
    }
    return ERR_OK;
}

static enum err_code take_key(struct tree *t, const yaml_event_t *e)
{
    if (e->type != YAML_SCALAR_EVENT)
        return fail_mark(t, &e->start_mark, "a key must be plain text", "");
    if (e->data.scalar.length == 0)
        return fail_mark(t, &e->start_mark, "a key must not be empty", "");
    if (e->data.scalar.length > SETTINGS_KEY_MAX)
        return fail_mark(t, &e->start_mark, "a key must not be longer than 256 bytes", "");
    if (copy_text(t, e, &t->key))
        return t->err->code;
    t->key_mark = e->start_mark;
    t->has_key = true;
    return ERR_OK;
}

/* NULL: an error was set. */
static struct node *add_node(struct tree *t, const yaml_event_t *e, enum node_kind kind)
{
    if (++t->items > SETTINGS_ITEMS_MAX) {
        (void)fail_mark(t, &e->start_mark, "more than 10000 keys and list items", "");
        return NULL;
    }
    struct node *n = arena_try_alloc(t->arena, sizeof *n);
    if (!n) {
        (void)err_set(t->err, ERR_TOO_LARGE, "%s: not enough memory to read it", t->name);
        return NULL;
    }
    *n = (struct node){
        .kind = kind, .line = (uint32_t)e->start_mark.line + 1, .column = (uint32_t)e->start_mark.column + 1};
    if (t->has_key) {
        n->key = t->key;
        n->key_line = (uint32_t)t->key_mark.line + 1;
        n->key_column = (uint32_t)t->key_mark.column + 1;
        t->has_key = false;
    }
    if (t->depth == 0) {
        t->root = n;
    } else {
        struct node *parent = t->open[t->depth - 1];
        if (parent->last)
            parent->last->next = n;
        else
            parent->first = n;
        parent->last = n;
        parent->len++;
    }
    return n;
}

static enum err_code on_open(struct tree *t, const yaml_event_t *e, enum node_kind kind)
{
    if (t->depth == SETTINGS_DEPTH_MAX)
        return fail_mark(t, &e->start_mark, "nested deeper than 16 levels", "");
    struct node *n = add_node(t, e, kind);
    if (!n)
        return t->err->code;
    t->open[t->depth++] = n;
    return ERR_OK;
}

static enum err_code check_duplicates(struct tree *t, const struct node *map)
{
    struct map seen;
    map_init(&seen, SETTINGS_ITEMS_MAX);
    for (struct node *n = map->first; n && !t->err->code; n = n->next) {
        const struct node *first = map_get(&seen, n->key);
        char quoted[SETTINGS_QUOTED_MAX];
        if (first) {
            (void)err_set(t->err, ERR_INVALID, "%s:%u:%u: key %s stands here a second time, first in line %u", t->name,
                          n->key_line, n->key_column, settings_quote(n->key, quoted), first->key_line);
            (void)err_remedy(t->err, "keep one of the two");
        } else if (!map_put(&seen, n->key, n)) {
            (void)err_set(t->err, ERR_TOO_LARGE, "%s: not enough memory to read it", t->name);
        }
    }
    map_done(&seen);
    return t->err->code;
}

static enum err_code on_scalar(struct tree *t, const yaml_event_t *e)
{
    struct node *n = add_node(t, e, NODE_SCALAR);
    if (!n)
        return t->err->code;
    n->is_plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return copy_text(t, e, &n->text);
}

static enum err_code on_close(struct tree *t)
{
    struct node *n = t->open[--t->depth];
    return n->kind == NODE_MAP ? check_duplicates(t, n) : ERR_OK;
}

static bool is_key_next(const struct tree *t)
{
    return t->depth > 0 && t->open[t->depth - 1]->kind == NODE_MAP && !t->has_key;
}

static enum err_code on_event(struct tree *t, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return ERR_OK;
    case YAML_DOCUMENT_START_EVENT:
        if (t->root)
            return fail_mark(t, &e->start_mark, "a second document (---) in one file", "");
        return ERR_OK;
    case YAML_ALIAS_EVENT:
        (void)fail_mark(t, &e->start_mark, "aliases (*name) are not supported", "");
        return err_remedy(t->err, "write the value out; put a text that begins with * in quotes");
    case YAML_SCALAR_EVENT:
        if (check_plain(t, e, e->data.scalar.anchor, e->data.scalar.tag))
            return t->err->code;
        return is_key_next(t) ? take_key(t, e) : on_scalar(t, e);
    case YAML_SEQUENCE_START_EVENT:
        if (check_plain(t, e, e->data.sequence_start.anchor, e->data.sequence_start.tag))
            return t->err->code;
        return is_key_next(t) ? take_key(t, e) : on_open(t, e, NODE_LIST);
    case YAML_MAPPING_START_EVENT:
        if (check_plain(t, e, e->data.mapping_start.anchor, e->data.mapping_start.tag))
            return t->err->code;
        return is_key_next(t) ? take_key(t, e) : on_open(t, e, NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(t);
    }
    return err_set(t->err, ERR_INTERNAL, "%s: unknown YAML event %d", t->name, (int)e->type);
}

enum err_code settings_tree(const char *name, struct str yaml, struct arena *a, struct node **out_root, struct err *err)
{
    struct tree t = {.name = name, .yaml = yaml, .arena = a, .err = err};
    *err = (struct err){0};
    if (yaml.n > SETTINGS_FILE_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s: %zu bytes, more than the 1 MiB that a configuration may have", name,
                       yaml.n);
    if (!yaml_parser_initialize(&t.parser))
        return err_set(err, ERR_TOO_LARGE, "%s: not enough memory to read it", name);
    yaml_parser_set_encoding(&t.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&t.parser, (const unsigned char *)yaml.p, yaml.n);
    for (bool is_end = false; !is_end && !err->code;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&t.parser, &e)) {
            (void)fail_yaml(&t);
            break;
        }
        is_end = e.type == YAML_STREAM_END_EVENT;
        (void)on_event(&t, &e);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&t.parser);
    if (!err->code)
        *out_root = t.root;
    return err->code;
}
