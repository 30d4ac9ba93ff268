/* JSON of a server as a flat list of paths and values, for commands that show a lot of it: "admission.ahead_rows", "why.0", "why.#" (the length).
 * Strings are made fit for a terminal: one line, no control characters. All memory is the arena's. */
#ifndef CLI_FLAT_JSON_H
#define CLI_FLAT_JSON_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"

#define FLAT_ITEMS_MAX 65536
#define FLAT_PATH_MAX  256
#define FLAT_DEPTH_MAX 16

struct flat_item {
    const char *path;
    enum json_type type; /* of the value; JSON_NUMBER for the length of an array */
    const char *text;    /* strings decoded; others as they stand */
};

struct flat {
    struct flat_item *items;
    size_t len, cap;
};

/* text: with BUF_PAD readable bytes behind it. */
enum err_code flat_read(struct str text, struct arena *a, struct flat *out, struct err *err);
/* NULL: there is none of that path. */
const struct flat_item *flat_find(const struct flat *f, const char *path);
/* The text of a value; "" for what is not there, and for null. */
const char *flat_text(const struct flat *f, const char *path);
/* 0 for what is no number or not there. */
double flat_number(const struct flat *f, const char *path);
bool flat_true(const struct flat *f, const char *path);
/* The path made by printf. */
const char *flat_text_at(const struct flat *f, const char *fmt, ...) ATTR_PRINTF(2, 3);
double flat_number_at(const struct flat *f, const char *fmt, ...) ATTR_PRINTF(2, 3);

#endif
