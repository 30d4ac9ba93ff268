#include "base/settings_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"

/* Units, greatest first: the first that divides a value without rest is the one to show it in. The shown ones come first
 * among equals. */
struct unit {
    const char *name;
    uint64_t worth;
};
static const struct unit byte_units[] = {{"TiB", UINT64_C(1) << 40},
                                         {"GiB", UINT64_C(1) << 30},
                                         {"MiB", UINT64_C(1) << 20},
                                         {"KiB", UINT64_C(1) << 10},
                                         {"TB", 1000000000000},
                                         {"GB", 1000000000},
                                         {"MB", 1000000},
                                         {"kB", 1000},
                                         {"KB", 1000},
                                         {"B", 1},
                                         {0}};
static const struct unit time_units[] = {{"h", UINT64_C(3600000000000)},
                                         {"m", UINT64_C(60000000000)},
                                         {"s", UINT64_C(1000000000)},
                                         {"ms", 1000000},
                                         {"us", 1000},
                                         {"ns", 1},
                                         {0}};

bool settings_is_scalar(enum setting_kind kind)
{
    return kind >= SET_STR && kind <= SET_ENUM;
}

void *settings_field(const struct setting *s, void *out)
{
    unsigned char *base = out;
    return base + s->offset;
}

const void *settings_field_const(const struct setting *s, const void *values)
{
    const unsigned char *base = values;
    return base + s->offset;
}

const char *settings_quote(struct str s, char out[SETTINGS_QUOTED_MAX])
{
    enum { ROOM = SETTINGS_QUOTED_MAX - 8 };
    size_t n = 0, i = 0;
    out[n++] = '"';
    for (; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool is_c1 = c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0; /* some terminals obey these too */
        bool is_control = c < 0x20 || c == 0x7f || is_c1;
        size_t next = i + 1; /* never cut inside a UTF-8 sequence */
        while (next < s.n && ((unsigned char)s.p[next] & 0xc0) == 0x80)
            next++;
        if (n + (is_control ? 4 : next - i) > ROOM)
            break;
        if (is_control) {
            n += (size_t)snprintf(out + n, SETTINGS_QUOTED_MAX - n, "\\x%02x", (unsigned char)s.p[i + is_c1]);
        } else {
            memcpy(out + n, s.p + i, next - i);
            n += next - i;
        }
        i = is_control ? i + is_c1 : next - 1;
    }
    (void)snprintf(out + n, SETTINGS_QUOTED_MAX - n, "%s\"", i < s.n ? "..." : "");
    return out;
}

static void format_units(uint64_t v, const struct unit *units, char *out, size_t out_size)
{
    const struct unit *u = units;
    while (v && u->worth > 1 && v % u->worth)
        u++;
    while (v == 0 && u->worth > 1 && u[1].name && strcmp(u->name, "s") != 0)
        u++; /* zero: "0s", "0B" */
    (void)snprintf(out, out_size, "%llu%s", (unsigned long long)(v / u->worth), u->name);
}

static void format_range(const struct setting *s, const struct unit *units, char *out, size_t out_size)
{
    char lo[32], hi[32];
    if (s->min == 0 && s->max == 0)
        return;
    if (units) {
        format_units((uint64_t)s->min, units, lo, sizeof lo);
        format_units((uint64_t)s->max, units, hi, sizeof hi);
    } else {
        (void)snprintf(lo, sizeof lo, "%.15g", s->min);
        (void)snprintf(hi, sizeof hi, "%.15g", s->max);
    }
    size_t n = strlen(out);
    (void)snprintf(out + n, out_size - n, " from %s to %s", lo, hi);
}

static void allowed_choices(const struct setting *s, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "one of");
    for (size_t i = 0; s->choices[i]; i++) {
        size_t n = strlen(out);
        (void)snprintf(out + n, out_size - n, "%s %s", i ? "," : "", s->choices[i]);
    }
}

void settings_value_allowed(const struct setting *s, char *out, size_t out_size)
{
    const char *of = s->unit ? " of " : "", *unit = s->unit ? s->unit : "";
    switch (s->kind) {
    case SET_STR:
        (void)snprintf(out, out_size, "text");
        return;
    case SET_INT:
        (void)snprintf(out, out_size, "%s%sa whole number%s%s", s->zero ? s->zero : "", s->zero ? " or " : "", of,
                       unit);
        format_range(s, NULL, out, out_size);
        return;
    case SET_FLOAT:
        (void)snprintf(out, out_size, "a number%s%s", of, unit);
        format_range(s, NULL, out, out_size);
        return;
    case SET_BOOL:
        (void)snprintf(out, out_size, "true or false");
        return;
    case SET_BYTES:
        (void)snprintf(out, out_size, "a size");
        format_range(s, byte_units, out, out_size);
        return;
    case SET_TIME:
        (void)snprintf(out, out_size, "a time");
        format_range(s, time_units, out, out_size);
        return;
    case SET_ENUM:
        allowed_choices(s, out, out_size);
        return;
    case SET_STRS:
        (void)snprintf(out, out_size, "a list of texts, or one text");
        return;
    case SET_SECTION:
        (void)snprintf(out, out_size, "a section");
        return;
    case SET_MAP:
        (void)snprintf(out, out_size, "a map from name to section");
        return;
    case SET_INTS_MAP:
        (void)snprintf(out, out_size, "a map from name to whole number");
        format_range(s, NULL, out, out_size);
        return;
    case SET_TEXT_MAP:
        (void)snprintf(out, out_size, "a map from name to text");
        return;
    }
}

static enum err_code wrong(const struct setting *s, struct str text, const char *example, struct err *err)
{
    char allowed[200], quoted[SETTINGS_QUOTED_MAX];
    settings_value_allowed(s, allowed, sizeof allowed);
    (void)err_set(err, ERR_INVALID, "expected %s, got %s", allowed, settings_quote(text, quoted));
    return example ? err_remedy(err, "%s", example) : err->code;
}

static enum err_code parse_text(const struct setting *s, const char **out, struct str text, struct arena *a,
                                struct err *err)
{
    size_t max = s->kind == SET_STR && s->max > 0 ? (size_t)s->max : SETTINGS_TEXT_MAX;
    if (memchr(text.p ? text.p : "", '\0', text.n))
        return err_set(err, ERR_INVALID, "text must not contain a NUL byte");
    if (text.n > max)
        return err_set(err, ERR_INVALID, "%zu bytes of text, at most %zu are allowed", text.n, max);
    if (s->kind == SET_STR && text.n < (size_t)s->min)
        return err_set(err, ERR_INVALID, "the text must not be empty");
    char *copy = arena_try_alloc(a, text.n + 1);
    if (!copy)
        return err_set(err, ERR_TOO_LARGE, "not enough memory");
    if (text.p && text.n)
        memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    *out = copy;
    return ERR_OK;
}

/* "64MiB", "1.5 s", "512": exact, in whole units of worth 1. needs_unit: a bare number other than 0 says too little. */
static bool parse_units(struct str text, const struct unit *units, bool needs_unit, uint64_t *out)
{
    size_t digits = 0;
    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    uint64_t whole, fraction = 0, scale = 1;
    if (!str_to_u64(str_sub(text, 0, digits), &whole))
        return false;
    size_t at = digits;
    if (at < text.n && text.p[at] == '.') {
        size_t from = ++at;
        for (; at < text.n && text.p[at] >= '0' && text.p[at] <= '9'; at++) {
            if (at - from == 9)
                return false;
            fraction = fraction * 10 + (uint64_t)(text.p[at] - '0');
            scale *= 10;
        }
        if (at == from)
            return false;
    }
    struct str unit = str_trim(str_sub(text, at, text.n - at));
    uint64_t worth = 0;
    if (unit.n == 0 && (!needs_unit || whole == 0) && fraction == 0)
        worth = 1;
    for (const struct unit *u = units; u->name && !worth; u++)
        worth = str_eq_c(unit, u->name) ? u->worth : 0;
    uint64_t high, low;
    if (!worth || __builtin_mul_overflow(whole, worth, &high) || __builtin_mul_overflow(fraction, worth, &low) ||
        low % scale)
        return false;
    return !__builtin_add_overflow(high, low / scale, out);
}

static bool is_in_range(const struct setting *s, double v)
{
    return (s->min == 0 && s->max == 0) || (v >= s->min && v <= s->max);
}

static bool parse_bool(struct str text, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq_c(text, words[i])) {
            *out = i % 2;
            return true;
        }
    return false;
}

static bool parse_float(struct str text, double *out)
{
    char padded[64 + BUF_PAD] = {0};
    if (text.n == 0 || text.n >= 64)
        return false;
    memcpy(padded, text.p, text.n);
    double v;
    const char *end = num_parse_f64(padded, padded + text.n, &v);
    if (end != padded + text.n || !isfinite(v))
        return false;
    *out = v;
    return true;
}

static enum err_code parse_choice(const struct setting *s, int *out, struct str text, struct err *err)
{
    size_t n = 0;
    for (; s->choices[n]; n++)
        if (str_eq_c(text, s->choices[n])) {
            *out = (int)n;
            return ERR_OK;
        }
    const char *near = settings_nearest(text, s->choices, n);
    (void)wrong(s, text, NULL, err);
    return near ? err_remedy(err, "did you mean \"%s\"?", near) : err->code;
}

enum err_code settings_value_parse(const struct setting *s, void *field, struct str text, struct arena *a,
                                   struct err *err)
{
    switch (s->kind) {
    case SET_STR:
        return parse_text(s, field, text, a, err);
    case SET_INT: {
        int64_t v = 0;
        bool is_zero = s->zero && str_eq_c(text, s->zero);
        if (!is_zero && (!str_to_i64(text, &v) || !is_in_range(s, (double)v)))
            return wrong(s, text, NULL, err);
        *(int64_t *)field = v;
        return ERR_OK;
    }
    case SET_FLOAT: {
        double v;
        if (!parse_float(text, &v) || !is_in_range(s, v))
            return wrong(s, text, NULL, err);
        *(double *)field = v;
        return ERR_OK;
    }
    case SET_BOOL:
        return parse_bool(text, field) ? ERR_OK : wrong(s, text, NULL, err);
    case SET_BYTES:
    case SET_TIME: {
        bool is_time = s->kind == SET_TIME;
        uint64_t v;
        if (!parse_units(text, is_time ? time_units : byte_units, is_time, &v) || !is_in_range(s, (double)v))
            return wrong(s, text,
                         is_time ? "write a number with its unit: 250us, 20ms, 1.5s, 2m, 1h"
                                 : "write 512, 64KiB, 64MiB, 1GiB, or 64kB, 64MB, 1GB",
                         err);
        *(uint64_t *)field = v;
        return ERR_OK;
    }
    case SET_ENUM:
        return parse_choice(s, field, text, err);
    case SET_STRS:
    case SET_SECTION:
    case SET_MAP:
    case SET_INTS_MAP:
    case SET_TEXT_MAP:
        break;
    }
    CHECK(settings_is_scalar(s->kind));
    return ERR_INTERNAL;
}

void settings_value_format(const struct setting *s, const void *field, struct buf *out)
{
    char text[32];
    switch (s->kind) {
    case SET_STR:
        buf_c(out, *(const char *const *)field);
        return;
    case SET_INT:
        if (s->zero && *(const int64_t *)field == 0)
            buf_c(out, s->zero);
        else
            buf_i64(out, *(const int64_t *)field);
        return;
    case SET_FLOAT: {
        char digits[NUM_FLOAT_MAX];
        buf_add(out, digits, num_format_f64(*(const double *)field, digits));
        return;
    }
    case SET_BOOL:
        buf_c(out, *(const bool *)field ? "true" : "false");
        return;
    case SET_BYTES:
    case SET_TIME:
        format_units(*(const uint64_t *)field, s->kind == SET_TIME ? time_units : byte_units, text, sizeof text);
        buf_c(out, text);
        return;
    case SET_ENUM:
        buf_c(out, s->choices[*(const int *)field]);
        return;
    case SET_STRS:
    case SET_SECTION:
    case SET_MAP:
    case SET_INTS_MAP:
    case SET_TEXT_MAP:
        break;
    }
    CHECK(settings_is_scalar(s->kind));
}
