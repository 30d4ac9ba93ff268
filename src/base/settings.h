/* Settings: one table per section is the truth for YAML, command line, --help, the reference page and error texts.
 *
 *     static const struct setting listen_settings[] = {
 *         SETTING_STR(struct listen_config, address, "127.0.0.1:8000", "HOST:PORT to listen on"),
 *         SETTING_INT(struct listen_config, backlog, 1024, 1, 65535, "pending connections"),
 *         {0}};
 *
 * settings_load reads a YAML file (libyaml events; anchors and tags are refused, sizes and depth limited) into a
 * struct by such tables, nested by sections and maps. Every error has file:line:column, the key's path, and a remedy
 * (nearest known key for a typo). Defaults are filled before. All text goes into the arena. */
#ifndef BASE_SETTINGS_H
#define BASE_SETTINGS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum setting_kind {
    SET_STR = 1, /* const char *      */
    SET_INT,     /* int64_t           */
    SET_FLOAT,   /* double            */
    SET_BOOL,    /* bool              */
    SET_BYTES,   /* uint64_t, "64MiB", "1GB", plain number */
    SET_TIME,    /* uint64_t ns, "250us", "20ms", "1.5s", "2m", "1h" */
    SET_ENUM,    /* int, one of choices */
    SET_STRS,    /* struct setting_list of const char *: a YAML list, or one scalar */
    SET_SECTION, /* nested struct by table `sub` */
    SET_MAP, /* struct setting_list of structs by `sub` (size item_size): YAML map from name to section; the name goes into the
                    item's first member, `const char *name`. A scalar value fills the sub-table's first setting after it ("iris: path") */
    SET_INTS_MAP, /* struct setting_list of struct setting_pair: YAML map from name to integer, order kept */
    SET_TEXT_MAP, /* struct setting_list of struct setting_text_pair: YAML map from name to any scalar, as text, order kept */
};

struct setting_list {
    void *items;
    size_t len;
};
struct setting_pair {
    const char *name;
    int64_t value;
};

struct setting_text_pair {
    const char *name, *value;
};

struct setting {
    const char *key;
    enum setting_kind kind;
    size_t offset;
    const char *def;            /* default as text, NULL = none/zero */
    double min, max;            /* SET_INT, SET_FLOAT, SET_BYTES, SET_TIME (ns), list lengths; both 0 = no limit */
    const char *const *choices; /* SET_ENUM: NULL-terminated */
    const struct setting *sub;  /* SET_SECTION, SET_MAP */
    size_t item_size;           /* SET_MAP */
    const char *help;           /* one or two plain sentences */
    const char *unit;           /* shown in the reference; may be NULL */
};

/* Fills *out (of `size` bytes) with defaults, then with the file's content. */
enum err_code settings_load(const char *path, const struct setting *table, void *out, size_t size, struct arena *a,
                            struct err *err);
/* The same from memory; name stands for the file in errors. */
enum err_code settings_parse(const char *name, struct str yaml, const struct setting *table, void *out, size_t size,
                             struct arena *a, struct err *err);
/* Defaults only. */
void settings_defaults(const struct setting *table, void *out, size_t size, struct arena *a);
/* One value from text (command line: --threads 4); `where` names it in errors. */
enum err_code settings_set(const struct setting *table, void *out, const char *key, struct str value, const char *where,
                           struct arena *a, struct err *err);
/* The reference as Markdown, for docs/reference.md. */
void settings_reference(const struct setting *table, const char *title, struct buf *out);
/* The settings in force as YAML, defaults marked by a comment (quern check). */
void settings_dump(const struct setting *table, const void *values, struct buf *out);

#endif
