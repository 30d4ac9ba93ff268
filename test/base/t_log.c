#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/utf8.h"

static int start(enum log_level level, enum log_format format)
{
    setenv("TZ", "UTC", 1);
    int fd = memfd_create("log", MFD_CLOEXEC);
    EXPECT(fd >= 0);
    log_init("edge", level, format, fd);
    return fd;
}

static struct str read_all(int fd)
{
    static char text[1 << 20];
    ssize_t n = pread(fd, text, sizeof text, 0);
    EXPECT(n >= 0);
    return (struct str){text, (size_t)n};
}

/* Replaces each digit of the time and the pid, which differ from run to run. */
static struct str masked(struct str s, size_t from, size_t to)
{
    static char text[8192];
    EXPECT(s.n < sizeof text);
    memcpy(text, s.p, s.n);
    for (size_t i = from; i < to && i < s.n; i++)
        if (text[i] >= '0' && text[i] <= '9')
            text[i] = '#';
    return (struct str){text, s.n};
}

TEST(log_line_for_people)
{
    int fd = start(LOG_LEVEL_INFO, LOG_PEOPLE);
    LOG_WARN("worker died", LOG_S("model", "iris"), LOG_I("pid", -12), LOG_S("reason", "out of \"memory\"\n"),
             LOG_F("s", 0.25), LOG_U("n", UINT64_MAX), LOG_S("empty", NULL));
    EXPECT_STR(masked(read_all(fd), 0, 12),
               "##:##:##.### WARN  edge  worker died  model=iris pid=-12 reason=\"out of \\\"memory\\\"\\n\" s=0.25 "
               "n=18446744073709551615 empty=\"\"\n");
}

TEST(log_levels_chosen_one_by_one)
{
    int fd = start(LOG_LEVEL_WARN, LOG_PEOPLE);
    struct log_choice c = log_chosen();
    EXPECT(!c.info && c.warn && c.error && c.verbose == 0 && c.format == LOG_PEOPLE);
    log_choose(&(struct log_choice){.info = true, .error = true, .verbose = 3, .format = LOG_PEOPLE_DATED});
    LOG_DEBUG("a");
    LOG_INFO("b");
    LOG_WARN("c");
    LOG_ERROR("d");
    c = log_chosen();
    EXPECT(c.info && !c.warn && c.error && c.verbose == 3 && c.format == LOG_PEOPLE_DATED);
    EXPECT_STR(masked(read_all(fd), 0, 500), "####-##-##T##:##:##.###Z DEBUG edge  a\n"
                                             "####-##-##T##:##:##.###Z INFO  edge  b\n"
                                             "####-##-##T##:##:##.###Z ERROR edge  d\n");
}

TEST(log_line_without_fields)
{
    int fd = start(LOG_LEVEL_DEBUG, LOG_PEOPLE);
    LOG_DEBUG("started");
    EXPECT_STR(masked(read_all(fd), 0, 12), "##:##:##.### DEBUG edge  started\n");
}

TEST(log_line_as_json)
{
    char want[400];
    int fd = start(LOG_LEVEL_INFO, LOG_JSON);
    LOG_ERROR("can \"not\"", LOG_S("path", "a\\b\tc\x01\x7f"), LOG_I("i", -1), LOG_U("u", 2), LOG_F("f", 0.5),
              LOG_F("nan", (double)NAN), LOG_STR("bad", STR("x\xFFy\xC3\xA9")));
    snprintf(want, sizeof want,
             "{\"ts\":\"####-##-##T##:##:##.###Z\",\"level\":\"error\",\"role\":\"edge\",\"pid\":%d,\"msg\":\"can "
             "\\\"not\\\"\","
             "\"path\":\"a\\\\b\\u0009c\\u0001\\u007f\",\"i\":-1,\"u\":2,\"f\":0.5,\"nan\":\"nan\","
             "\"bad\":\"x\\ufffdy\xC3\xA9\"}\n",
             (int)getpid());
    EXPECT_STR(masked(read_all(fd), 0, 31), want);
}

TEST(log_below_its_level_writes_nothing)
{
    int fd = start(LOG_LEVEL_WARN, LOG_JSON);
    EXPECT(!log_enabled(LOG_LEVEL_INFO) && log_enabled(LOG_LEVEL_WARN) && !log_enabled(LOG_LEVEL_OFF));
    LOG_DEBUG("x");
    LOG_INFO("x");
    EXPECT_EQ(read_all(fd).n, 0);
    fd = start(LOG_LEVEL_OFF, LOG_JSON);
    LOG_ERROR("x");
    EXPECT_EQ(read_all(fd).n, 0);
}

TEST(log_nobody_can_forge_a_line_or_steer_a_terminal)
{
    for (int format = LOG_PEOPLE; format <= LOG_JSON; format++) {
        int fd = start(LOG_LEVEL_INFO, (enum log_format)format);
        LOG_INFO("got", LOG_S("name", "a\n00:00:00.000 ERROR edge  forged\r\x1b[31m\xC2\x9B"
                                      "31m"));
        struct str s = read_all(fd);
        EXPECT_EQ(str_chr(s, '\n'), (ptrdiff_t)s.n - 1);
        EXPECT_EQ(str_chr(s, '\x1b'), -1);
        EXPECT_EQ(str_chr(s, '\r'), -1);
        EXPECT(format == LOG_JSON || !str_contains(s, STR("\xC2\x9B")));
    }
}

/* Whether s is one JSON object of our plain kind: strings closed, braces at both ends. */
static bool is_closed_json(struct str s)
{
    bool in_string = false;
    if (!str_starts(s, STR("{\"ts\":\"")) || !str_ends(s, STR("}\n")))
        return false;
    for (size_t i = 0; i < s.n - 2; i++) {
        if (in_string && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            in_string = !in_string;
    }
    return !in_string;
}

TEST(log_cuts_long_lines_and_stays_valid)
{
    static char text[5000];
    for (int format = LOG_PEOPLE; format <= LOG_JSON; format++) {
        for (size_t n = 3800; n < 4300; n += 3) { /* the cut falls everywhere: in text, escapes, characters, keys */
            for (size_t i = 0; i < n; i += 5)
                memcpy(text + i, "a\xE2\x82\xAC\n", 6);
            text[n] = '\0';
            text[n - n % 5] = '\0';
            int fd = start(LOG_LEVEL_INFO, (enum log_format)format);
            LOG_INFO("long", LOG_S("text", text), LOG_I("a", 1), LOG_S("b", "some more text"), LOG_S("c", "bare"));
            struct str s = read_all(fd);
            EXPECT(s.n <= 4096);
            EXPECT_EQ(utf8_check(s), s.n);
            EXPECT(str_ends(s, format == LOG_JSON ? STR(",\"cut\":true}\n") : STR(" cut=true\n")));
            EXPECT(format != LOG_JSON || is_closed_json(s));
            close(fd);
        }
    }
}

TEST(log_cut_at_every_place_of_the_last_fields)
{
    char text[4096];
    int cuts = 0;
    for (size_t n = 3850; n < 4060; n++) {
        memset(text, 'x', n);
        text[n] = '\0';
        int fd = start(LOG_LEVEL_INFO, LOG_JSON);
        LOG_INFO("m", LOG_S("t", text), LOG_U("number", 123456789), LOG_S("word", "bare"), LOG_F("f", 1.5));
        struct str s = read_all(fd);
        EXPECT(s.n <= 4096);
        EXPECT(is_closed_json(s));
        EXPECT(!str_contains(s, STR(":,")) && !str_contains(s, STR(":}")));
        cuts += str_contains(s, STR("\"cut\":true"));
        close(fd);
    }
    EXPECT(cuts > 100 && cuts < 210);
}

TEST(log_keeps_errno_and_survives_a_bad_descriptor)
{
    log_init("edge", LOG_LEVEL_INFO, LOG_JSON, 987);
    errno = EAGAIN;
    LOG_INFO("nowhere to go");
    EXPECT_EQ(errno, EAGAIN);
}

static void *write_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++)
        LOG_INFO("from a thread", LOG_S("text", "0123456789012345678901234567890123456789"));
    return NULL;
}

TEST(log_lines_of_threads_do_not_mix)
{
    pthread_t threads[4];
    char path[200];
    snprintf(path, sizeof path, "%s/log", t_tmpdir());
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    EXPECT(fd >= 0);
    log_init("edge", LOG_LEVEL_INFO, LOG_JSON, fd);
    for (size_t i = 0; i < 4; i++)
        EXPECT(pthread_create(&threads[i], NULL, write_many, NULL) == 0);
    for (size_t i = 0; i < 4; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
    struct str rest = read_all(fd);
    int lines = 0;
    while (rest.n > 0) {
        struct str line = str_cut(rest, '\n', &rest);
        EXPECT(str_starts(line, STR("{\"ts\":")) && str_ends(line, STR("6789\"}")));
        lines++;
    }
    EXPECT_EQ(lines, 2000);
    close(fd);
}
