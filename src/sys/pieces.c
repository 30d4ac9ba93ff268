#include "sys/pieces.h"

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LARGE_BYTES ((size_t)1 << 20)
#define PAGE_BYTES  ((size_t)4096)

struct piece {          /* before its bytes */
    size_t bytes;       /* of the mapping, this included; 0: a small one, of the C library's heap */
    struct piece *next; /* of those that are kept */
};
_Static_assert(sizeof(struct piece) <= PIECES_ALIGN, "a piece begins aligned");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct piece *kept;
static struct pieces_use use;

static void *bytes_of(struct piece *p)
{
    return (unsigned char *)p + PIECES_ALIGN;
}

static void *alloc_small(size_t bytes)
{
    struct piece *p = aligned_alloc(PIECES_ALIGN, (bytes + 2 * PIECES_ALIGN - 1) / PIECES_ALIGN * PIECES_ALIGN);
    if (p == NULL)
        return NULL;
    p->bytes = 0;
    return bytes_of(p);
}

/* The smallest one kept that is large enough; NULL: none. */
static struct piece *take_kept(size_t bytes)
{
    struct piece **best = NULL;
    for (struct piece **at = &kept; *at != NULL; at = &(*at)->next)
        if ((*at)->bytes >= bytes && (best == NULL || (*at)->bytes < (*best)->bytes))
            best = at;
    if (best == NULL)
        return NULL;
    struct piece *p = *best;
    *best = p->next;
    use.kept_bytes -= p->bytes;
    return p;
}

/* Until no more than so much is kept. The one that has lain for longest goes first. */
static void shrink(size_t kept_max)
{
    while (kept != NULL && use.kept_bytes > kept_max) {
        struct piece **at = &kept;
        while ((*at)->next != NULL)
            at = &(*at)->next;
        struct piece *p = *at;
        *at = NULL;
        use.kept_bytes -= p->bytes;
        (void)munmap(p, p->bytes);
    }
}

static struct piece *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static struct piece *alloc_large(size_t bytes)
{
    struct piece *p = take_kept(bytes);
    if (p == NULL) {
        size_t used = use.used_bytes + bytes, peak = used > use.peak_bytes ? used : use.peak_bytes;
        shrink(peak - used);
        p = map(bytes);
        if (p == NULL)
            return NULL;
        p->bytes = bytes;
    }
    use.used_bytes += p->bytes;
    if (use.used_bytes > use.peak_bytes)
        use.peak_bytes = use.used_bytes;
    return p;
}

void *pieces_alloc(size_t bytes)
{
    if (bytes < LARGE_BYTES)
        return alloc_small(bytes);
    if (bytes > SIZE_MAX - PIECES_ALIGN - PAGE_BYTES)
        return NULL;
    (void)pthread_mutex_lock(&lock);
    struct piece *p = alloc_large((bytes + PIECES_ALIGN + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);
    (void)pthread_mutex_unlock(&lock);
    return p != NULL ? bytes_of(p) : NULL;
}

void pieces_free(void *bytes)
{
    if (bytes == NULL)
        return;
    struct piece *p = (struct piece *)(void *)((unsigned char *)bytes - PIECES_ALIGN);
    if (p->bytes == 0) {
        free(p);
        return;
    }
    (void)pthread_mutex_lock(&lock);
    p->next = kept;
    kept = p;
    use.used_bytes -= p->bytes;
    use.kept_bytes += p->bytes;
    (void)pthread_mutex_unlock(&lock);
}

void pieces_give_back(void)
{
    (void)pthread_mutex_lock(&lock);
    shrink(0);
    use.peak_bytes = use.used_bytes;
    (void)pthread_mutex_unlock(&lock);
    (void)malloc_trim(0);
}

struct pieces_use pieces_use(void)
{
    (void)pthread_mutex_lock(&lock);
    struct pieces_use u = use;
    (void)pthread_mutex_unlock(&lock);
    return u;
}
