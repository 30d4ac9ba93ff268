/* Huge pages for what is about to be built in the C library's heap. */
#ifndef SYS_HUGE_H
#define SYS_HUGE_H

#include <stddef.h>

/* What is allocated next, up to about so many bytes, lies in huge pages where the kernel has them for the asking: one fault in place of 512, and as much less
 * to walk. For who is going to use all of it: memory is taken in pieces of 2 MiB. Once in a process, and only the heap of
 * the main arena of the C library, with one thread; else it does nothing. */
void huge_ahead(size_t bytes);

#endif
