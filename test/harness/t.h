/* Unit test harness. Each TEST runs in a forked process of its own with a time limit; the first failed expectation ends it. What it
 * prints is shown only when it fails. Processes and temporary folders that it leaves behind are removed.
 *
 *   TEST(cut_without_separator_returns_all) { EXPECT_STR(str_cut(STR("a"), ':', &rest), "a"); }
 *
 * Under sanitizers time limits are three times as long. Does not use the rooms under test, so that it can test base. */
#ifndef TEST_HARNESS_T_H
#define TEST_HARNESS_T_H

#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "base/str.h"

struct t_case {
    const char *name, *file;
    int line;
    int limit_s;
    void (*run)(void);
};

/* The linker gathers the pointers into one array (t_cases) that the runner sorts by file and line. */
#define TEST_SLOW(test_name, seconds)                                                                                  \
    static void t_run_##test_name(void);                                                                               \
    static const struct t_case t_case_##test_name = {#test_name, __FILE__, __LINE__, (seconds), t_run_##test_name};    \
    static const struct t_case *const t_case_at_##test_name __attribute__((used, section("t_cases"))) =                \
        &t_case_##test_name;                                                                                           \
    static void t_run_##test_name(void)
#define TEST(test_name) TEST_SLOW(test_name, 10)

#define EXPECT(cond)           ((cond) ? (void)0 : t_fail(__FILE__, __LINE__, "expected: %s", #cond))
#define EXPECT_EQ(a, b)        t_eq(__FILE__, __LINE__, #a, #b, (long long)(a), (long long)(b))
#define EXPECT_STR(a, b)       t_str(__FILE__, __LINE__, #a, (a), (b))
#define EXPECT_CSTR(a, b)      t_str(__FILE__, __LINE__, #a, str_c(a), (b))
#define EXPECT_NEAR(a, b, eps) t_near(__FILE__, __LINE__, #a, (double)(a), (double)(b), (double)(eps))
#define FAIL(...)              t_fail(__FILE__, __LINE__, __VA_ARGS__)
/* The statement must end the process by abort(), as a failed CHECK does. Runs in a copy of the process. */
#define EXPECT_ABORT(...)                                                                                              \
    do {                                                                                                               \
        if (t_abort_begin()) {                                                                                         \
            __VA_ARGS__;                                                                                               \
            _exit(0);                                                                                                  \
        }                                                                                                              \
        t_abort_end(__FILE__, __LINE__, #__VA_ARGS__);                                                                 \
    } while (0)
/* Ends the test as skipped: for what this machine lacks. Counted and shown. */
#define SKIP(...) t_skip(__VA_ARGS__)

/* A fresh empty folder at each call; short enough for UNIX socket paths. */
const char *t_tmpdir(void);

bool t_abort_begin(void);
void t_abort_end(const char *file, int line, const char *text);
void t_fail(const char *file, int line, const char *fmt, ...) ATTR_PRINTF(3, 4) ATTR_NORETURN;
void t_skip(const char *fmt, ...) ATTR_PRINTF(1, 2) ATTR_NORETURN;
void t_eq(const char *file, int line, const char *a_text, const char *b_text, long long a, long long b);
void t_str(const char *file, int line, const char *a_text, struct str a, const char *b);
void t_near(const char *file, int line, const char *a_text, double a, double b, double eps);

#endif
