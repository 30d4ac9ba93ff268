/* How long a thread runs before others of its priority get their turn. Who wakes up with a shorter slice takes the processor at once from one with a longer: work that
 * nobody waits for gets as much of the processor as before, but does not keep who answers requests from it. Kernels before 6.12 do not know
 * slices, and nothing changes. */
#ifndef SYS_SLICE_H
#define SYS_SLICE_H

#include <stdint.h>

#define SLICE_DEFAULT 0
#define SLICE_MASTER  UINT64_C(6000000) /* ns; the usual one is about 3 ms */
#define SLICE_LOADING UINT64_C(20000000)

/* Of the calling thread; threads and processes that it makes begin with the same. Policy and priority stay. */
void slice_set(uint64_t ns);

#endif
