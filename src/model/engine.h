/* Heavy engines (ONNX Runtime ...) are shared libraries that are found, checked and loaded at run time.
 * Places, first hit wins: $QUERN_ENGINE_DIR, <user data>/quern/engines, /usr/local/lib/quern/engines, /usr/lib/quern/engines.
 * Layout: <place>/onnxruntime/1.32.0/libonnxruntime.so.1.32.0 and a file SHA256 beside it. */
#ifndef MODEL_ENGINE_H
#define MODEL_ENGINE_H

#include "base/buf.h"
#include "base/err.h"

struct engine_info {
    const char *name;     /* "onnxruntime" */
    const char *version;  /* the pinned one */
    const char *used_for; /* "ONNX models (.onnx)" */
};

const struct engine_info *engine_list(size_t *len);
/* Path of the engine's library. ERR_NOT_FOUND with the remedy "run: quern engine install onnxruntime". */
enum err_code engine_find(const char *name, const char *dir_or_null, char *out_path, size_t out_size, struct err *err);
/* Default user place, created when missing. */
enum err_code engine_user_dir(char *out, size_t out_size, struct err *err);
/* quern engine install NAME: fetches the pinned wheel by pip (hash checked), takes the library out of it, verifies that it loads and has the right
 * version, moves it into place atomically. progress lines go to stderr. */
enum err_code engine_install(const char *name, struct err *err);
/* Hash of the installed file against the pinned one, then a trial load in a child process. */
enum err_code engine_verify(const char *name, struct buf *report, struct err *err);

#endif
