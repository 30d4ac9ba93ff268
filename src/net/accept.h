/* Opens listening sockets: non-blocking, close-on-exec, SO_REUSEADDR. Errors name the address and the remedy. */
#ifndef NET_ACCEPT_H
#define NET_ACCEPT_H

#include "base/err.h"

/* host: a name or a literal address; port 0: the kernel's choice, told in *bound_port (may be NULL). */
enum err_code listen_tcp(const char *host, int port, int backlog, int *fd, int *bound_port, struct err *err);
/* A stale socket file (nobody answers on it) is replaced; a living one is ERR_CONFLICT. mode: permission bits of the file. */
enum err_code listen_unix(const char *path, unsigned mode, int backlog, int *fd, struct err *err);

#endif
