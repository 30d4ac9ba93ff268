/* A line is built on the stack and leaves in one write(2). Text from outside (fields) is escaped in both formats, so that nobody can
 * forge a line or send control sequences to the terminal of whoever reads the log. */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/utf8.h"

#define LINE_BYTES_MAX 4096u /* PIPE_BUF: the kernel keeps writes up to here whole, also into a pipe */
#define TAIL_BYTES_MAX 16u   /* kept free for what closes a line: ` cut=true\n`, `,"cut":true}\n` */
#define BARE_BYTES_MAX 128u

static _Atomic(const char *) log_role = "quern";
#define BIT(level) (1u << (level))
static _Atomic unsigned log_levels = BIT(LOG_LEVEL_INFO) | BIT(LOG_LEVEL_WARN) | BIT(LOG_LEVEL_ERROR);
static _Atomic unsigned log_verbose;
static _Atomic int log_format = LOG_PEOPLE;
static _Atomic int log_fd = STDERR_FILENO;
static _Atomic long utc_offset_s; /* asked once: localtime_r takes a lock at each call */

static const struct {
    const char *json, *people;
} level_names[] = {
    [LOG_LEVEL_DEBUG] = {"debug", "DEBUG"}, [LOG_LEVEL_INFO] = {"info", "INFO "}, [LOG_LEVEL_WARN] = {"warn", "WARN "},
    [LOG_LEVEL_ERROR] = {"error", "ERROR"}, [LOG_LEVEL_OFF] = {"off", "OFF  "},
};

struct line {
    char p[LINE_BYTES_MAX];
    size_t n;
    bool is_cut; /* something did not fit; nothing more is added */
};

void log_init(const char *role, enum log_level level, enum log_format format, int fd)
{
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm local;
    if (localtime_r(&now, &local) != NULL)
        atomic_store_explicit(&utc_offset_s, local.tm_gmtoff, memory_order_relaxed);
    atomic_store_explicit(&log_role, role, memory_order_relaxed);
    atomic_store_explicit(&log_fd, fd, memory_order_relaxed);
    log_choose(&(struct log_choice){.info = level <= LOG_LEVEL_INFO,
                                    .warn = level <= LOG_LEVEL_WARN,
                                    .error = level <= LOG_LEVEL_ERROR,
                                    .verbose = level == LOG_LEVEL_DEBUG,
                                    .format = format});
}

void log_choose(const struct log_choice *c)
{
    unsigned levels = (c->verbose > 0 ? BIT(LOG_LEVEL_DEBUG) : 0) | (c->info ? BIT(LOG_LEVEL_INFO) : 0) |
                      (c->warn ? BIT(LOG_LEVEL_WARN) : 0) | (c->error ? BIT(LOG_LEVEL_ERROR) : 0);
    atomic_store_explicit(&log_levels, levels, memory_order_relaxed);
    atomic_store_explicit(&log_verbose, c->verbose, memory_order_relaxed);
    atomic_store_explicit(&log_format, (int)c->format, memory_order_relaxed);
}

struct log_choice log_chosen(void)
{
    unsigned levels = atomic_load_explicit(&log_levels, memory_order_relaxed);
    return (struct log_choice){.info = levels & BIT(LOG_LEVEL_INFO),
                               .warn = levels & BIT(LOG_LEVEL_WARN),
                               .error = levels & BIT(LOG_LEVEL_ERROR),
                               .verbose = atomic_load_explicit(&log_verbose, memory_order_relaxed),
                               .format = (enum log_format)atomic_load_explicit(&log_format, memory_order_relaxed)};
}

bool log_enabled(enum log_level level)
{
    return atomic_load_explicit(&log_levels, memory_order_relaxed) & BIT(level);
}

/* ---- pieces of a line ---- */

/* All of it or nothing, so that a cut never falls inside an escape or a character; `keep` bytes more must stay free. */
static bool add(struct line *line, const char *p, size_t n, size_t keep)
{
    if (line->is_cut || line->n + n + keep > LINE_BYTES_MAX - TAIL_BYTES_MAX) {
        line->is_cut = true;
        return false;
    }
    memcpy(line->p + line->n, p, n);
    line->n += n;
    return true;
}

static void add_c(struct line *line, const char *text)
{
    (void)add(line, text, strlen(text), 0); /* is_cut remembers */
}

static bool add_json_char(struct line *line, struct str c)
{
    char escape[8];
    unsigned char first = (unsigned char)c.p[0];
    if (c.n > 1 || (first >= 0x20 && first != '"' && first != '\\' && first != 0x7f))
        return add(line, c.p, c.n, 1);
    int n = first == '"' || first == '\\' ? snprintf(escape, sizeof escape, "\\%c", first)
            : first == '\n'               ? snprintf(escape, sizeof escape, "\\n")
                                          : snprintf(escape, sizeof escape, "\\u%04x", first);
    return add(line, escape, (size_t)n, 1);
}

static bool add_people_char(struct line *line, struct str c)
{
    char escape[8];
    unsigned char first = (unsigned char)c.p[0];
    bool is_c1 = c.n == 2 && first == 0xC2 && (unsigned char)c.p[1] < 0xA0; /* U+0080 to U+009F: control characters */
    if (!is_c1 && (c.n > 1 || (first >= 0x20 && first != '"' && first != '\\' && first != 0x7f)))
        return add(line, c.p, c.n, 1);
    int n = is_c1                           ? snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)c.p[1])
            : first == '"' || first == '\\' ? snprintf(escape, sizeof escape, "\\%c", first)
            : first == '\n'                 ? snprintf(escape, sizeof escape, "\\n")
                                            : snprintf(escape, sizeof escape, "\\x%02x", first);
    return add(line, escape, (size_t)n, 1);
}

static bool add_invalid_byte(struct line *line, char byte, bool json)
{
    char escape[8];
    int n = json ? snprintf(escape, sizeof escape, "\\ufffd")
                 : snprintf(escape, sizeof escape, "\\x%02x", (unsigned char)byte);
    return add(line, escape, (size_t)n, 1);
}

/* How many bytes at the start of s stand for themselves in both formats. */
static size_t plain_len(struct str s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] >= 0x20 && s.p[n] < 0x7f && s.p[n] != '"' && s.p[n] != '\\')
        n++;
    return n;
}

/* Adds as much of s as fits, between quotes. */
static void add_quoted(struct line *line, struct str s, bool json)
{
    if (!add(line, "\"", 1, 1))
        return;
    bool fits = true;
    while (fits && s.n > 0) {
        size_t n = plain_len(s), room = LINE_BYTES_MAX - TAIL_BYTES_MAX - 1 - line->n;
        if (n > 0 && room > 0) {
            n = n < room ? n : room;
            fits = add(line, s.p, n, 1);
            s = str_sub(s, n, s.n);
            continue;
        }
        n = utf8_len(s);
        if (n == 0)
            fits = add_invalid_byte(line, s.p[0], json);
        else
            fits = json ? add_json_char(line, str_sub(s, 0, n)) : add_people_char(line, str_sub(s, 0, n));
        s = str_sub(s, n == 0 ? 1 : n, s.n);
    }
    line->p[line->n++] = '"'; /* kept free above */
}

/* Long text is quoted in any case, because only quoted text may be cut. */
static bool is_bare(struct str s)
{
    if (s.n > BARE_BYTES_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return s.n > 0;
}

static void add_float(struct line *line, double v, bool json)
{
    char number[NUM_FLOAT_MAX];
    if (json && isfinite(v)) {
        (void)add(line, number, num_format_f64(v, number), 0);
        return;
    }
    /* Six digits are enough for people. JSON has no number for what is not finite. */
    snprintf(number, sizeof number, json ? "\"%g\"" : "%g", v);
    add_c(line, number);
}

static void add_value(struct line *line, const struct log_field *field, bool json)
{
    char number[NUM_FLOAT_MAX];
    switch (field->kind) {
    case LOG_KIND_STR:
        if (!json && is_bare(field->v.s))
            (void)add(line, field->v.s.p, field->v.s.n, 0); /* is_cut remembers */
        else
            add_quoted(line, field->v.s, json);
        return;
    case LOG_KIND_INT:
        (void)add(line, number, num_format_i64(field->v.i, number), 0);
        return;
    case LOG_KIND_UINT:
        (void)add(line, number, num_format_u64(field->v.u, number), 0);
        return;
    case LOG_KIND_FLOAT:
        add_float(line, field->v.f, json);
        return;
    }
    check_failed("a known kind of log field", __FILE__, __LINE__);
}

/* A field whose value has no room at all must not leave its key behind: the line would no longer be JSON. */
static void add_field(struct line *line, const struct log_field *field, bool json)
{
    size_t before = line->n;
    add_c(line, json ? ",\"" : " ");
    add_c(line, field->key);
    add_c(line, json ? "\":" : "=");
    size_t after_key = line->n;
    add_value(line, field, json);
    if (line->is_cut && line->n == after_key)
        line->n = before;
}

/* ---- whole lines ---- */

static void start_json(struct line *line, enum log_level level, const char *text)
{
    char head[96], stamp[32];
    clock_format(clock_wall_ms(), stamp, sizeof stamp);
    snprintf(head, sizeof head, "{\"ts\":\"%s\",\"level\":\"%s\",\"role\":", stamp, level_names[level].json);
    add_c(line, head);
    add_quoted(line, str_c(atomic_load_explicit(&log_role, memory_order_relaxed)), true);
    snprintf(head, sizeof head, ",\"pid\":%d,\"msg\":", (int)getpid());
    add_c(line, head);
    add_quoted(line, str_c(text), true);
}

static void start_people(struct line *line, enum log_level level, const char *text, bool is_dated)
{
    char head[64], stamp[32];
    int64_t offset_ms = is_dated ? 0 : (int64_t)atomic_load_explicit(&utc_offset_s, memory_order_relaxed) * 1000;
    clock_format((uint64_t)((int64_t)clock_wall_ms() + offset_ms), stamp, sizeof stamp);
    if (is_dated)
        snprintf(head, sizeof head, "%s %s ", stamp, level_names[level].people);
    else
        snprintf(head, sizeof head, "%.12s %s ", stamp + 11, level_names[level].people); /* the time alone, without Z */
    add_c(line, head);
    add_c(line, atomic_load_explicit(&log_role, memory_order_relaxed));
    add_c(line, "  ");
    add_c(line, text);
}

static void end_line(struct line *line, bool json)
{
    char tail[TAIL_BYTES_MAX];
    int n = json ? snprintf(tail, sizeof tail, "%s}\n", line->is_cut ? ",\"cut\":true" : "")
                 : snprintf(tail, sizeof tail, "%s\n", line->is_cut ? " cut=true" : "");
    memcpy(line->p + line->n, tail, (size_t)n); /* TAIL_BYTES_MAX were kept free */
    line->n += (size_t)n;
}

void log_write(enum log_level level, const char *text, const struct log_field *fields, size_t fields_len)
{
    struct line line;
    line.n = 0;
    line.is_cut = false;
    int format = atomic_load_explicit(&log_format, memory_order_relaxed);
    bool json = format == LOG_JSON;
    int keep_errno = errno; /* callers log in the middle of handling a failed call */
    if (json)
        start_json(&line, level, text);
    else
        start_people(&line, level, text, format == LOG_PEOPLE_DATED);
    if (!json && fields_len > 0)
        add_c(&line, " ");
    for (size_t i = 0; i < fields_len && !line.is_cut; i++)
        add_field(&line, &fields[i], json);
    end_line(&line, json);
    ssize_t written;
    do
        written = write(atomic_load_explicit(&log_fd, memory_order_relaxed), line.p, line.n);
    while (written < 0 && errno == EINTR);
    errno = keep_errno; /* a log that cannot be written has nowhere to say so */
}
