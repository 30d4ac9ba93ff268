/* Event log: one line per event, as JSON or for people, to stderr or a file descriptor. Each line leaves in one write(2), so that
 * processes that share the descriptor do not mix. Thread-safe; never blocks on locks; a line over 4 KiB is cut.
 *
 *   LOG_WARN("worker died", LOG_S("model", name), LOG_I("pid", pid), LOG_S("reason", text));
 *
 * Text is a constant phrase; what varies goes into fields. Field kinds: LOG_S (const char *), LOG_STR (struct str), LOG_I
 * (int64_t), LOG_U (uint64_t), LOG_F (double). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/str.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_OFF };
enum log_format { LOG_PEOPLE, LOG_JSON, LOG_PEOPLE_DATED /* with date, in UTC */ };

struct log_field {
    const char *key;
    enum { LOG_KIND_STR = 1, LOG_KIND_INT, LOG_KIND_UINT, LOG_KIND_FLOAT } kind;
    union {
        struct str s;
        int64_t i;
        uint64_t u;
        double f;
    } v;
};

#define LOG_STR(k, val) ((struct log_field){.key = (k), .kind = LOG_KIND_STR, .v.s = (val)})
#define LOG_S(k, val)   LOG_STR(k, str_c(val))
#define LOG_I(k, val)   ((struct log_field){.key = (k), .kind = LOG_KIND_INT, .v.i = (int64_t)(val)})
#define LOG_U(k, val)   ((struct log_field){.key = (k), .kind = LOG_KIND_UINT, .v.u = (uint64_t)(val)})
#define LOG_F(k, val)   ((struct log_field){.key = (k), .kind = LOG_KIND_FLOAT, .v.f = (double)(val)})

#define LOG_AT(level, text, ...)                                                                                       \
    do {                                                                                                               \
        if (log_enabled(level)) {                                                                                      \
            const struct log_field log_fields_[] = {{0}, ##__VA_ARGS__};                                               \
            log_write((level), (text), log_fields_ + 1, ARRAY_LEN(log_fields_) - 1);                                   \
        }                                                                                                              \
    } while (0)
#define LOG_DEBUG(text, ...) LOG_AT(LOG_LEVEL_DEBUG, text, ##__VA_ARGS__)
#define LOG_INFO(text, ...)  LOG_AT(LOG_LEVEL_INFO, text, ##__VA_ARGS__)
#define LOG_WARN(text, ...)  LOG_AT(LOG_LEVEL_WARN, text, ##__VA_ARGS__)
#define LOG_ERROR(text, ...) LOG_AT(LOG_LEVEL_ERROR, text, ##__VA_ARGS__)

/* role appears in every line ("master", "edge", "worker iris@1#0"); kept by pointer. fd is borrowed. Until called:
 * level INFO, people's format, stderr, times in UTC. People's format shows local time by the offset that held at the call. */
void log_init(const char *role, enum log_level level, enum log_format format, int fd);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *text, const struct log_field *fields, size_t fields_len);

/* What may change while the process runs, by any thread. Levels may be chosen one by one; verbose 0 means no debug lines. */
struct log_choice {
    bool info, warn, error;
    uint32_t verbose;
    enum log_format format;
};
void log_choose(const struct log_choice *c);
struct log_choice log_chosen(void);

#endif
