/* Room for clients on this machine. */
#include "net/near.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "t.h"

struct pair {
    int server, client;
};

/* A connection from that address to 127.0.0.1. */
static struct pair connected_from(const char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address)};
    socklen_t n = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct pair p = {.client = socket(AF_INET, SOCK_STREAM, 0)};
    EXPECT_EQ(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    EXPECT_EQ(listen(listener, 1), 0);
    EXPECT_EQ(getsockname(listener, (struct sockaddr *)&at, &n), 0);
    EXPECT_EQ(bind(p.client, (struct sockaddr *)&from, sizeof from), 0);
    EXPECT_EQ(connect(p.client, (struct sockaddr *)&at, sizeof at), 0);
    p.server = accept(listener, NULL, NULL);
    EXPECT(p.server >= 0);
    (void)close(listener);
    return p;
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t n = sizeof value;
    EXPECT_EQ(getsockopt(fd, level, name, &value, &n), 0);
    return value;
}

/* Small enough for every system's net.core.rmem_max. */
static const struct near_room small = {.buffer = 100000, .window = 50000};

TEST(near_client_gets_room)
{
    struct pair p = connected_from("127.0.0.1");
    EXPECT(near_make_room(p.server, small));
    EXPECT_EQ(option(p.server, SOL_SOCKET, SO_RCVBUF), 2 * small.buffer);
    near_keep_window(p.server, small);
    EXPECT_EQ(option(p.server, IPPROTO_TCP, TCP_WINDOW_CLAMP), small.window);
}

TEST(far_client_keeps_what_the_system_gives)
{
    struct pair p = connected_from("127.0.0.2");
    int before = option(p.server, SOL_SOCKET, SO_RCVBUF);
    EXPECT(!near_make_room(p.server, small));
    EXPECT_EQ(option(p.server, SOL_SOCKET, SO_RCVBUF), before);
}

TEST(no_room_where_nothing_is_allowed)
{
    struct pair p = connected_from("127.0.0.1");
    EXPECT(!near_make_room(p.server, (struct near_room){0}));
}

TEST(allowed_room_is_what_the_kernel_grants)
{
    struct near_room room = near_room_allowed();
    if (room.buffer == 0) { /* so little is allowed here: nothing is asked for */
        EXPECT_EQ(room.window, 0);
        return;
    }
    EXPECT(room.buffer >= 1 << 20);
    EXPECT(room.window > 0 && room.window < room.buffer);
    struct pair p = connected_from("127.0.0.1");
    EXPECT(near_make_room(p.server, room));
    EXPECT_EQ(option(p.server, SOL_SOCKET, SO_RCVBUF), 2 * room.buffer);
}
