/* Protobuf's text format, as Triton's config.pbtxt is written in it, read whole into a tree without knowing the schema: messages by braces
 * or angle brackets, lists, adjacent strings joined, escapes, comments. Bounds: PBTXT_*_MAX below. No recursion. */
#ifndef MODEL_REPO_PBTXT_H
#define MODEL_REPO_PBTXT_H

#include "base/arena.h"
#include "base/err.h"

#define PBTXT_BYTES_MAX ((size_t)1 << 20)
#define PBTXT_DEPTH_MAX 32
#define PBTXT_NODES_MAX 50000

enum pbtxt_kind {
    PBTXT_MESSAGE,
    PBTXT_STRING, /* in quotes */
    PBTXT_WORD    /* a number, true, false, a name of an enumeration: as written */
};

/* One field: `name: value` or `name { ... }`; a list of n values is n fields of one name, as in the format. */
struct pbtxt {
    struct pbtxt *next;         /* in the same message */
    struct pbtxt *first, *last; /* PBTXT_MESSAGE: its fields */
    enum pbtxt_kind kind;
    struct str name, value;
    uint32_t line, column; /* from 1 */
};

/* The fields of the file's top are those of *out, a message without a name. Everything lies in the arena. `file` names the text in errors
 * ("file:line:column: ..."). */
enum err_code pbtxt_parse(const char *file, struct str text, struct arena *a, struct pbtxt *out, struct err *err);

#endif
