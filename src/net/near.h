/* Clients on this machine: room for their bodies.
 *
 * A large body comes over the loopback in segments of 64 KB, and what holds them up is our receive buffer. While an unread body makes its
 * window smaller, the kernel acknowledges nothing until we read; then it does so on our processor, where it also frees the client's copy and
 * sends in the client's name what had no room. With a buffer of several bodies and a window that is a part of it the kernel
 * acknowledges as segments arrive, on the client's processor, and a body lies whole in the socket when its head is seen (deferred.c).
 * 100 KB bodies: an eighth to a fifth of the edge's time (docs/batching.md). */
#ifndef NET_NEAR_H
#define NET_NEAR_H

#include <stdbool.h>

/* Bytes that a near client's connection gets; zeros when the system allows so little (net.core.rmem_max below 1 MiB) that the kernel's own
 * growth gets further: it ends where a size is asked for. */
struct near_room {
    int buffer, window;
};

struct near_room near_room_allowed(void);

/* Gives the connection that buffer if its two ends are one address, and says whether. The kernel takes memory only for what lies in it, and
 * bounds the sum over all sockets (net.ipv4.tcp_mem). */
bool near_make_room(int fd, struct near_room room);

/* Before each large body is read: Linux widens the window to the whole buffer whenever segments are packed differently than before. */
void near_keep_window(int fd, struct near_room room);

#endif
