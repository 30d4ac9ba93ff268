#include "cli/table.h"

#include <string.h>

#include "base/check.h"

void table_init(struct table *t, struct arena *a, const char *const *heads, size_t columns, unsigned right)
{
    CHECK(columns > 0 && columns <= TABLE_COLUMNS_MAX);
    *t = (struct table){.heads = heads, .columns = columns, .arena = a, .right = right};
}

void table_row(struct table *t, const char *const *cells)
{
    if (t->rows == TABLE_ROWS_MAX)
        return;
    if (t->rows == t->rows_cap) {
        size_t cap = t->rows_cap ? t->rows_cap * 2 : 16;
        const char **bigger = arena_array(t->arena, const char *, cap * t->columns);
        if (t->rows)
            memcpy(bigger, t->cells, t->rows * t->columns * sizeof *bigger);
        t->cells = bigger;
        t->rows_cap = cap;
    }
    for (size_t i = 0; i < t->columns; i++)
        t->cells[t->rows * t->columns + i] = cells[i] ? cells[i] : "-";
    t->rows++;
}

/* Columns on the screen: code points, which is right for all that we print but rare scripts. */
static size_t width(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void spaces(struct buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_char(out, ' ');
}

static void write_row(const struct table *t, const char *const *cells, const size_t *widths, const char *indent,
                      struct buf *out)
{
    buf_c(out, indent);
    for (size_t i = 0; i < t->columns; i++) {
        size_t pad = widths[i] - width(cells[i]);
        bool is_right = t->right >> i & 1;
        if (is_right)
            spaces(out, pad);
        buf_c(out, cells[i]);
        if (i + 1 < t->columns)
            spaces(out, (is_right ? 0 : pad) + 2);
    }
    while (out->len && out->p[out->len - 1] == ' ') /* of empty cells at the end */
        out->len--;
    buf_char(out, '\n');
}

void table_write(const struct table *t, const char *indent, struct buf *out)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < t->columns; i++) {
        widths[i] = width(t->heads[i]);
        for (size_t r = 0; r < t->rows; r++) {
            size_t w = width(t->cells[r * t->columns + i]);
            widths[i] = w > widths[i] ? w : widths[i];
        }
    }
    write_row(t, t->heads, widths, indent, out);
    for (size_t r = 0; r < t->rows; r++)
        write_row(t, t->cells + r * t->columns, widths, indent, out);
}

const char *table_bytes(struct arena *a, uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 999.5 && u + 1 < ARRAY_LEN(units)) {
        v /= 1000;
        u++;
    }
    return arena_printf(a, "%.*f %s", u > 0 && v < 9.95 ? 1 : 0, v, units[u]).p;
}

const char *table_duration(struct arena *a, uint64_t ms)
{
    unsigned long long s = ms / 1000, m = s / 60, h = m / 60, d = h / 24;
    if (d)
        return arena_printf(a, "%llud %lluh", d, h % 24).p;
    if (h)
        return arena_printf(a, "%lluh %llum", h, m % 60).p;
    if (m)
        return arena_printf(a, "%llum %llus", m, s % 60).p;
    return arena_printf(a, "%llus", s).p;
}
