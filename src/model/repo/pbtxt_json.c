#include "model/repo/pbtxt_json.h"

#include <string.h>

#include "base/arena.h"

#define DEPTH_MAX 16
#define FIELD_MAX 64
#define TEXTS_MAX ((size_t)1 << 20)

/* An open bracket. Braces are ours: those of a message have one in the text too, those of a map's object do not. */
enum bracket { MESSAGE, MAP, LIST };

struct open {
    enum bracket kind;
    bool ends_entry;       /* a message that is the value of a map: two braces close it */
    char field[FIELD_MAX]; /* LIST, MAP: whose values these are */
};

struct converter {
    struct json_reader r;
    struct buf *out;
    struct arena texts;
    struct open stack[DEPTH_MAX];
    int depth;
    char field[FIELD_MAX]; /* of the value that comes next */
    bool is_entry;         /* it is the value of a map's key */
};

static bool is_one_of(const char *name, const char *const *list, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}

/* Fields whose JSON objects are maps, not messages. */
static bool is_map(const char *field)
{
    static const char *const maps[] = {"parameters", "input_map",          "output_map",
                                       "inputs",     "cc_model_filenames", "metric_tags"};
    return is_one_of(field, maps, ARRAY_LEN(maps));
}

/* Fields that are texts in the schema: everything else that comes as text is a number or a name of an enumeration. */
static bool is_text(const char *field)
{
    static const char *const texts[] = {"name",
                                        "platform",
                                        "backend",
                                        "runtime",
                                        "string_value",
                                        "label_filename",
                                        "model_name",
                                        "default_model_filename",
                                        "input_map",
                                        "output_map",
                                        "input_data_file",
                                        "cc_model_filenames",
                                        "metric_tags",
                                        "model_namespace",
                                        "profile",
                                        "initial_state_name",
                                        "input_name",
                                        "output_name",
                                        "source_input",
                                        "target_output",
                                        "metric_family",
                                        "tags",
                                        "op_library_filename"};
    return is_one_of(field, texts, ARRAY_LEN(texts));
}

/* maxBatchSize and max_batch_size are one field. */
static bool take_field(struct converter *c, struct str key)
{
    size_t n = 0;
    for (size_t i = 0; i < key.n; i++) {
        char ch = key.p[i];
        bool is_upper = ch >= 'A' && ch <= 'Z';
        if (!is_upper && !(ch >= 'a' && ch <= 'z') && !(ch >= '0' && ch <= '9') && ch != '_')
            return json_fail(&c->r, ERR_INVALID, "not a name of a field");
        if (n + 3 > FIELD_MAX)
            return json_fail(&c->r, ERR_INVALID, "not a name of a field: too long");
        if (is_upper)
            c->field[n++] = '_';
        c->field[n++] = is_upper ? (char)(ch | 0x20) : ch;
    }
    c->field[n] = '\0';
    return n > 0 || json_fail(&c->r, ERR_INVALID, "a field needs a name");
}

static void put_quoted(struct buf *out, struct str s)
{
    buf_char(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        if (ch == '"' || ch == '\\')
            buf_printf(out, "\\%c", ch);
        else if (ch < 0x20 || ch == 0x7f)
            buf_printf(out, "\\%03o", ch);
        else
            buf_char(out, (char)ch);
    }
    buf_char(out, '"');
}

static bool is_word(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool is_ok = (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '_' ||
                     ch == '.' || ch == '-' || ch == '+';
        if (!is_ok)
            return false;
    }
    return s.n > 0;
}

static bool put_scalar(struct converter *c, enum json_type type)
{
    struct str s;
    if (type == JSON_STRING ? !json_string(&c->r, &c->texts, &s) : !json_skip(&c->r, &s))
        return false;
    if (type == JSON_STRING && (is_text(c->field) || !is_word(s)))
        put_quoted(c->out, s);
    else
        buf_str(c->out, s);
    return true;
}

static struct open *push(struct converter *c, enum bracket kind)
{
    if (c->depth == DEPTH_MAX) {
        json_fail(&c->r, ERR_INVALID, "nested more than %d deep", DEPTH_MAX);
        return NULL;
    }
    struct open *o = &c->stack[c->depth++];
    *o = (struct open){.kind = kind};
    (void)str_copy(o->field, sizeof o->field, str_c(c->field));
    return o;
}

/* The value of c->field: a line, or the beginning of what it holds. */
static bool take_value(struct converter *c)
{
    enum json_type type = json_peek(&c->r);
    bool is_entry = c->is_entry;
    c->is_entry = false;
    if (type == JSON_NULL)
        return json_null(&c->r);
    if (type == JSON_ARRAY)
        return json_array(&c->r) && push(c, LIST);
    if (type == JSON_OBJECT && !is_entry && is_map(c->field))
        return json_object(&c->r) && push(c, MAP);
    if (!is_entry)
        buf_c(c->out, c->field);
    if (type != JSON_OBJECT) {
        buf_c(c->out, is_entry ? " value: " : ": ");
        bool is_fine = put_scalar(c, type);
        buf_c(c->out, is_entry ? " }\n" : "\n");
        return is_fine;
    }
    buf_c(c->out, is_entry ? " value {\n" : " {\n");
    struct open *o = json_object(&c->r) ? push(c, MESSAGE) : NULL;
    if (o)
        o->ends_entry = is_entry;
    return o != NULL;
}

static void close_one(struct converter *c)
{
    const struct open *o = &c->stack[--c->depth];
    if (o->kind == MESSAGE && c->depth > 0)
        buf_c(c->out, o->ends_entry ? "} }\n" : "}\n");
}

static void step(struct converter *c)
{
    const struct open *o = &c->stack[c->depth - 1];
    struct str key;
    if (o->kind == LIST) {
        if (!json_item(&c->r)) {
            close_one(c);
            return;
        }
        (void)str_copy(c->field, sizeof c->field, str_c(o->field));
        if (json_peek(&c->r) == JSON_ARRAY)
            json_fail(&c->r, ERR_INVALID, "a list in a list");
        else
            (void)take_value(c); /* the reader remembers what was wrong */
        return;
    }
    if (!json_key(&c->r, &key)) {
        close_one(c);
        return;
    }
    if (o->kind == MESSAGE) {
        if (take_field(c, key))
            (void)take_value(c);
        return;
    }
    if (json_peek(&c->r) == JSON_NULL || json_peek(&c->r) == JSON_ARRAY) {
        json_fail(&c->r, ERR_INVALID, "a value is expected");
        return;
    }
    (void)str_copy(c->field, sizeof c->field, str_c(o->field));
    c->is_entry = true;
    buf_printf(c->out, "%s { key: ", c->field);
    put_quoted(c->out, key);
    (void)take_value(c);
}

enum err_code pbtxt_from_json(struct str json, struct buf *out, struct err *err)
{
    struct converter c = {.out = out};
    json_init(&c.r, json, JSON_DEPTH_MAX);
    arena_init(&c.texts, 4096, TEXTS_MAX + json.n);
    if (json_object(&c.r))
        (void)push(&c, MESSAGE);
    while (c.depth > 0 && !c.r.failed)
        step(&c);
    if (json_end(&c.r))
        *err = c.r.err;
    else if (out->failed)
        err_set(err, ERR_TOO_LARGE, "the configuration is too long");
    else
        err->code = ERR_OK;
    arena_done(&c.texts);
    return err->code;
}
