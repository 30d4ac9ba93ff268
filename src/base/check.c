#include "base/check.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void (*check_panic_hook)(const char *text);

/* Appends by hand: the failure may come from a signal handler, where snprintf is not allowed. */
static size_t append(char *out, size_t size, size_t at, const char *text)
{
    size_t n = strnlen(text, size - 1 - at);
    memcpy(out + at, text, n);
    out[at + n] = '\0';
    return at + n;
}

static void format_line(int line, char out[12])
{
    char digits[11];
    size_t n = 0;
    unsigned left = line < 0 ? 0 : (unsigned)line;
    do {
        digits[n++] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[n - 1 - i];
    out[n] = '\0';
}

void check_failed(const char *expr, const char *file, int line)
{
    static atomic_flag has_panicked = ATOMIC_FLAG_INIT;
    char text[512], number[12];
    size_t n = 0;
    format_line(line, number);
    n = append(text, sizeof text, n, "check failed: ");
    n = append(text, sizeof text, n, expr);
    n = append(text, sizeof text, n, " at ");
    n = append(text, sizeof text, n, file);
    n = append(text, sizeof text, n, ":");
    n = append(text, sizeof text, n, number);
    /* Only the first failure reports: the hook itself, or another thread, may fail as well. */
    if (!atomic_flag_test_and_set(&has_panicked)) {
        if (check_panic_hook != NULL)
            check_panic_hook(text);
        text[n < sizeof text - 1 ? n++ : n - 1] = '\n';
        ssize_t written = write(STDERR_FILENO, text, n);
        (void)written; /* nobody is left to be told */
    }
    abort();
}
