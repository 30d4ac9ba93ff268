/* Skipping a value whole, with its syntax checked. Bodies of megabytes pass here before they are decoded. */
#include "base/json_int.h"

enum skip_state { SKIP_VALUE, SKIP_FIRST, SKIP_AFTER, SKIP_KEY };

struct skip {
    struct json_reader *r;
    const char *at;
    enum skip_state state;
    int depth;
    uint64_t is_object[2]; /* one bit for each level below the reader's */
};

_Static_assert(JSON_DEPTH_MAX <= 128, "one bit for each level");

static bool in_object(const struct skip *s)
{
    return (s->is_object[(s->depth - 1) / 64] >> ((s->depth - 1) % 64) & 1) != 0;
}

static bool open_bracket(struct skip *s)
{
    if (s->r->depth + s->depth >= s->r->depth_max)
        return json_error(s->r, s->at, "nested deeper than %d levels", s->r->depth_max);
    uint64_t bit = UINT64_C(1) << (s->depth % 64), *word = &s->is_object[s->depth / 64];
    *word = *s->at == '{' ? *word | bit : *word & ~bit;
    s->depth++;
    s->at++;
    s->state = SKIP_FIRST;
    return true;
}

/* A number, and the numbers behind it as long as only commas and single spaces stand between. */
static bool skip_numbers(struct skip *s)
{
    const char *p = s->at, *end = s->r->end;
    bool in_array = s->depth > 0 && !in_object(s);
    for (;;) {
        const char *stop = json_skip_number(p, end);
        if (!stop && s->r->allow_nan)
            stop = json_skip_literal(p, end, true);
        if (!stop)
            return json_error(s->r, p, "malformed number");
        p = stop;
        if (!in_array || end - p < 3 || *p != ',')
            break;
        const char *next = p + 1 + (p[1] == ' ');
        if (*next != '-' && !num_is_digit(*next))
            break;
        p = next;
    }
    s->at = p;
    s->state = SKIP_AFTER;
    return true;
}

static bool skip_string(struct skip *s)
{
    bool has_escape;
    const char *quote = json_scan_string(s->r, s->at + 1, &has_escape);
    if (quote)
        s->at = quote + 1;
    return quote;
}

static bool skip_value(struct skip *s)
{
    switch (*s->at) {
    case '{':
    case '[':
        return open_bracket(s);
    case '"':
        s->state = SKIP_AFTER;
        return skip_string(s);
    default:
        break;
    }
    if (*s->at == '-' || num_is_digit(*s->at))
        return skip_numbers(s);
    const char *stop = json_skip_literal(s->at, s->r->end, s->r->allow_nan);
    if (!stop)
        return json_error(s->r, s->at, "expected a value");
    s->at = stop;
    s->state = SKIP_AFTER;
    return true;
}

static bool skip_key(struct skip *s)
{
    if (*s->at != '"')
        return json_error(s->r, s->at, "expected a key in double quotes");
    if (!skip_string(s))
        return false;
    s->at = json_space(s->at, s->r->end);
    if (s->at >= s->r->end || *s->at != ':')
        return json_error(s->r, s->at, "expected ':' behind the key");
    s->at++;
    s->state = SKIP_VALUE;
    return true;
}

static bool skip_separator(struct skip *s)
{
    char close = in_object(s) ? '}' : ']';
    if (*s->at == close) {
        s->at++;
        s->depth--;
        s->state = SKIP_AFTER;
        return true;
    }
    if (s->state == SKIP_FIRST) {
        s->state = in_object(s) ? SKIP_KEY : SKIP_VALUE;
        return true;
    }
    if (*s->at != ',')
        return json_error(s->r, s->at, "expected ',' or '%c'", close);
    s->at++;
    s->state = in_object(s) ? SKIP_KEY : SKIP_VALUE;
    return true;
}

static bool skip_step(struct skip *s)
{
    s->at = json_space(s->at, s->r->end);
    if (s->at >= s->r->end)
        return json_error(s->r, s->at, "the text ends inside a value");
    switch (s->state) {
    case SKIP_VALUE:
        return skip_value(s);
    case SKIP_KEY:
        return skip_key(s);
    case SKIP_FIRST:
    case SKIP_AFTER:
        return skip_separator(s);
    }
    return false;
}

bool json_skip(struct json_reader *r, struct str *raw)
{
    if (r->failed)
        return false;
    struct skip s = {.r = r, .at = json_space(r->at, r->end)};
    const char *first = s.at;
    do {
        if (!skip_step(&s))
            return false;
    } while (s.depth > 0 || s.state != SKIP_AFTER);
    r->at = s.at;
    if (raw)
        *raw = (struct str){first, (size_t)(s.at - first)};
    return true;
}
