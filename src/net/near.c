#include "net/near.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "sys/fd.h"

#define BUFFER_BYTES     (4 << 20)
#define BUFFER_BYTES_MIN (1 << 20)

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct near_room near_room_allowed(void)
{
    AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int bytes = BUFFER_BYTES;
    socklen_t n = sizeof bytes;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &n) != 0 || bytes / 2 < BUFFER_BYTES_MIN)
        return (struct near_room){0};
    return (struct near_room){.buffer = bytes / 2, .window = bytes / 4}; /* the kernel doubles what is asked for */
}

static bool is_near(int fd)
{
    union address own = {.v6 = {0}}, peer = {.v6 = {0}};
    socklen_t own_len = sizeof own, peer_len = sizeof peer;
    if (getsockname(fd, &own.any, &own_len) != 0 || getpeername(fd, &peer.any, &peer_len) != 0)
        return false;
    if (own.any.sa_family == AF_INET && peer.any.sa_family == AF_INET)
        return own.v4.sin_addr.s_addr == peer.v4.sin_addr.s_addr;
    return own.any.sa_family == AF_INET6 && peer.any.sa_family == AF_INET6 &&
           memcmp(&own.v6.sin6_addr, &peer.v6.sin6_addr, sizeof own.v6.sin6_addr) == 0;
}

bool near_make_room(int fd, struct near_room room)
{
    return room.buffer > 0 && is_near(fd) &&
           setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room.buffer, sizeof room.buffer) == 0;
}

void near_keep_window(int fd, struct near_room room)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &room.window, sizeof room.window); /* only speed */
}
