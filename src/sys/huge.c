#include "sys/huge.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#define PART   ((size_t)96 << 10)   /* below the size from which malloc maps memory of its own */
#define HEADER (2 * sizeof(size_t)) /* before each piece: malloc's sizes of it and of the one before */

struct part {
    struct part *next;
};

static struct part *end; /* stays, so that what was before it is not the heap's end, which would be given back */

/* Memory can be advised only when it is there: the heap grows by parts, which are free again at once and lie in one piece. What malloc wrote into each is
 * there in a small page already, which would keep the huge one out: it is given back, but for the piece's beginning, which is in use. Other threads could
 * have been given some of it meanwhile. */
void huge_ahead(size_t bytes)
{
    if (end || !__libc_single_threaded)
        return;
    struct part *parts = NULL;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)sbrk(0);
    for (size_t n = 0; n < bytes + PART; n += PART) {
        struct part *p = malloc(PART);
        if (!p)
            break;
        p->next = parts;
        parts = p;
    }
    uintptr_t to = (uintptr_t)sbrk(0) & ~(page - 1), last = ((uintptr_t)parts - HEADER) & ~(page - 1);
    from = (from + page - 1) & ~(page - 1);
    for (struct part *p = parts ? parts->next : NULL, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    if (!parts)
        return;
    end = parts;
    if (last <= from + page || last >= to) /* not all of it is the heap's */
        return;
    (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
    (void)madvise((void *)(from + page), last - (from + page), MADV_DONTNEED);
}
