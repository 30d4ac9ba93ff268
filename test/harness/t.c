#include "t.h"

#include <errno.h>
#include <fnmatch.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SKIPPED     77
#define TMPDIRS_MAX      16
#define SHOWN_OUTPUT_MAX ((off_t)64 * 1024) /* of a failed test, its end */
#define SHOWN_STRING_MAX 300u
#define SHOWN_BEFORE     100u /* the first difference */

#ifdef QUERN_SANITIZED
#define LIMIT_FACTOR 3
#else
#define LIMIT_FACTOR 1
#endif

extern const struct t_case *const __start_t_cases[];
extern const struct t_case *const __stop_t_cases[];

enum outcome { PASSED, FAILED, SKIPPED };

struct options {
    const char *match;
    bool list, verbose;
};

static char tmp_root[64]; /* of the running test; exists once t_tmpdir was called */

/* ---- in the test's process ---- */

void t_fail(const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fflush(stdout);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(EXIT_FAILURE); /* not exit: leaks of an interrupted test are no news */
}

void t_skip(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(EXIT_SKIPPED);
}

void t_eq(const char *file, int line, const char *a_text, const char *b_text, long long a, long long b)
{
    if (a != b)
        t_fail(file, line, "%s is %lld, expected %lld (%s)", a_text, a, b, b_text);
}

/* A window of s that begins at `from`. */
static void print_quoted(const char *label, struct str s, size_t from)
{
    fprintf(stderr, "    %s %s\"", label, from > 0 ? "..." : "");
    size_t to = s.n > from + SHOWN_STRING_MAX ? from + SHOWN_STRING_MAX : s.n;
    for (size_t i = from; i < to; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\n')
            fputs("\\n", stderr);
        else if (c == '"' || c == '\\')
            fprintf(stderr, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(stderr, "\\x%02x", c);
        else
            fputc(c, stderr);
    }
    fprintf(stderr, "\"%s (%zu bytes)\n", to < s.n ? "..." : "", s.n);
}

void t_str(const char *file, int line, const char *a_text, struct str a, const char *b)
{
    struct str want = {b, strlen(b)};
    size_t at = 0;
    while (at < a.n && at < want.n && a.p[at] == want.p[at])
        at++;
    if (at == a.n && at == want.n)
        return;
    size_t from = at > SHOWN_BEFORE ? at - SHOWN_BEFORE : 0;
    print_quoted("got     ", a, from);
    print_quoted("expected", want, from);
    t_fail(file, line, "%s differs from byte %zu on", a_text, at);
}

void t_near(const char *file, int line, const char *a_text, double a, double b, double eps)
{
    if (!(fabs(a - b) <= eps)) /* so that NaN fails */
        t_fail(file, line, "%s is %.17g, expected %.17g within %g", a_text, a, b, eps);
}

static pid_t abort_child;

bool t_abort_begin(void)
{
    fflush(NULL);
    abort_child = fork();
    if (abort_child < 0)
        t_fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
    return abort_child == 0;
}

void t_abort_end(const char *file, int line, const char *text)
{
    int status;
    while (waitpid(abort_child, &status, 0) < 0)
        if (errno != EINTR)
            t_fail(file, line, "waitpid: %s", strerror(errno));
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        t_fail(file, line, "expected an abort from: %s", text);
}

const char *t_tmpdir(void)
{
    static char paths[TMPDIRS_MAX][sizeof tmp_root + 8];
    static int count;
    if (count == TMPDIRS_MAX)
        t_fail(__FILE__, __LINE__, "a test may call t_tmpdir %d times", TMPDIRS_MAX);
    char *path = paths[count];
    snprintf(path, sizeof paths[0], "%s/%d", tmp_root, count);
    if ((count == 0 && mkdir(tmp_root, 0700) != 0) || mkdir(path, 0700) != 0)
        t_fail(__FILE__, __LINE__, "cannot create folder %s: %s", path, strerror(errno));
    count++;
    return path;
}

static ATTR_NORETURN void run_child(const struct t_case *test, int output, const sigset_t *signals)
{
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, signals, NULL);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    close(output);
    setvbuf(stdout, NULL, _IOLBF, 0);
    test->run();
    exit(EXIT_SUCCESS); /* runs the leak check */
}

/* ---- in the runner ---- */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* SIGCHLD is blocked: waits until the child ends or the limit passes. True: *status is filled. */
static bool wait_child(pid_t pid, int limit_s, int *status)
{
    double deadline = now_s() + limit_s;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    while (waitpid(pid, status, WNOHANG) == 0) {
        if (now_s() >= deadline)
            return false;
        struct timespec slice = {.tv_nsec = 50000000};
        (void)sigtimedwait(&set, NULL, &slice); /* only a reason to look again */
    }
    return true;
}

static void kill_listed(FILE *children)
{
    char word[16];
    while (fscanf(children, "%15s", word) == 1) {
        long pid = strtol(word, NULL, 10);
        if (pid > 1) /* 0 and -1 would hit more than one process */
            kill((pid_t)pid, SIGKILL);
    }
}

/* The runner is a subreaper, so everything that a test has left running, also in other sessions, is now its child. */
static void kill_leftovers(pid_t group)
{
    char path[64];
    kill(-group, SIGKILL);
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0)
            return;
        if (pid > 0)
            continue;
        FILE *children = fopen(path, "re");
        if (children == NULL)
            return;
        kill_listed(children);
        fclose(children);
        usleep(1000);
    }
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void show_output(int fd)
{
    static char bytes[SHOWN_OUTPUT_MAX];
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > SHOWN_OUTPUT_MAX ? size - SHOWN_OUTPUT_MAX : 0;
    if (from > 0)
        printf("[%lld bytes left out]\n", (long long)from);
    ssize_t n = pread(fd, bytes, sizeof bytes, from);
    if (n > 0)
        fwrite(bytes, 1, (size_t)n, stdout);
}

static enum outcome judge(bool has_ended, int status, int limit_s, char *why, size_t why_size)
{
    why[0] = '\0';
    if (!has_ended)
        snprintf(why, why_size, "over its time limit of %d s", limit_s);
    else if (WIFSIGNALED(status))
        snprintf(why, why_size, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == EXIT_SKIPPED)
        return SKIPPED;
    else if (WEXITSTATUS(status) != EXIT_SUCCESS)
        snprintf(why, why_size, "exit status %d", WEXITSTATUS(status));
    return why[0] == '\0' ? PASSED : FAILED;
}

static enum outcome run_test(const struct t_case *test, int number, const struct options *o)
{
    sigset_t block, before;
    int status = 0, limit_s = test->limit_s * LIMIT_FACTOR;
    char why[128];
    int output = memfd_create("output", MFD_CLOEXEC);
    if (output < 0) {
        perror("memfd_create");
        exit(2);
    }
    const char *tmp = getenv("TMPDIR");
    snprintf(tmp_root, sizeof tmp_root, "%.24s/qt%d-%d", tmp == NULL || strlen(tmp) > 24 ? "/tmp" : tmp, (int)getpid(),
             number);
    sigemptyset(&block);
    sigaddset(&block, SIGCHLD);
    sigprocmask(SIG_BLOCK, &block, &before);
    double start = now_s();
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (pid == 0)
        run_child(test, output, &before);
    setpgid(pid, pid); /* here as well: whoever comes first */
    bool has_ended = wait_child(pid, limit_s, &status);
    kill_leftovers(pid);
    sigprocmask(SIG_SETMASK, &before, NULL);
    nftw(tmp_root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);

    enum outcome outcome = judge(has_ended, status, limit_s, why, sizeof why);
    static const char *const labels[] = {[PASSED] = "ok  ", [FAILED] = "FAIL", [SKIPPED] = "skip"};
    if (outcome != PASSED || o->verbose)
        printf("%s %s (%.0f ms)%s%s\n", labels[outcome], test->name, (now_s() - start) * 1e3, why[0] ? ": " : "", why);
    if (outcome != PASSED || o->verbose)
        show_output(output);
    fflush(stdout);
    close(output);
    return outcome;
}

static int by_place(const void *a, const void *b)
{
    const struct t_case *const *x = a, *const *y = b;
    int order = strcmp((*x)->file, (*y)->file);
    return order != 0 ? order : (*x)->line - (*y)->line;
}

static void usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [--match PATTERN] [--list] [--verbose]\n"
            "  --match PATTERN  only tests whose name or file contains PATTERN, or matches it as a shell pattern\n",
            program);
    exit(2);
}

static bool is_wanted(const struct t_case *test, const char *match)
{
    return match == NULL || strstr(test->name, match) != NULL || strstr(test->file, match) != NULL ||
           fnmatch(match, test->name, 0) == 0;
}

static struct options parse_options(int argc, char **argv)
{
    struct options o = {0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            o.list = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            o.verbose = true;
        else if (strcmp(argv[i], "--match") == 0 && i + 1 < argc)
            o.match = argv[++i];
        else
            usage(argv[0]);
    }
    return o;
}

int main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    size_t n = (size_t)(__stop_t_cases - __start_t_cases);
    const struct t_case **tests = calloc(n, sizeof(struct t_case *));
    int counts[3] = {0};
    if (tests == NULL) {
        perror("calloc");
        return 2;
    }
    memcpy(tests, __start_t_cases, n * sizeof(struct t_case *));
    qsort(tests, n, sizeof(struct t_case *), by_place);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (size_t i = 0; i < n; i++) {
        if (!is_wanted(tests[i], o.match))
            continue;
        if (o.list)
            printf("%s  %s:%d\n", tests[i]->name, tests[i]->file, tests[i]->line);
        else
            counts[run_test(tests[i], (int)i, &o)]++;
    }
    free(tests);
    if (o.list)
        return 0;
    if (counts[SKIPPED] > 0)
        printf("%d passed, %d failed, %d skipped\n", counts[PASSED], counts[FAILED], counts[SKIPPED]);
    else
        printf("%d passed, %d failed\n", counts[PASSED], counts[FAILED]);
    /* A pattern that selects nothing is a mistake, not a success. */
    return counts[FAILED] > 0 || counts[PASSED] + counts[SKIPPED] == 0;
}
