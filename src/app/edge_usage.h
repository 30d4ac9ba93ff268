/* Memory of all processes together, with what several share (libraries, weights, the segments) counted once: each process's proportional share as the kernel
 * reckons it. That costs the kernel a walk over the process's pages, a tenth of a millisecond to some, so only as many are asked again in a second as fit into
 * EDGE_USAGE_NS; of the others the last answer counts. One for the process; begin, add and end belong to one thread, the total to any. */
#ifndef APP_EDGE_USAGE_H
#define APP_EDGE_USAGE_H

#include <stdint.h>

#define EDGE_USAGE_NS UINT64_C(1000000)

void edge_usage_begin(void);
/* rss_bytes counts until its share is known, and where the kernel does not tell it. */
void edge_usage_add(int pid, uint64_t rss_bytes);
void edge_usage_end(void);

uint64_t edge_usage_total(void); /* as of the last end; 0: none yet */

#endif
