#include "proc/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "sys/fd.h"
#include "t.h"

struct pair {
    int master, child;
    struct channel_msg msg;
    struct err err;
};

static struct pair *pair_new(void)
{
    static struct pair p;
    memset(&p, 0xAA, sizeof p); /* nothing may depend on what was there */
    if (channel_pair(&p.master, &p.child, &p.err))
        FAIL("%s", p.err.text);
    return &p;
}

static void send_text(struct pair *p, enum channel_type type, struct str text)
{
    if (channel_send(p->master, type, text, NULL, 0, &p->err))
        FAIL("%s", p->err.text);
}

TEST(messages_arrive_whole_and_in_order)
{
    struct pair *p = pair_new();
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_EMPTY);
    send_text(p, CHANNEL_LAUNCH, STR("{\"role\":\"edge\"}"));
    send_text(p, CHANNEL_DRAIN, STR(""));
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_MESSAGE);
    EXPECT_EQ(p->msg.type, CHANNEL_LAUNCH);
    EXPECT_STR(p->msg.payload, "{\"role\":\"edge\"}");
    EXPECT_EQ(p->msg.fds_len, 0);
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_MESSAGE);
    EXPECT_EQ(p->msg.type, CHANNEL_DRAIN);
    EXPECT_EQ(p->msg.payload.n, 0);
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_EMPTY);
}

TEST(both_directions)
{
    struct pair *p = pair_new();
    EXPECT_EQ(channel_send(p->child, CHANNEL_READY, STR("{}"), NULL, 0, &p->err), ERR_OK);
    EXPECT_EQ(channel_recv(p->master, &p->msg), CHANNEL_MESSAGE);
    EXPECT_EQ(p->msg.type, CHANNEL_READY);
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_EMPTY);
}

TEST(descriptors_are_not_inherited_by_accident)
{
    struct pair *p = pair_new();
    EXPECT_EQ(fcntl(p->master, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(p->child, F_GETFD), FD_CLOEXEC);
    EXPECT(fcntl(p->master, F_GETFL) & O_NONBLOCK);
}

TEST(the_largest_payload)
{
    struct pair *p = pair_new();
    static char text[CHANNEL_PAYLOAD_MAX];
    memset(text, 'x', sizeof text);
    send_text(p, CHANNEL_MODEL, (struct str){text, sizeof text});
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_MESSAGE);
    EXPECT_EQ(p->msg.payload.n, sizeof text);
    EXPECT_EQ(memcmp(p->msg.payload.p, text, sizeof text), 0);
    for (size_t i = 0; i < BUF_PAD; i++)
        EXPECT_EQ(p->msg.payload.p[sizeof text + i], 0); /* the JSON reader looks ahead */
}

TEST(more_is_a_programmers_error)
{
    struct pair *p = pair_new();
    static char text[CHANNEL_PAYLOAD_MAX + 1];
    static int fds[CHANNEL_FDS_MAX + 1];
    EXPECT_ABORT((void)channel_send(p->master, CHANNEL_MODEL, (struct str){text, sizeof text}, NULL, 0, &p->err));
    EXPECT_ABORT((void)channel_send(p->master, CHANNEL_MODEL, STR(""), fds, CHANNEL_FDS_MAX + 1, &p->err));
}

/* ---- descriptors ---- */

static bool same_file(int a, int b)
{
    char pa[64], pb[64], la[256] = "", lb[256] = "";
    (void)snprintf(pa, sizeof pa, "/proc/self/fd/%d", a);
    (void)snprintf(pb, sizeof pb, "/proc/self/fd/%d", b);
    return readlink(pa, la, sizeof la - 1) > 0 && readlink(pb, lb, sizeof lb - 1) > 0 && strcmp(la, lb) == 0;
}

TEST(descriptors_travel)
{
    struct pair *p = pair_new();
    int fds[2] = {open("/dev/zero", O_RDONLY), open("/dev/full", O_RDONLY)};
    EXPECT_EQ(channel_send(p->master, CHANNEL_LAUNCH, STR("{}"), fds, 2, &p->err), ERR_OK);
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_MESSAGE);
    EXPECT_EQ(p->msg.fds_len, 2);
    EXPECT(same_file(p->msg.fds[0], fds[0]));
    EXPECT(same_file(p->msg.fds[1], fds[1]));
    EXPECT_EQ(fcntl(p->msg.fds[0], F_GETFD), FD_CLOEXEC);
    int taken = p->msg.fds[0], other = p->msg.fds[1];
    p->msg.fds[0] = -1;
    channel_msg_close(&p->msg);
    EXPECT_EQ(p->msg.fds_len, 0);
    EXPECT(fcntl(taken, F_GETFD) >= 0);
    EXPECT_EQ(fcntl(other, F_GETFD), -1);
}

TEST(as_many_descriptors_as_allowed)
{
    struct pair *p = pair_new();
    int fds[CHANNEL_FDS_MAX];
    for (int i = 0; i < CHANNEL_FDS_MAX; i++)
        fds[i] = 0;
    EXPECT_EQ(channel_send(p->master, CHANNEL_LAUNCH, STR("{}"), fds, CHANNEL_FDS_MAX, &p->err), ERR_OK);
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_MESSAGE);
    EXPECT_EQ(p->msg.fds_len, CHANNEL_FDS_MAX);
    channel_msg_close(&p->msg);
}

/* ---- peers that are broken ---- */

static int open_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* What a child could write to its channel. */
static void send_raw(int fd, const void *bytes, size_t n, size_t fds_len)
{
    struct iovec iov = {(void *)(uintptr_t)bytes, n};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 250)];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fds_len) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds_len);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fds_len); /* all zero: stdin */
    }
    EXPECT_EQ(sendmsg(fd, &msg, MSG_NOSIGNAL), (ssize_t)n);
}

TEST(malformed_messages_close)
{
    static const struct {
        uint32_t head[3];
        size_t bytes;
    } cases[] = {
        {{CHANNEL_READY, 0, 0}, 4},           /* half a header */
        {{CHANNEL_READY, 0, 0}, 1},           /* one byte */
        {{CHANNEL_READY, 4, 0}, 8},           /* promises more than there is */
        {{CHANNEL_READY, 0, 0}, 12},          /* has more than it promises */
        {{CHANNEL_READY, UINT32_MAX, 0}, 12}, /* */
        {{0, 4, 0}, 12},                      /* types that are none */
        {{CHANNEL_TYPE_MAX_, 4, 0}, 12},      /* */
        {{UINT32_MAX, 4, 0}, 12},             /* */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair *p = pair_new();
        send_raw(p->child, cases[i].head, cases[i].bytes, 0);
        EXPECT_EQ(channel_recv(p->master, &p->msg), CHANNEL_CLOSED);
        EXPECT_EQ(p->msg.fds_len, 0);
        (void)close(p->master);
        (void)close(p->child);
    }
}

TEST(an_oversize_message_closes)
{
    struct pair *p = pair_new();
    static struct {
        uint32_t type, len;
        char text[CHANNEL_PAYLOAD_MAX + 1];
    } m = {CHANNEL_READY, CHANNEL_PAYLOAD_MAX + 1, {0}};
    send_raw(p->child, &m, 8 + CHANNEL_PAYLOAD_MAX + 1, 0);
    EXPECT_EQ(channel_recv(p->master, &p->msg), CHANNEL_CLOSED);
}

TEST(descriptors_of_malformed_messages_are_not_leaked)
{
    static const uint32_t bad[2] = {99, 0}, good[2] = {CHANNEL_READY, 0};
    struct pair *p = pair_new();
    int before = open_descriptors();
    send_raw(p->child, bad, sizeof bad, 5);
    EXPECT_EQ(channel_recv(p->master, &p->msg), CHANNEL_CLOSED);
    EXPECT_EQ(open_descriptors(), before);
    send_raw(p->child, good, sizeof good, CHANNEL_FDS_MAX + 50); /* more than fit: cut by the kernel */
    EXPECT_EQ(channel_recv(p->master, &p->msg), CHANNEL_CLOSED);
    EXPECT_EQ(open_descriptors(), before);
}

/* "from master to child only, descriptors": a child that sends some must not be able to fill the master's table. */
TEST(descriptors_from_a_child_do_not_stay)
{
    static const uint32_t good[2] = {CHANNEL_READY, 0};
    struct pair *p = pair_new();
    int before = open_descriptors();
    for (int i = 0; i < 20; i++) {
        send_raw(p->child, good, sizeof good, 3);
        EXPECT_EQ(channel_recv(p->master, &p->msg), CHANNEL_MESSAGE);
        channel_msg_close(&p->msg); /* the master's part of the contract */
    }
    EXPECT_EQ(open_descriptors(), before);
}

TEST(the_end_of_the_other_side)
{
    struct pair *p = pair_new();
    send_text(p, CHANNEL_DRAIN, STR("last words"));
    (void)close(p->master);
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_MESSAGE);
    EXPECT_STR(p->msg.payload, "last words");
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_CLOSED);
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_CLOSED);
    EXPECT_EQ(channel_send(p->child, CHANNEL_READY, STR("{}"), NULL, 0, &p->err), ERR_UNAVAILABLE); /* no SIGPIPE */
    EXPECT_EQ(channel_recv(-1, &p->msg), CHANNEL_CLOSED);
}

TEST(a_child_that_reads_nothing_is_stuck_after_a_second)
{
    struct pair *p = pair_new();
    static char text[CHANNEL_PAYLOAD_MAX];
    enum err_code code = ERR_OK;
    uint64_t start = 0, took = 0;
    for (int i = 0; i < 1000 && code == ERR_OK; i++) {
        start = clock_now_ns();
        code = channel_send(p->master, CHANNEL_MODEL, (struct str){text, sizeof text}, NULL, 0, &p->err);
        took = clock_now_ns() - start;
    }
    EXPECT_EQ(code, ERR_TIMEOUT);
    EXPECT(str_contains(str_c(p->err.text), STR("the other side reads nothing")));
    EXPECT(took >= 900 * NS_PER_MS);
    EXPECT(took < 5 * NS_PER_S);
    EXPECT_EQ(channel_recv(p->child, &p->msg), CHANNEL_MESSAGE); /* what was sent is there */
}

TEST(a_full_buffer_that_is_read_in_time_is_no_error)
{
    struct pair *p = pair_new();
    static char text[CHANNEL_PAYLOAD_MAX];
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(p->master);
        for (;;) {
            enum channel_result got = channel_recv(p->child, &p->msg);
            if (got == CHANNEL_CLOSED)
                _exit(0);
            (void)usleep(2000);
        }
    }
    (void)close(p->child);
    for (int i = 0; i < 60; i++)
        send_text(p, CHANNEL_MODEL, (struct str){text, sizeof text});
    (void)close(p->master);
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

TEST(what_went_wrong_is_told_with_its_remedy)
{
    struct err err;
    struct buf text;
    err_set(&err, ERR_INVALID, "the \"file\" is cut off");
    err_remedy(&err, "copy it again");
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    channel_write_err(&text, 0, &err);
    EXPECT_STR(buf_view(&text), "{\"text\":\"the \\\"file\\\" is cut off\",\"remedy\":\"copy it again\"}");
    buf_clear(&text);
    channel_write_err(&text, 7, &(struct err){0});
    EXPECT_STR(buf_view(&text), "{\"segment\":7,\"text\":\"\",\"remedy\":\"\"}");
    buf_done(&text);
}
