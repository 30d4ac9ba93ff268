/* Shared memory between our processes: memfds, mapped. Sparse: pages cost nothing until touched, so sizes may be generous. */
#ifndef SYS_SHM_H
#define SYS_SHM_H

#include "base/err.h"

enum err_code shm_create(const char *name, uint64_t bytes, int *out_fd, struct err *err);
/* Maps [offset, offset + bytes) of the file; offset on a page boundary. */
enum err_code shm_map(int fd, uint64_t offset, uint64_t bytes, bool writable, void **out, struct err *err);
/* Private zero pages, not shared, just as sparse. */
enum err_code shm_map_private(uint64_t bytes, void **out, struct err *err);
void shm_unmap(void *p, uint64_t bytes);
/* Gives the pages of a range back to the system; it reads as zeros afterwards. Works for all mappings above. */
void shm_punch(void *p, uint64_t bytes, bool is_private);

#endif
