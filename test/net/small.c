/* The small parts: traces, time limits, routes, listening sockets. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/accept.h"
#include "net/deadline_int.h"
#include "net/trace_int.h"
#include "t.h"

/* ---- Request ids and traces ---- */

TEST(sane_request_ids_are_kept_and_others_replaced)
{
    struct http_req req = {0};
    trace_identify(&req, STR("Abc_9.-"), (struct str){0});
    EXPECT_CSTR(req.id, "Abc_9.-");
    trace_identify(&req, STR("123456789012345678901234567890123456"), (struct str){0});
    EXPECT_CSTR(req.id, "123456789012345678901234567890123456");
    static const char *const bad[] = {"", "1234567890123456789012345678901234567", "a b", "a\"b", "a/b", "\351"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        trace_identify(&req, str_c(bad[i]), (struct str){0});
        EXPECT_EQ(strlen(req.id), 32);
    }
}

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

TEST(trace_of_the_client_goes_on_with_a_span_of_ours)
{
    static const char *const good[] = {"00-" TRACE "-" SPAN "-01", "cc-" TRACE "-" SPAN "-01-more",
                                       "01-" TRACE "-" SPAN "-ff"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct http_req req = {0};
        trace_identify(&req, (struct str){0}, str_c(good[i]));
        EXPECT_EQ(strlen(req.trace), 55);
        EXPECT_EQ(memcmp(req.trace, "00-" TRACE "-", 36), 0);
        EXPECT(memcmp(req.trace + 36, SPAN, 16) != 0);
        EXPECT_CSTR(req.trace + 52, "-01");
    }
    struct http_req req = {0};
    trace_identify(&req, (struct str){0}, STR("00-" TRACE "-" SPAN "-02"));
    EXPECT_CSTR(req.trace + 52, "-00"); /* not sampled */
}

TEST(malformed_traces_are_replaced)
{
    static const char *const bad[] = {
        "",
        "00-" TRACE "-" SPAN,
        "00-" TRACE "-" SPAN "-01-more",
        "cc-" TRACE "-" SPAN "-01x",
        "ff-" TRACE "-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00_" TRACE "-" SPAN "-01",
        "0g-" TRACE "-" SPAN "-01",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct http_req req = {0};
        trace_identify(&req, (struct str){0}, str_c(bad[i]));
        if (memcmp(req.trace + 3, TRACE, 32) == 0)
            FAIL("'%s' was taken", bad[i]);
        EXPECT_EQ(strlen(req.trace), 55);
        EXPECT_EQ(memcmp(req.trace + 3, req.id, 32), 0); /* one leads to the other */
    }
}

/* ---- Time limits ---- */

TEST(deadlines_expire_in_order)
{
    struct deadline_list l;
    struct deadline a = {0}, b = {0}, c = {0};
    deadline_list_init(&l, 7, 100);
    EXPECT(deadline_first(&l) == NULL);
    deadline_start(&l, &a, 0);
    deadline_start(&l, &b, 10);
    deadline_start(&l, &c, 20);
    EXPECT_EQ(a.kind, 7);
    EXPECT(deadline_expired(&l, 99) == NULL);
    EXPECT(deadline_expired(&l, 100) == &a);
    deadline_start(&l, &a, 50); /* moves to the end */
    EXPECT(deadline_first(&l) == &b);
    deadline_stop(&b);
    deadline_stop(&b);
    EXPECT(!deadline_is_on(&b));
    EXPECT(deadline_expired(&l, 1000) == &c);
    deadline_stop(&c);
    EXPECT(deadline_expired(&l, 149) == NULL);
    EXPECT(deadline_expired(&l, 150) == &a);
}

/* ---- Listening sockets ---- */

TEST(port_in_use_is_said_with_a_remedy)
{
    struct err err = {0};
    int a = -1, b = -1, port = 0;
    EXPECT_EQ(listen_tcp("127.0.0.1", 0, 8, &a, &port, &err), ERR_OK);
    EXPECT(port > 0);
    EXPECT_EQ(listen_tcp("127.0.0.1", port, 8, &b, NULL, &err), ERR_CONFLICT);
    EXPECT(strstr(err.text, "127.0.0.1") != NULL);
    EXPECT(strstr(err.remedy, "--listen") != NULL);
    EXPECT_EQ(b, -1);
    (void)close(a);
}

TEST(address_that_does_not_exist_is_said)
{
    struct err err = {0};
    int fd = -1;
    EXPECT_EQ(listen_tcp("192.0.2.1", 0, 8, &fd, NULL, &err), ERR_IO);
    EXPECT(err.remedy[0] != '\0');
    EXPECT_EQ(listen_tcp("no such host", 0, 8, &fd, NULL, &err), ERR_INVALID);
}

TEST(stale_socket_file_is_replaced_and_a_living_one_is_not)
{
    struct err err = {0};
    char path[200];
    int a = -1, b = -1;
    (void)snprintf(path, sizeof(path), "%s/s", t_tmpdir());
    EXPECT_EQ(listen_unix(path, 0600, 8, &a, &err), ERR_OK);
    struct stat st;
    EXPECT_EQ(stat(path, &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600);
    EXPECT_EQ(listen_unix(path, 0600, 8, &b, &err), ERR_CONFLICT);
    (void)close(a);
    EXPECT_EQ(listen_unix(path, 0600, 8, &b, &err), ERR_OK);
    (void)close(b);
    EXPECT_EQ(unlink(path), 0);
    FILE *f = fopen(path, "w");
    EXPECT(f != NULL);
    (void)fclose(f);
    EXPECT_EQ(listen_unix(path, 0600, 8, &b, &err), ERR_CONFLICT); /* somebody's file is not ours to remove */
    EXPECT_EQ(access(path, F_OK), 0);
}

TEST(long_socket_path_is_refused)
{
    struct err err = {0};
    char path[300];
    int fd = -1;
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    EXPECT_EQ(listen_unix(path, 0600, 8, &fd, &err), ERR_INVALID);
}
