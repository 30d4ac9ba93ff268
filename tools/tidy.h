/* Included before everything else by clang-tidy alone: its analyzer sees one file at a time, and would take it for possible that an error which was just set is
 * none. The code and what is returned are what base/err.c makes of them. */
#include "base/err.h"

static inline enum err_code tidy_set(struct err *err, enum err_code code)
{
    err->code = code;
    return code;
}

#undef err_set
#undef err_sys
#define err_set(err, code, ...) (err_set_at((err), (code), 0, __FILE__, __LINE__, __VA_ARGS__), tidy_set((err), (code)))
#define err_sys(err, code, errnum, ...)                                                                                \
    (err_set_at((err), (code), (errnum), __FILE__, __LINE__, __VA_ARGS__), tidy_set((err), (code)))
#define err_remedy(err, ...)                                                                                           \
    ({                                                                                                                 \
        enum err_code code_ = (err)->code;                                                                             \
        (void)err_remedy((err), __VA_ARGS__);                                                                          \
        tidy_set((err), code_);                                                                                        \
    })
