#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/utf8.h"

static const struct {
    const char *name;
    int http_status;
} codes[ERR_MAX_] = {
    [ERR_OK] = {"ok", 200},
    [ERR_INVALID] = {"invalid", 400},
    [ERR_DENIED] = {"denied", 403},
    [ERR_NOT_FOUND] = {"not_found", 404},
    [ERR_METHOD] = {"method", 405},
    [ERR_CONFLICT] = {"conflict", 409},
    [ERR_TOO_LARGE] = {"too_large", 413},
    [ERR_MEDIA] = {"media", 415},
    [ERR_REJECTED] = {"rejected", 422},
    [ERR_BUSY] = {"busy", 429},
    [ERR_CANCELLED] = {"cancelled", 499},
    [ERR_INTERNAL] = {"internal", 500},
    [ERR_UNSUPPORTED] = {"unsupported", 501},
    [ERR_BACKEND] = {"backend", 502},
    [ERR_UNAVAILABLE] = {"unavailable", 503},
    [ERR_TIMEOUT] = {"timeout", 504},
    [ERR_IO] = {"io", 500},
};

/* vsnprintf that never leaves half a character at the end and returns the length that is in out. */
static ATTR_PRINTF(3, 0) size_t format(char *out, size_t size, const char *fmt, va_list args)
{
    int wanted = vsnprintf(out, size, fmt, args);
    if (wanted < 0)
        wanted = 0;
    size_t n = (size_t)wanted;
    if (n >= size) {
        n = size - 1;
        /* The byte that did not fit is gone; a sequence that is cut short shows as invalid in its last 3 bytes. */
        size_t valid = utf8_check((struct str){out, n});
        if (n - valid <= 3)
            n = valid;
    }
    out[n] = '\0';
    return n;
}

/* Puts tail behind the n bytes of out. When both do not fit, out's text is cut and tail kept. */
static void append_keeping(char *out, size_t size, size_t n, struct str tail)
{
    if (tail.n > size - 1)
        tail.n = utf8_cut(tail, size - 1);
    if (n > size - 1 - tail.n)
        n = utf8_cut((struct str){out, n}, size - 1 - tail.n);
    if (tail.n > 0)
        memcpy(out + n, tail.p, tail.n);
    out[n + tail.n] = '\0';
}

/* What can be done whoever meets it; the caller may know better. */
static const char *remedy_of(int sys)
{
    switch (sys) {
    case EMFILE:
        return "allow more open files (ulimit -n; LimitNOFILE= of a systemd unit) and start again";
    case ENFILE:
        return "the whole machine has too many open files: raise fs.file-max, or find who holds them (lsof)";
    case ENOSPC:
    case EDQUOT:
        return "free space, and inodes, on that disk (df, df -i)";
    default:
        return "";
    }
}

enum err_code err_set_at(struct err *err, enum err_code code, int sys, const char *file, int line, const char *fmt, ...)
{
    CHECK(code > ERR_OK && code < ERR_MAX_);
    /* Formatted aside because an argument may be err->text itself. */
    char text[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    size_t n = format(text, sizeof text, fmt, args);
    va_end(args);
    if (sys != 0) {
        char reason[128], tail[160];
        const char *name = strerror_r(sys, reason, sizeof reason);
        int len = snprintf(tail, sizeof tail, ": %.140s", name);
        append_keeping(text, sizeof text, n, (struct str){tail, len < 0 ? 0 : (size_t)len});
    }
    err->code = code;
    err->sys = sys;
    err->file = file;
    err->line = line;
    str_copy(err->remedy, sizeof err->remedy, str_c(remedy_of(sys)));
    err->retry_after_ms = 0;
    str_copy(err->text, sizeof err->text, str_c(text));
    return code;
}

enum err_code err_wrap(struct err *err, const char *fmt, ...)
{
    char context[sizeof err->text];
    char tail[sizeof err->text + 2];
    va_list args;
    va_start(args, fmt);
    size_t n = format(context, sizeof context, fmt, args);
    va_end(args);
    int len = snprintf(tail, sizeof tail, ": %s", err->text);
    struct str inner = {tail, (size_t)len};
    /* The innermost text says what is wrong: it is kept, and the context gives way, whole when less than a word is left. */
    if (inner.n + 8 > sizeof err->text - 1)
        return err->code;
    append_keeping(context, sizeof context, n, inner);
    str_copy(err->text, sizeof err->text, str_c(context));
    return err->code;
}

#undef err_remedy /* tools/tidy.h may have put one over it */
enum err_code err_remedy(struct err *err, const char *fmt, ...)
{
    char remedy[sizeof err->remedy];
    va_list args;
    va_start(args, fmt);
    format(remedy, sizeof remedy, fmt, args);
    va_end(args);
    str_copy(err->remedy, sizeof err->remedy, str_c(remedy));
    return err->code;
}

int err_http_status(enum err_code code)
{
    CHECK(code >= ERR_OK && code < ERR_MAX_);
    return codes[code].http_status;
}

const char *err_code_name(enum err_code code)
{
    CHECK(code >= ERR_OK && code < ERR_MAX_);
    return codes[code].name;
}
