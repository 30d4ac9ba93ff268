#include "cli/status_models.h"

#include "base/json.h"
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

void status_models_show(struct str json, struct str last_error, struct arena *a, cell_fn *cell, struct buf *out)
{
    static const char *const heads[] = {"MODEL", "STATE", "WHY"};
    struct json_reader r;
    struct table t;
    bool is_of_interest = false;
    table_init(&t, a, heads, ARRAY_LEN(heads), 0);
    json_init(&r, json, 8);
    json_array(&r);
    while (json.n > 0 && json_item(&r)) {
        struct line l = {.state = STR("")};
        read_line(&r, a, &l);
        if (str_eq_c(l.state, "ready") && l.compared.n == 0 && l.reason.n == 0)
            continue;
        is_of_interest = true;
        const char *name = cell(a, l.name, 60), *version = cell(a, l.version, 20);
        const char *reason = cell(a, l.reason, TEXT_MAX), *compared = cell(a, l.compared, TEXT_MAX);
        const char *why = reason     ? reason
                          : compared ? arena_printf(a, "compared with the one before: %s", compared).p
                                     : "";
        table_row(&t, (const char *const[]){arena_printf(a, "%s@%s", name ? name : "", version ? version : "").p,
                                            cell(a, l.state, 20), why});
    }
    if (is_of_interest) {
        buf_char(out, '\n');
        table_write(&t, "", out);
    }
    const char *last = cell(a, last_error, TEXT_MAX + 200);
    if (last)
        buf_printf(out, "\nLast: %s\n", last);
}
