#include "proc/report.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/json.h"
#include "sys/fd.h"
#include "t.h"

static struct report_shm *shm;
static struct buf text; /* of the last report */

/* Runs the life of a child with a report segment; the report of its death is in text afterwards. */
static struct str report_of(void (*life)(void), const char *reason)
{
    struct err err;
    int fd, status;
    if (report_create(&fd, &shm, &err))
        FAIL("%s", err.text);
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(fd, REPORT_FD) < 0 || report_install(&err))
            _exit(99);
        life();
        _exit(0);
    }
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    (void)fd_close(fd);
    buf_init(&text, 1 << 20);
    report_write(shm,
                 &(struct report_about){.id = "c1",
                                        .role = "worker",
                                        .model = "iris",
                                        .version = "3",
                                        .instance = 2,
                                        .pid = (int)pid,
                                        .wait_status = status,
                                        .time_ms = 1234,
                                        .reason = reason},
                 &text);
    EXPECT(!text.failed);
    buf_pad(&text);
    return buf_view(&text);
}

static void done(void)
{
    buf_done(&text);
    report_unmap(shm);
}

/* The text of one member; a JSON that cannot be read fails the test. */
static struct str member(struct str json, const char *name)
{
    struct json_reader r;
    struct str key, raw, found = STR("");
    json_init(&r, json, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        bool is_it = str_eq_c(key, name);
        json_skip(&r, &raw);
        if (is_it)
            found = raw;
    }
    if (json_end(&r))
        FAIL("%s in %.*s", r.err.text, STR_F(json));
    return found;
}

#define EXPECT_MEMBER(json, name, text) EXPECT_STR(member((json), (name)), (text))
#define EXPECT_PART(json, name, text)   EXPECT(str_contains(member((json), (name)), STR(text)))

static void note_requests(void)
{
    const char *ids[] = {"req-a", "req-b"};
    report_requests(ids, 2);
}

/* A name that the stack must show. Under AddressSanitizer the fault must not go through instrumented code. */
__attribute__((noinline, visibility("default"))) void t_report_fault(void);
__attribute__((noinline, no_sanitize("address", "undefined", "thread"))) void t_report_fault(void)
{
    volatile int *volatile nowhere = (volatile int *)(uintptr_t)0x40;
    *nowhere = 1;
}

static void life_segv(void)
{
    note_requests();
    t_report_fault();
}

TEST(a_fault)
{
    struct str json = report_of(life_segv, NULL);
    EXPECT_MEMBER(json, "id", "\"c1\"");
    EXPECT_MEMBER(json, "role", "\"worker\"");
    EXPECT_MEMBER(json, "model", "\"iris\"");
    EXPECT_MEMBER(json, "version", "\"3\"");
    EXPECT_MEMBER(json, "instance", "2");
    EXPECT_MEMBER(json, "time_ms", "1234");
    EXPECT_MEMBER(json, "signal", "11");
    EXPECT_MEMBER(json, "signal_name", "\"SIGSEGV\"");
    EXPECT_MEMBER(json, "reason", "\"invalid memory access at address 0x40\"");
    EXPECT_MEMBER(json, "request_id", "\"req-a\"");
    EXPECT_MEMBER(json, "request_ids", "[\"req-a\",\"req-b\"]");
    EXPECT_PART(json, "stack", "test_proc ");
    done();
}

static void life_check(void)
{
    note_requests();
    CHECK(1 + 1 == 3);
}

TEST(a_failed_check)
{
    struct str json = report_of(life_check, NULL);
    EXPECT_MEMBER(json, "signal_name", "\"SIGABRT\"");
    EXPECT_PART(json, "reason", "check failed: 1 + 1 == 3 at ");
    EXPECT_PART(json, "reason", "t_report.c");
    EXPECT_MEMBER(json, "request_id", "\"req-a\"");
    EXPECT_PART(json, "stack", "libc.so.6 ");
    done();
}

static void life_killed(void)
{
    note_requests();
    (void)kill(getpid(), SIGKILL);
}

TEST(a_kill_from_outside_leaves_the_notes)
{
    struct str json = report_of(life_killed, NULL);
    EXPECT_MEMBER(json, "signal_name", "\"SIGKILL\"");
    EXPECT_PART(json, "reason", "killed from outside");
    EXPECT_MEMBER(json, "request_ids", "[\"req-a\",\"req-b\"]");
    EXPECT_MEMBER(json, "stack", "[]");
    done();
}

TEST(the_masters_own_reason_comes_first)
{
    struct str json = report_of(life_killed, "hung: a run took longer than 1000 ms");
    EXPECT_MEMBER(json, "reason", "\"hung: a run took longer than 1000 ms\"");
    done();
}

static void life_exit(void)
{
    _exit(3);
}

TEST(an_exit)
{
    struct str json = report_of(life_exit, NULL);
    EXPECT_MEMBER(json, "signal", "0");
    EXPECT_MEMBER(json, "signal_name", "\"\"");
    EXPECT_MEMBER(json, "reason", "\"ended by itself with exit code 3\"");
    EXPECT_MEMBER(json, "request_id", "\"\"");
    EXPECT_MEMBER(json, "request_ids", "[]");
    EXPECT_MEMBER(json, "stack", "[]");
    done();
}

static void life_term(void)
{
    (void)signal(SIGTERM, SIG_DFL);
    (void)raise(SIGTERM);
}

TEST(another_signal)
{
    struct str json = report_of(life_term, NULL);
    EXPECT_MEMBER(json, "signal", "15");
    EXPECT_PART(json, "reason", "ended by signal 15");
    done();
}

/* The stack that overflowed cannot run the handler: it has its own. */
__attribute__((noinline, no_sanitize("address", "undefined", "thread"))) static int overflow(volatile int n)
{
    volatile char room[4096];
    room[n % 4096] = (char)n;
    return n > INT32_MAX - 2 ? room[0] : overflow(n + 1) + room[n % 4096];
}
static void life_overflow(void)
{
    note_requests();
    (void)overflow(0);
}

TEST(a_stack_overflow)
{
    struct str json = report_of(life_overflow, NULL);
    EXPECT_MEMBER(json, "signal_name", "\"SIGSEGV\"");
    EXPECT_PART(json, "reason", "invalid memory access");
    EXPECT_MEMBER(json, "request_id", "\"req-a\"");
    done();
}

static void life_many(void)
{
    static const char *const ids[] = {"1", "2", "3", "4", "5", "6"};
    report_requests(ids, 6);
    _exit(1);
}
static void life_long_id(void)
{
    const char *ids[] = {"0123456789012345678901234567890123456789 and more"};
    report_requests(ids, 1);
    _exit(1);
}
static void life_finished(void)
{
    note_requests();
    report_requests(NULL, 0);
    _exit(1);
}

TEST(request_ids_are_bounded)
{
    EXPECT_MEMBER(report_of(life_many, NULL), "request_ids", "[\"1\",\"2\",\"3\",\"4\"]");
    done();
    EXPECT_MEMBER(report_of(life_long_id, NULL), "request_ids", "[\"012345678901234567890123456789012345678\"]");
    done();
    EXPECT_MEMBER(report_of(life_finished, NULL), "request_ids", "[]");
    done();
}

static pthread_barrier_t noted;

static void *neighbour(void *arg)
{
    const char *ids[] = {arg};
    report_requests(ids, 1);
    (void)pthread_barrier_wait(&noted);
    while (pause() < 0)
        ;
    return NULL;
}

/* An edge with inline models. */
static void note_in_three_threads(void)
{
    static char names[2][8] = {"left", "right"};
    pthread_t thread;
    CHECK(pthread_barrier_init(&noted, NULL, 3) == 0);
    note_requests();
    for (size_t i = 0; i < 2; i++)
        CHECK(pthread_create(&thread, NULL, neighbour, names[i]) == 0);
    (void)pthread_barrier_wait(&noted);
}

static void life_threads_segv(void)
{
    note_in_three_threads();
    t_report_fault();
}

static void life_threads_killed(void)
{
    note_in_three_threads();
    (void)kill(getpid(), SIGKILL);
}

TEST(requests_of_several_threads_are_told_apart)
{
    EXPECT_MEMBER(report_of(life_threads_segv, NULL), "request_ids", "[\"req-a\",\"req-b\"]");
    done();
    struct str json = report_of(life_threads_killed, NULL);
    EXPECT_MEMBER(json, "request_id", "\"req-a\"");
    EXPECT_PART(json, "request_ids", "[\"req-a\",\"req-b\",");
    EXPECT_PART(json, "request_ids", "\"left\"");
    EXPECT_PART(json, "request_ids", "\"right\"");
    done();
}

TEST(without_a_segment_notes_go_nowhere)
{
    note_requests(); /* in tests and in the master */
}

/* ---- a segment that a wild child wrote over ---- */

static struct str written(int wait_status)
{
    buf_init(&text, 1 << 20);
    report_write(shm, &(struct report_about){.id = "c", .role = "worker", .wait_status = wait_status}, &text);
    EXPECT(!text.failed);
    buf_pad(&text);
    return buf_view(&text);
}

TEST(hostile_content_is_cleaned)
{
    struct err err;
    int fd;
    EXPECT_EQ(report_create(&fd, &shm, &err), ERR_OK);
    (void)fd_close(fd);
    static const unsigned char fills[] = {0x00, 0xFF, 0x7F, 0x1B, '"', '\\', 'A'};
    for (size_t f = 0; f < ARRAY_LEN(fills); f++) {
        memset(shm, fills[f], sizeof *shm);
        struct str json = written(SIGSEGV);
        (void)member(json, "stack"); /* readable */
        for (size_t i = 0; i < json.n; i++)
            EXPECT(json.p[i] >= ' ' && json.p[i] < 127);
        EXPECT(json.n < 32000);
        buf_done(&text);
    }
    done();
}

TEST(lengths_that_lie)
{
    struct err err;
    int fd;
    EXPECT_EQ(report_create(&fd, &shm, &err), ERR_OK);
    (void)fd_close(fd);
    atomic_store(&shm->crashed, 1);
    shm->frames_len = UINT32_MAX;
    atomic_store(&shm->threads, UINT32_MAX);
    memset(shm->work, 0xFF, sizeof shm->work); /* of each thread more than it has room for */
    for (size_t i = 0; i < REPORT_THREADS_MAX; i++)
        memset(shm->work[i].ids, 'r', sizeof shm->work[i].ids);
    memset(shm->frames, 's', sizeof shm->frames);
    memset(shm->text, 't', sizeof shm->text);
    struct str json = written(SIGABRT);
    struct json_reader r;
    struct str key, raw;
    uint32_t frames = 0, requests = 0;
    json_init(&r, json, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        bool is_stack = str_eq_c(key, "stack"), is_ids = str_eq_c(key, "request_ids");
        if (!is_stack && !is_ids) {
            json_skip(&r, NULL);
            continue;
        }
        json_array(&r);
        while (json_item(&r)) {
            json_skip(&r, &raw);
            frames += is_stack;
            requests += is_ids;
            EXPECT(raw.n < 300);
        }
    }
    EXPECT_EQ(json_end(&r), ERR_OK);
    EXPECT_EQ(frames, REPORT_FRAMES_MAX);
    EXPECT_EQ(requests, 16);
    done();
}

TEST(a_cleared_segment_tells_nothing_of_the_life_before)
{
    (void)report_of(life_check, NULL);
    buf_done(&text);
    report_clear(shm);
    struct str json = written(SIGKILL);
    EXPECT_PART(json, "reason", "killed from outside");
    EXPECT_MEMBER(json, "request_ids", "[]");
    EXPECT_MEMBER(json, "stack", "[]");
    done();
}

TEST(a_child_without_the_segment_cannot_install)
{
    struct err err;
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(REPORT_FD);
        _exit(report_install(&err) != ERR_OK && str_contains(str_c(err.text), STR("crash report segment")) ? 0 : 1);
    }
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    report_unmap(NULL);
}
