#include "cli/status_models.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "cli/table.h"

#define TEXT_MAX 400 /* reasons are what one looks for here */

struct line {
    struct str name, version, state, reason, compared;
};

static void read_line(struct json_reader *r, struct arena *a, struct line *l)
{
    struct str key;
    const struct {
        const char *key;
        struct str *at;
    } fields[] = {{"name", &l->name},
                  {"version", &l->version},
                  {"state", &l->state},
                  {"reason", &l->reason},
                  {"compared", &l->compared}};
    json_object(r);
    while (json_key(r, &key)) {
        struct str *at = NULL;
        for (size_t i = 0; i < ARRAY_LEN(fields); i++)
            if (str_eq_c(key, fields[i].key))
                at = fields[i].at;
        if (at && json_peek(r) == JSON_STRING)
            json_string(r, a, at);
        else
            json_skip(r, NULL);
    }
}

static int compare_texts(struct str a, struct str b)
{
    int c = memcmp(a.n ? a.p : "", b.n ? b.p : "", a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

int status_models_order(struct str name_a, struct str version_a, struct str name_b, struct str version_b)
{
    uint64_t a, b;
    int c = compare_texts(name_a, name_b);
    if (c)
        return c;
    if (str_to_u64(version_a, &a) && str_to_u64(version_b, &b))
        return (a > b) - (a < b);
    return compare_texts(version_a, version_b);
}

static int by_name(const void *one, const void *other)
{
    const struct line *a = one, *b = other;
    return status_models_order(a->name, a->version, b->name, b->version);
}

/* Those that are not simply serving. */
static size_t read_lines(struct str json, struct arena *a, struct line **out)
{
    struct json_reader r;
    size_t len = 0, cap = 0;
    *out = NULL;
    json_init(&r, json, 8);
    json_array(&r);
    while (json.n > 0 && json_item(&r)) {
        struct line l = {.state = STR("")};
        read_line(&r, a, &l);
        if (str_eq_c(l.state, "ready") && l.compared.n == 0 && l.reason.n == 0)
            continue;
        if (len == cap) {
            struct line *more = arena_array(a, struct line, cap ? cap * 2 : 16);
            if (len)
                memcpy(more, *out, len * sizeof *more);
            cap = cap ? cap * 2 : 16;
            *out = more;
        }
        (*out)[len++] = l;
    }
    if (len)
        qsort(*out, len, sizeof **out, by_name);
    return len;
}

/* What its state means for who reads it, and what can be done. */
static const char *meaning(const struct line *l, const char *name, struct arena *a)
{
    if (str_eq_c(l->state, "canary"))
        return arena_printf(a, "tried beside the version that serves: quern model show %s, promote %s, rollback %s",
                            name, name, name)
            .p;
    if (str_eq_c(l->state, "comparing"))
        return "asked the same requests as the version that serves";
    if (str_eq_c(l->state, "kept"))
        return arena_printf(a, "for the way back: quern model rollback %s", name).p;
    return "";
}

void status_models_show(struct str json, struct str last_error, struct arena *a, cell_fn *cell, struct buf *out)
{
    static const char *const heads[] = {"MODEL", "STATE", "WHY"};
    struct table t;
    struct line *lines;
    size_t len = read_lines(json, a, &lines);
    table_init(&t, a, heads, ARRAY_LEN(heads), 0);
    for (size_t i = 0; i < len; i++) {
        const struct line *l = &lines[i];
        const char *name = cell(a, l->name, 60), *version = cell(a, l->version, 20);
        const char *reason = cell(a, l->reason, TEXT_MAX), *compared = cell(a, l->compared, TEXT_MAX);
        const char *why = reason     ? reason
                          : compared ? arena_printf(a, "compared with the one before: %s", compared).p
                                     : meaning(l, name ? name : "", a);
        table_row(&t, (const char *const[]){arena_printf(a, "%s@%s", name ? name : "", version ? version : "").p,
                                            cell(a, l->state, 20), why});
    }
    if (len > 0) {
        buf_char(out, '\n');
        table_write(&t, "", out);
    }
    const char *last = cell(a, last_error, TEXT_MAX + 200);
    if (last)
        buf_printf(out, "\nLast: %s\n", last);
}
