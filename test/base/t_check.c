#include "t.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/check.h"

static int report_fd;

static void write_report(const char *text)
{
    EXPECT(write(report_fd, text, strlen(text)) > 0);
}

static void fail_again(const char *text)
{
    write_report(text);
    CHECK(text == NULL);
}

static struct str report_of(void (*hook)(const char *), const char *expr, char *out, size_t out_size)
{
    int fds[2], status;
    EXPECT(pipe(fds) == 0);
    if (fork() == 0) {
        report_fd = fds[1];
        check_panic_hook = hook;
        check_failed(expr, "src/x.c", 42);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], out, out_size);
    EXPECT(n >= 0);
    EXPECT_EQ(read(fds[0], out + n, out_size - (size_t)n), 0);
    close(fds[0]);
    EXPECT(wait(&status) > 0);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    return (struct str){out, (size_t)n};
}

TEST(check_calls_the_hook_with_place_and_expression)
{
    char out[1024];
    EXPECT_STR(report_of(write_report, "a == b", out, sizeof out), "check failed: a == b at src/x.c:42");
}

TEST(check_in_the_hook_does_not_loop)
{
    char out[1024];
    EXPECT_STR(report_of(fail_again, "a == b", out, sizeof out), "check failed: a == b at src/x.c:42");
}

TEST(check_cuts_a_long_expression)
{
    char out[2048], expr[1000];
    memset(expr, 'e', sizeof expr);
    expr[sizeof expr - 1] = '\0';
    EXPECT_EQ(report_of(write_report, expr, out, sizeof out).n, 511);
}

TEST(check_that_holds_goes_on)
{
    CHECK(1 + 1 == 2);
    EXPECT_ABORT(CHECK(1 + 1 == 3));
}
