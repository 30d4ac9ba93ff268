#include "sys/huge.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PART ((size_t)96 << 10) /* below the size from which malloc maps memory of its own */
#define PAGE ((uintptr_t)4096)

struct part {
    struct part *next;
};

static struct part *end; /* stays, so that what was before it is not the heap's end, which would be given back */

/* Memory can be advised only when it is there: the heap grows by parts, which are free again at once and lie in one piece. */
void huge_ahead(size_t bytes)
{
    struct part *parts = NULL;
    uintptr_t from = (uintptr_t)sbrk(0);
    for (size_t n = 0; n < bytes + PART; n += PART) {
        struct part *p = malloc(PART);
        if (!p)
            break;
        p->next = parts;
        parts = p;
    }
    uintptr_t to = (uintptr_t)sbrk(0) & ~(PAGE - 1);
    from = (from + PAGE - 1) & ~(PAGE - 1);
    if (to > from)
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
    for (struct part *p = parts ? parts->next : NULL, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    end = parts ? parts : end;
}
