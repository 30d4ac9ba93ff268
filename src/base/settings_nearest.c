#include "base/settings.h"

#include <string.h>

#define WORD_MAX 48

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == '-' ? '_' : c;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Edits that turn a into b: insert, delete, replace, swap of neighbours ("optimal string alignment"). Capital letters and - for _
 * cost nothing. */
static size_t edits(struct str a, struct str b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.n; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            char x = lower(a.p[i - 1]), y = lower(b.p[j - 1]);
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (x != y));
            bool is_swap = i > 1 && j > 1 && x == lower(b.p[j - 2]) && y == lower(a.p[i - 2]);
            if (is_swap && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.n];
}

const char *settings_nearest(struct str word, const char *const *names, size_t names_len)
{
    const char *best = NULL;
    size_t best_edits = 0;
    if (word.n == 0 || word.n > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < names_len; i++) {
        struct str name = str_c(names[i]);
        size_t longest = word.n > name.n ? word.n : name.n;
        if (name.n == 0 || name.n > WORD_MAX)
            continue;
        size_t n = edits(word, name);
        /* A third of the letters wrong is a typo, more is another word. One wrong letter in two says nothing. */
        if (n > longest / 3 || (best && n >= best_edits))
            continue;
        best = names[i];
        best_edits = n;
    }
    return best;
}
