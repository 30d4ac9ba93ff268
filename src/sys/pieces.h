/* Memory for an engine's tensors. What is freed stays for what is allocated next: a run that needs 38 MB for its intermediate results would else get them from
 * the kernel page by page, each time anew. The C library's heap is no place for such pieces: it gives back the large ones at once, and of the others it may
 * keep several times what is ever in use, because small ones lie between.
 *
 * In all, in use or kept, there is never more than was once in use at a time. Any thread may call. */
#ifndef SYS_PIECES_H
#define SYS_PIECES_H

#include <stddef.h>

#define PIECES_ALIGN 64 /* of every piece */

struct pieces_use {
    size_t used_bytes, kept_bytes, peak_bytes; /* of large pieces: those from a mebibyte on; peak: of used_bytes */
};

/* NULL: there is none. */
void *pieces_alloc(size_t bytes);
void pieces_free(void *p); /* NULL is fine */
/* To the kernel: what is kept, and what the C library's heap can spare. The next run pays for its memory again. */
void pieces_give_back(void);
struct pieces_use pieces_use(void);

#endif
