/* Errors of the environment and of input: a code, one line of text for a person, and a remedy where there is one.
 * Filled once where it happens (err_set), given context on the way up (err_wrap), shown once at the top.
 * No allocation; text that does not fit is cut. Functions that can fail return enum err_code (0 = fine) and take a
 * `struct err *` as last argument, never NULL. Outputs are written only on success. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/attr.h"
#include "base/str.h"

enum err_code {
    ERR_OK = 0,
    ERR_INVALID,     /* 400: the caller's input is wrong */
    ERR_DENIED,      /* 403 */
    ERR_NOT_FOUND,   /* 404 */
    ERR_METHOD,      /* 405 */
    ERR_CONFLICT,    /* 409: exists already, or not in this state */
    ERR_TOO_LARGE,   /* 413: over a limit of size */
    ERR_MEDIA,       /* 415: a coding or type that we do not read */
    ERR_REJECTED,    /* 422: understood and refused, e.g. a quarantined request */
    ERR_BUSY,        /* 429: over a limit of rate or queue; try later */
    ERR_CANCELLED,   /* 499: the client went away */
    ERR_INTERNAL,    /* 500 */
    ERR_UNSUPPORTED, /* 501 */
    ERR_BACKEND,     /* 502: a model or upstream failed */
    ERR_UNAVAILABLE, /* 503: not ready, draining, restarting */
    ERR_TIMEOUT,     /* 504 */
    ERR_IO,          /* 500: the operating system refused; sys has errno */
    ERR_MAX_
};

struct err {
    enum err_code code;
    int sys;          /* errno, or 0 */
    const char *file; /* where it was set */
    int line;
    char text[360];
    char remedy[240];        /* what the reader can do; may be empty */
    uint32_t retry_after_ms; /* when trying again may help; 0 = not known */
};

#define err_set(err, code, ...) err_set_at((err), (code), 0, __FILE__, __LINE__, __VA_ARGS__)
/* As err_set with the given errno's text appended, and where it has one that always holds (too many files, disk full) a remedy. */
#define err_sys(err, code, errnum, ...) err_set_at((err), (code), (errnum), __FILE__, __LINE__, __VA_ARGS__)

/* Both return code, so that `return err_set(err, ...)` reads well. */
enum err_code err_set_at(struct err *err, enum err_code code, int sys, const char *file, int line, const char *fmt, ...)
    ATTR_PRINTF(6, 7);
/* Puts "context: " before the text. Returns the code. */
enum err_code err_wrap(struct err *err, const char *fmt, ...) ATTR_PRINTF(2, 3);
/* Sets the remedy (replaces). Returns the code. */
enum err_code err_remedy(struct err *err, const char *fmt, ...) ATTR_PRINTF(2, 3);

int err_http_status(enum err_code code);       /* the single table of codes to HTTP statuses */
const char *err_code_name(enum err_code code); /* "invalid", "not_found", ... as in logs and metrics */

#endif
