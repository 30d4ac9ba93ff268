#include "model/repo/pbtxt.h"

#include <string.h>

struct parser {
    const char *file;
    const char *at, *end, *line_start;
    uint32_t line;
    size_t nodes;
    struct arena *a;
    struct err *err;
    struct level { /* open messages, and the list that one stands in */
        struct pbtxt *message;
        char close;        /* what ends it; 0: the end of the file */
        struct str list;   /* name of the fields that this list makes */
        bool is_list;      /* `[` is open inside of the message */
        bool wants_a_next; /* a comma was read in the list */
    } levels[PBTXT_DEPTH_MAX];
    size_t depth;
};

static enum err_code fail(struct parser *p, const char *what)
{
    return err_set(p->err, ERR_INVALID, "%s:%u:%u: %s", p->file, p->line, (unsigned)(p->at - p->line_start) + 1, what);
}

static void skip_space(struct parser *p)
{
    while (p->at < p->end) {
        char c = *p->at;
        if (c == '#') {
            while (p->at < p->end && *p->at != '\n')
                p->at++;
            continue;
        }
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n' && c != '\v' && c != '\f')
            return;
        p->at++;
        if (c == '\n') {
            p->line++;
            p->line_start = p->at;
        }
    }
}

static char peek(const struct parser *p)
{
    return p->at < p->end ? *p->at : '\0';
}

static bool take(struct parser *p, char c)
{
    if (peek(p) != c || p->at == p->end)
        return false;
    p->at++;
    skip_space(p);
    return true;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-' || c == '+';
}

static struct str take_word(struct parser *p)
{
    const char *start = p->at;
    while (p->at < p->end && is_word(*p->at))
        p->at++;
    struct str s = {start, (size_t)(p->at - start)};
    skip_space(p);
    return s;
}

/* ---- strings ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char heads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(heads[n] | c);
    return n;
}

/* \x41, \101, \u0041, \U00000041; the digits' value, or -1. */
static int64_t take_digits(struct parser *p, int base_bits, int least, int most)
{
    int64_t v = 0;
    int n = 0;
    while (n < most && p->at < p->end) {
        int d = hex_digit(*p->at);
        if (d < 0 || d >= 1 << base_bits)
            break;
        v = v << base_bits | d;
        p->at++;
        n++;
    }
    return n < least ? -1 : v;
}

/* Behind the backslash. Writes at most 4 bytes, which is never more than the escape takes. 0: malformed. */
static size_t take_escape(struct parser *p, char *out)
{
    static const char from[] = "abfnrtv\\'\"?", to[] = "\a\b\f\n\r\t\v\\'\"?";
    if (p->at == p->end)
        return 0;
    const char *known = *p->at ? strchr(from, *p->at) : NULL;
    if (known) {
        p->at++;
        *out = to[known - from];
        return 1;
    }
    bool is_hex = *p->at == 'x' || *p->at == 'X', is_short = *p->at == 'u', is_long = *p->at == 'U';
    if (is_hex || is_short || is_long)
        p->at++;
    int64_t v = is_hex     ? take_digits(p, 4, 1, 2)
                : is_short ? take_digits(p, 4, 4, 4)
                : is_long  ? take_digits(p, 4, 8, 8)
                           : take_digits(p, 3, 1, 3);
    if (is_short || is_long)
        return v < 0 || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000) ? 0 : put_utf8(out, (uint32_t)v);
    if (v < 0 || v > 255)
        return 0;
    *out = (char)v;
    return 1;
}

static enum err_code take_string(struct parser *p, struct str *out)
{
    size_t n = 0, cap = 64;
    char *text = arena_try_alloc(p->a, cap);
    if (!text)
        return fail(p, "too much text");
    while (peek(p) == '"' || peek(p) == '\'') { /* adjacent strings are one */
        char quote = *p->at++;
        while (p->at < p->end && *p->at != quote) {
            if (*p->at == '\n')
                return fail(p, "a string must end on its line");
            if (n + 4 > cap) {
                char *more = arena_try_alloc(p->a, cap * 2);
                if (!more)
                    return fail(p, "the strings are too long");
                memcpy(more, text, n);
                text = more;
                cap *= 2;
            }
            if (*p->at != '\\') {
                text[n++] = *p->at++;
                continue;
            }
            p->at++;
            size_t got = take_escape(p, text + n);
            if (got == 0)
                return fail(p, "malformed escape in a string");
            n += got;
        }
        if (p->at == p->end)
            return fail(p, "a string does not end");
        p->at++;
        skip_space(p);
    }
    *out = (struct str){text, n};
    return ERR_OK;
}

/* ---- fields ---- */

static struct pbtxt *add(struct parser *p, struct str name, enum pbtxt_kind kind)
{
    struct pbtxt *message = p->levels[p->depth - 1].message;
    struct pbtxt *f = p->nodes < PBTXT_NODES_MAX ? arena_try_alloc(p->a, sizeof *f) : NULL;
    if (!f) {
        (void)fail(p, "too many fields");
        return NULL;
    }
    p->nodes++;
    *f = (struct pbtxt){.kind = kind, .name = name, .line = p->line, .column = (uint32_t)(p->at - p->line_start) + 1};
    if (message->last)
        message->last->next = f;
    else
        message->first = f;
    message->last = f;
    return f;
}

static enum err_code open_message(struct parser *p, struct str name)
{
    struct pbtxt *f = add(p, name, PBTXT_MESSAGE);
    if (!f)
        return p->err->code;
    if (p->depth == PBTXT_DEPTH_MAX)
        return fail(p, "nested too deeply");
    char close = *p->at == '{' ? '}' : '>';
    p->at++;
    skip_space(p);
    p->levels[p->depth++] = (struct level){.message = f, .close = close};
    return ERR_OK;
}

static enum err_code take_value(struct parser *p, struct str name)
{
    char c = peek(p);
    if (c == '{' || c == '<')
        return open_message(p, name);
    struct pbtxt *f = add(p, name, c == '"' || c == '\'' ? PBTXT_STRING : PBTXT_WORD);
    if (!f)
        return p->err->code;
    if (f->kind == PBTXT_STRING)
        return take_string(p, &f->value);
    f->value = take_word(p);
    if (f->value.n == 1 && f->value.p[0] == '-') { /* "- 1" is allowed */
        struct str rest = take_word(p);
        f->value = rest.n ? arena_printf(p->a, "-%.*s", STR_F(rest)) : rest;
    }
    return f->value.n ? ERR_OK : fail(p, "expected a value");
}

static struct str take_name(struct parser *p)
{
    if (!take(p, '['))
        return take_word(p);
    const char *start = p->at; /* an extension or a type's address */
    while (p->at < p->end && (is_word(*p->at) || *p->at == '/'))
        p->at++;
    struct str s = {start, (size_t)(p->at - start)};
    skip_space(p);
    return take(p, ']') ? s : STR("");
}

static enum err_code take_field(struct parser *p)
{
    struct level *l = &p->levels[p->depth - 1];
    struct str name = take_name(p);
    if (name.n == 0)
        return fail(p, "expected the name of a field");
    if (name.n > 200)
        return fail(p, "the name of a field is too long");
    bool has_colon = take(p, ':');
    char c = peek(p);
    if (!has_colon && c != '{' && c != '<' && c != '[')
        return fail(p, "expected \":\" or \"{\" behind the name of a field");
    if (!take(p, '['))
        return take_value(p, name);
    l->is_list = true;
    l->list = name;
    return ERR_OK;
}

/* Inside of `name: [`. */
static enum err_code list_step(struct parser *p)
{
    struct level *l = &p->levels[p->depth - 1];
    const struct pbtxt *last = l->message->last;
    bool is_begun = last && last->name.p == l->list.p;
    if (take(p, ']')) {
        if (l->wants_a_next)
            return fail(p, "expected a value behind the comma");
        l->is_list = false;
        (void)(take(p, ',') || take(p, ';'));
        return ERR_OK;
    }
    if (is_begun && !l->wants_a_next) {
        if (!take(p, ','))
            return fail(p, "expected \",\" or \"]\" in a list");
        l->wants_a_next = true;
        return ERR_OK;
    }
    l->wants_a_next = false;
    return take_value(p, l->list);
}

static enum err_code step(struct parser *p)
{
    struct level *l = &p->levels[p->depth - 1];
    if (p->at == p->end)
        return fail(p, l->is_list ? "a list does not end" : "a message does not end");
    if (l->is_list)
        return list_step(p);
    if (l->close && take(p, l->close)) {
        p->depth--;
        if (!p->levels[p->depth - 1].is_list)
            (void)(take(p, ',') || take(p, ';'));
        return ERR_OK;
    }
    enum err_code code = take_field(p);
    if (!code && !p->levels[p->depth - 1].is_list && l == &p->levels[p->depth - 1])
        (void)(take(p, ',') || take(p, ';'));
    return code;
}

enum err_code pbtxt_parse(const char *file, struct str text, struct arena *a, struct pbtxt *out, struct err *err)
{
    struct parser p = {.file = file,
                       .at = text.p,
                       .end = text.p + text.n,
                       .line_start = text.p,
                       .line = 1,
                       .a = a,
                       .err = err,
                       .depth = 1};
    *out = (struct pbtxt){.kind = PBTXT_MESSAGE, .line = 1, .column = 1};
    p.levels[0] = (struct level){.message = out};
    if (text.n > PBTXT_BYTES_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s: more than %zu bytes", file, PBTXT_BYTES_MAX);
    if (memchr(text.p, '\0', text.n))
        return err_set(err, ERR_INVALID, "%s: not a text: it has zero bytes", file);
    if (text.n >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0) /* some editors mark UTF-8 so */
        p.at = p.line_start = text.p + 3;
    skip_space(&p);
    while (p.depth > 1 || p.at < p.end || p.levels[0].is_list)
        if (step(&p))
            return err->code;
    return ERR_OK;
}
