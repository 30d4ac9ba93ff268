/* JSON of a server as a flat list of paths and values, for commands that show a lot of it: "admission.ahead_rows", "why.0", "why.#" (the length).
 * Strings are made fit for a terminal: one line, no control characters. All memory is the arena's. */
#ifndef CLI_LEAVES_H
#define CLI_LEAVES_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"

#define LEAVES_ITEMS_MAX 65536
#define LEAVES_PATH_MAX  256
#define LEAVES_DEPTH_MAX 16

struct leaf {
    const char *path;
    enum json_type type; /* of the value; JSON_NUMBER for the length of an array */
    const char *text;    /* strings decoded; others as they stand */
};

struct leaves {
    struct leaf *items;
    size_t len, cap;
};

/* text: with BUF_PAD readable bytes behind it. */
enum err_code leaves_read(struct str text, struct arena *a, struct leaves *out, struct err *err);
/* NULL: there is none of that path. */
const struct leaf *leaf_find(const struct leaves *f, const char *path);
/* The text of a value; "" for what is not there, and for null. */
const char *leaf_text(const struct leaves *f, const char *path);
/* 0 for what is no number or not there. */
double leaf_number(const struct leaves *f, const char *path);
bool leaf_true(const struct leaves *f, const char *path);
/* The path made by printf. */
const char *leaf_text_at(const struct leaves *f, const char *fmt, ...) ATTR_PRINTF(2, 3);
double leaf_number_at(const struct leaves *f, const char *fmt, ...) ATTR_PRINTF(2, 3);

#endif
