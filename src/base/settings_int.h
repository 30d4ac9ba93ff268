/* Inside of base/settings: YAML text to a tree of nodes (settings_tree.c), nodes to structs by tables (settings.c), one scalar
 * to one member and back (settings_value.c), where each key stood (settings_place.c), tables to documents (settings_show.c). */
#ifndef BASE_SETTINGS_INT_H
#define BASE_SETTINGS_INT_H

#include "base/settings.h"

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    bool is_plain;         /* a scalar without quotes */
    uint32_t line, column; /* of the value, from 1 */
    uint32_t key_line, key_column;
    struct str key;  /* inside a map */
    struct str text; /* of a scalar; NUL behind it */
    struct node *first, *last, *next;
    size_t len; /* children */
};

/* *out_root is NULL for an empty text. Nodes and text lie in the arena. Errors begin with name:line:column. */
enum err_code settings_tree(const char *name, struct str yaml, struct arena *a, struct node **out_root,
                            struct err *err);

/* Scalar text to the member at `field`. Error texts say what is allowed and what came; the caller adds the place. */
enum err_code settings_value_parse(const struct setting *s, void *field, struct str text, struct arena *a,
                                   struct err *err);
/* The member as text that settings_value_parse reads back; scalars only. */
void settings_value_format(const struct setting *s, const void *field, struct buf *out);
/* "a whole number from 1 to 64": for errors and the reference. */
void settings_value_allowed(const struct setting *s, char *out, size_t out_size);
bool settings_is_scalar(enum setting_kind kind);
/* A foreign text for an error: in quotes, cut, without control characters. */
#define SETTINGS_QUOTED_MAX 64
const char *settings_quote(struct str s, char out[SETTINGS_QUOTED_MAX]);
/* Makes settings_place quick, once all places are there. Of two with one path (paths are cut) the first counts. */
enum err_code settings_places_index(struct setting_places *places, struct arena *a);
/* The member that a table's line describes. */
void *settings_field(const struct setting *s, void *out);
const void *settings_field_const(const struct setting *s, const void *values);

#endif
