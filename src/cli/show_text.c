#include "cli/show_text.h"

#include <string.h>

#define COLUMNS 100

const char *show_time(struct arena *a, double us)
{
    const char *unit = us >= 1e6 ? "s" : us >= 1e3 ? "ms" : "us";
    double v = us / (us >= 1e6 ? 1e6 : us >= 1e3 ? 1e3 : 1);
    return arena_printf(a, "%.*f %s", v >= 100 ? 0 : v >= 10 ? 1 : 2, v, unit).p;
}

void show_wrapped(struct buf *out, const char *first, const char *indent, const char *text)
{
    size_t column = 0;
    buf_c(out, first);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        if (column > 0 && column + 1 + n > COLUMNS) {
            buf_printf(out, "\n%s", indent);
            column = 0;
        }
        buf_printf(out, "%s%.*s", column ? " " : "", (int)n, p);
        column += n + (column > 0);
        p += n;
        while (*p == ' ')
            p++;
    }
    buf_c(out, "\n");
}
