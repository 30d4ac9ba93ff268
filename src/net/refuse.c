#include "net/refuse_int.h"

#include <stdarg.h>
#include <stdio.h>

static enum err_code code_of(int status)
{
    switch (status) {
    case 413:
    case 431:
        return ERR_TOO_LARGE;
    case 415:
        return ERR_MEDIA;
    case 408:
        return ERR_TIMEOUT;
    case 501:
    case 505:
        return ERR_UNSUPPORTED;
    case 503:
        return ERR_UNAVAILABLE;
    default:
        return ERR_INVALID;
    }
}

int refuse(struct err *err, int status, const char *fmt, ...)
{
    char text[sizeof(err->text)];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* cut when too long, like every error text */
    va_end(ap);
    (void)err_set(err, code_of(status), "%s", text);
    return status;
}
