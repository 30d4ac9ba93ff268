#include "proc/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/json.h"
#include "sys/fd.h"

struct channel_head {
    uint32_t type, len;
};

enum err_code channel_pair(int *out_master, int *out_child, struct err *err)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return err_sys(err, ERR_IO, errno, "cannot make a lifecycle channel");
    *out_master = fds[0];
    *out_child = fds[1];
    return ERR_OK;
}

void channel_write_err(struct buf *out, uint32_t segment, const struct err *e)
{
    struct json_writer j;
    jw_init(&j, out);
    jw_object(&j);
    if (segment)
        jw_kv_u64(&j, "segment", segment);
    jw_kv_c(&j, "text", e->text);
    jw_kv_c(&j, "remedy", e->remedy);
    jw_object_end(&j);
}

enum err_code channel_send(int fd, enum channel_type type, struct str payload, const int *fds, size_t fds_len,
                           struct err *err)
{
    CHECK(payload.n <= CHANNEL_PAYLOAD_MAX && fds_len <= CHANNEL_FDS_MAX);
    struct channel_head head = {.type = (uint32_t)type, .len = (uint32_t)payload.n};
    struct iovec iov[2] = {{&head, sizeof head}, {(void *)(uintptr_t)payload.p, payload.n}};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
    } control = {0};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    if (fds_len > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds_len);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fds_len);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * fds_len);
    }
    for (int tries = 0; tries < 100; tries++) {
        if (sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0)
            return ERR_OK;
        if (errno != EAGAIN && errno != EINTR)
            return err_sys(err, ERR_UNAVAILABLE, errno, "lifecycle channel");
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        (void)poll(&p, 1, 10);
    }
    return err_set(err, ERR_TIMEOUT, "lifecycle channel: the other side reads nothing");
}

static void take_fds(struct msghdr *msg, struct channel_msg *out)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n && out->fds_len < CHANNEL_FDS_MAX; i++)
            memcpy(&out->fds[out->fds_len++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
}

enum channel_result channel_recv(int fd, struct channel_msg *out)
{
    struct channel_head head;
    struct iovec iov[2] = {{&head, sizeof head}, {out->text, CHANNEL_PAYLOAD_MAX}};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
    } control;
    struct msghdr msg = {
        .msg_iov = iov, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    out->fds_len = 0;
    ssize_t n;
    do
        n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? CHANNEL_EMPTY : CHANNEL_CLOSED;
    take_fds(&msg, out);
    bool is_whole = n >= (ssize_t)sizeof head && (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
                    head.len == (size_t)n - sizeof head && head.type > 0 && head.type < CHANNEL_TYPE_MAX_;
    if (!is_whole) {
        channel_msg_close(out);
        return CHANNEL_CLOSED;
    }
    out->type = (enum channel_type)head.type;
    out->payload = (struct str){out->text, head.len};
    memset(out->text + head.len, 0, BUF_PAD); /* the JSON reader looks ahead */
    return CHANNEL_MESSAGE;
}

void channel_msg_close(struct channel_msg *m)
{
    for (size_t i = 0; i < m->fds_len; i++)
        m->fds[i] = fd_close(m->fds[i]);
    m->fds_len = 0;
}
