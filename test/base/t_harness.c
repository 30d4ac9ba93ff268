/* The harness itself: an expectation that does not hold must end the test with a failure. Each is tried in a child. */
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void fail_cond(void)
{
    EXPECT(1 > 2);
}

static void fail_eq(void)
{
    EXPECT_EQ(1, 2);
}

static void fail_eq_wide(void)
{
    EXPECT_EQ(UINT64_C(1) << 32, 0); /* differs only above 32 bits */
}

static void fail_str(void)
{
    EXPECT_STR(STR("abc"), "abd");
}

static void fail_str_longer(void)
{
    EXPECT_STR(STR("abc\0"), "abc");
}

static void fail_cstr(void)
{
    EXPECT_CSTR("ab", "abc");
}

static void fail_near(void)
{
    EXPECT_NEAR(1.0, 1.2, 0.1);
}

static void fail_near_nan(void)
{
    EXPECT_NEAR((double)NAN, 1, 1e9);
}

static void fail_no_abort(void)
{
    EXPECT_ABORT((void)0);
}

static void fail_other_end(void)
{
    EXPECT_ABORT(_exit(1));
}

static void pass(void)
{
    EXPECT(true);
    EXPECT_EQ(-1, -1);
    EXPECT_STR(STR(""), "");
    EXPECT_CSTR("abc", "abc");
    EXPECT_NEAR(1.0, 1.05, 0.1);
    EXPECT_ABORT(abort());
}

static void skip(void)
{
    SKIP("for a reason");
}

static int status_of(void (*body)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        body();
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

TEST(harness_failed_expectations_fail)
{
    static void (*const bodies[])(void) = {fail_cond, fail_eq,   fail_eq_wide,  fail_str,      fail_str_longer,
                                           fail_cstr, fail_near, fail_near_nan, fail_no_abort, fail_other_end};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        if (status_of(bodies[i]) != 1) /* no EXPECT here: it is what is being tested */
            abort();
    if (status_of(pass) != 0 || status_of(skip) != 77)
        abort();
}

TEST(harness_tmpdir_is_new_at_each_call)
{
    struct stat st;
    char first[100];
    EXPECT(str_copy(first, sizeof first, str_c(t_tmpdir())));
    EXPECT(strcmp(first, t_tmpdir()) != 0);
    EXPECT(stat(first, &st) == 0 && S_ISDIR(st.st_mode));
    EXPECT_EQ(st.st_mode & 077, 0);
    EXPECT(strlen(first) < 60); /* leaves room for a name in a UNIX socket's path of 108 bytes */
}
