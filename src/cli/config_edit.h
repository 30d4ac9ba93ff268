/* Settings of a model written into a configuration's text: nothing but what they need is touched, comments and layout stay. Where the text is laid out in a way that this does not
 * understand, it says so instead of guessing: the result is read again and must mean the old configuration with the changes, and nothing else. */
#ifndef CLI_CONFIG_EDIT_H
#define CLI_CONFIG_EDIT_H

#include "base/buf.h"
#include "base/err.h"

struct config_change {
    const char *key, *value; /* below models.NAME: "instances", "batching.delay" */
    bool is_default;         /* written only over another value, never added */
};

/* name: of the file, for errors. out: the new text. ERR_NOT_FOUND: the model does not stand in it (one of a repository). ERR_UNSUPPORTED: write it by hand. */
enum err_code config_edit(const char *name, struct str yaml, const char *model, const struct config_change *changes,
                          size_t changes_len, struct buf *out, struct err *err);

#endif
