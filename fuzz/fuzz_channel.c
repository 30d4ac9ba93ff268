/* Any bytes as a message on the lifecycle channel, as a child that ran wild could send them, with descriptors or without. What is accepted must
 * keep the contract: known type, bounded payload with zeros behind it; what is not leaves nothing behind. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/json.h"
#include "proc/channel.h"
#include "sys/fd.h"

#define FDS_MAX 253 /* what the kernel carries in one message */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says how many descriptors go along. */
static bool send_raw(int fd, const uint8_t *data, size_t size)
{
    struct iovec iov = {(void *)(uintptr_t)(data + 1), size - 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    size_t n = data[0] <= FDS_MAX ? data[0] : FDS_MAX;
    if (n > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n);
        for (size_t i = 0; i < n; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof fd);
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0;
}

/* As every receiver reads it: an object of scalars, or nothing that matters. */
static void read_payload(struct str payload)
{
    struct json_reader r;
    struct arena a;
    struct str key, text;
    int64_t n;
    arena_init(&a, 4096, 1 << 20);
    json_init(&r, payload, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_starts(key, STR("n")))
            json_i64(&r, &n);
        else if (str_starts(key, STR("s")))
            json_string(&r, &a, &text);
        else
            json_skip(&r, NULL);
    }
    (void)json_end(&r);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct channel_msg msg;
    struct err err;
    int master, child;
    if (size < 2 || size > 2 * CHANNEL_PAYLOAD_MAX)
        return 0;
    CHECK(channel_pair(&master, &child, &err) == ERR_OK);
    int probe = dup(child); /* the lowest free number: nothing may take it for good */
    (void)close(probe);
    if (send_raw(child, data, size)) {
        enum channel_result got = channel_recv(master, &msg);
        CHECK(got != CHANNEL_EMPTY);
        if (got == CHANNEL_MESSAGE) {
            CHECK(msg.type > 0 && msg.type < CHANNEL_TYPE_MAX_);
            CHECK(msg.payload.n == size - 1 - 8 && msg.payload.n <= CHANNEL_PAYLOAD_MAX);
            CHECK(msg.fds_len == data[0] && msg.fds_len <= CHANNEL_FDS_MAX);
            for (size_t i = 0; i < BUF_PAD; i++)
                CHECK(msg.payload.p[msg.payload.n + i] == 0);
            read_payload(msg.payload);
            channel_msg_close(&msg);
        }
        CHECK(msg.fds_len == 0);
    }
    CHECK(fcntl(probe, F_GETFD) < 0);
    (void)fd_close(master);
    (void)fd_close(child);
    return 0;
}
