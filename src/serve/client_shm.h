/* Memory of clients on this machine (POSIX shared memory, by its key in /dev/shm) that tensors are read from and written to without passing through
 * a socket. Bytes move through the region's descriptor, never through a mapping: a client that shrinks, seals or removes what it registered gets
 * an error, and cannot end us with SIGBUS. Nothing of a client's memory is ever trusted twice: it is copied, then read.
 * One table for all threads of the process; every function may be called on any of them. Off until client_shm_allow. */
#ifndef SERVE_CLIENT_SHM_H
#define SERVE_CLIENT_SHM_H

#include "base/err.h"
#include "base/json.h"

#define CLIENT_SHM_REGIONS_MAX 1024
#define CLIENT_SHM_NAME_MAX    255
#define CLIENT_SHM_BYTES_MAX   ((uint64_t)64 << 30) /* of all regions together */

void client_shm_allow(bool is_allowed);
bool client_shm_is_allowed(void);

/* The region [offset, offset + bytes) of what the key names must exist. A name is taken once. */
enum err_code client_shm_register(struct str name, struct str key, uint64_t offset, uint64_t bytes, struct err *err);
/* Gives the region back, or all; an unknown name is fine. Who still uses it gets an error at its next access. */
void client_shm_unregister(struct str name);
void client_shm_unregister_all(void);
/* [{"name", "key", "offset", "byte_size"}], of all regions when name.p is NULL. ERR_NOT_FOUND leaves w untouched. */
enum err_code client_shm_status(struct str name, struct json_writer *w, struct err *err);

/* A part of a region as a request names it. Valid for the registration that it was found in, and no later one of the same name. */
struct client_shm_part {
    struct str name; /* borrowed from the request */
    uint64_t id, offset, bytes;
};

/* Fills p->id when the region is there and the part lies inside. */
enum err_code client_shm_find(struct client_shm_part *p, struct err *err);
/* The first n bytes of the part, n at most p->bytes. */
enum err_code client_shm_read(const struct client_shm_part *p, void *out, size_t n, struct err *err);
enum err_code client_shm_write(const struct client_shm_part *p, const void *bytes, size_t n, struct err *err);

#endif
