/* Settings: one table per section is the truth for YAML, command line, --help, the reference page and error texts.
 *
 *     static const struct setting listen_settings[] = {
 *         SETTING_STR("address", struct listen_config, address, .def = "127.0.0.1:8000", .help = "HOST:PORT to listen on."),
 *         SETTING_INT("backlog", struct listen_config, backlog, .def = "1024", .min = 1, .max = 65535,
 *                     .help = "Pending connections."),
 *         {0}};
 *
 * settings_load_places reads a YAML file (libyaml events; anchors, aliases, tags and duplicate keys are refused) into a struct by such
 * tables, nested by sections and maps. Every error has file:line:column, the key's path, and a remedy (nearest known key
 * for a typo). Defaults are filled before. All text goes into the arena; members that no table names are left alone, so that
 * the struct may own the arena. Limits: SETTINGS_*_MAX below. A value that is empty, `~` or `null` is an error for a scalar
 * and means "nothing in it" for a section, map or list. */
#ifndef BASE_SETTINGS_H
#define BASE_SETTINGS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define SETTINGS_FILE_MAX  ((size_t)1 << 20) /* bytes of a file */
#define SETTINGS_DEPTH_MAX 16                /* nesting of maps and lists */
#define SETTINGS_ITEMS_MAX 10000             /* keys and list items in all */
#define SETTINGS_KEY_MAX   256               /* bytes of a key */
#define SETTINGS_TEXT_MAX  4096              /* bytes of a text without a limit of its own */

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
    const char *def; /* default as text, NULL = none/zero */
    double min,
        max; /* of the value; SET_STR: of its bytes; SET_STRS, SET_MAP: of the number of items; SET_INTS_MAP: of each value; both 0 = no limit */
    const char *zero;           /* SET_INT: a word that stands for 0, whatever min says: "auto" */
    const char *const *choices; /* SET_ENUM: NULL-terminated */
    const struct setting *sub;  /* SET_SECTION, SET_MAP */
    size_t item_size;           /* SET_MAP */
    const char *help;           /* one or two plain sentences */
    const char *unit;           /* shown in the reference; may be NULL */
};

/* For tables: the kind, the key, and the member, whose type is checked at compile time; then .def, .min, .max, .help, .unit. */
#define SETTING_OF_(kind_, c_type, key_, type, field, ...)                                                             \
    {                                                                                                                  \
        .key = (key_), .kind = (kind_),                                                                                \
        .offset = _Generic(&((type *)0)->field, c_type *                                                               \
                           : offsetof(type, field)),                                                                   \
        __VA_ARGS__                                                                                                    \
    }
#define SETTING_STR(key, type, field, ...)   SETTING_OF_(SET_STR, const char *, key, type, field, __VA_ARGS__)
#define SETTING_INT(key, type, field, ...)   SETTING_OF_(SET_INT, int64_t, key, type, field, __VA_ARGS__)
#define SETTING_FLOAT(key, type, field, ...) SETTING_OF_(SET_FLOAT, double, key, type, field, __VA_ARGS__)
#define SETTING_BOOL(key, type, field, ...)  SETTING_OF_(SET_BOOL, bool, key, type, field, __VA_ARGS__)
#define SETTING_BYTES(key, type, field, ...) SETTING_OF_(SET_BYTES, uint64_t, key, type, field, __VA_ARGS__)
#define SETTING_TIME(key, type, field, ...)  SETTING_OF_(SET_TIME, uint64_t, key, type, field, __VA_ARGS__)
#define SETTING_ENUM(key, type, field, ...)  SETTING_OF_(SET_ENUM, int, key, type, field, __VA_ARGS__)
#define SETTING_STRS(key, type, field, ...)  SETTING_OF_(SET_STRS, struct setting_list, key, type, field, __VA_ARGS__)
#define SETTING_INTS_MAP(key, type, field, ...)                                                                        \
    SETTING_OF_(SET_INTS_MAP, struct setting_list, key, type, field, __VA_ARGS__)
#define SETTING_TEXT_MAP(key, type, field, ...)                                                                        \
    SETTING_OF_(SET_TEXT_MAP, struct setting_list, key, type, field, __VA_ARGS__)
#define SETTING_SECTION(key_, type, field, table, ...)                                                                 \
    {                                                                                                                  \
        .key = (key_), .kind = SET_SECTION, .offset = offsetof(type, field), .sub = (table), __VA_ARGS__               \
    }
#define SETTING_MAP(key, type, field, table, item_type, ...)                                                           \
    SETTING_OF_(SET_MAP, struct setting_list, key, type, field, .sub = (table), .item_size = sizeof(item_type),        \
                __VA_ARGS__)

/* Where a value stood in the file, for checks of meaning that come after reading ("models.iris.path": 3:11). */
struct setting_place {
    struct str path;
    uint32_t line, column; /* from 1 */
};
struct setting_places {
    struct setting_place *items; /* in the order of the file */
    size_t len;
    uint32_t *index; /* private: hash table of 1 + position in items, 0: free; a power of two in size */
    size_t index_cap;
};

/* Fills *out (of `size` bytes) with defaults, then with the file's content, and remembers where each key stood (in the arena). places may be NULL. */
enum err_code settings_load_places(const char *path, const struct setting *table, void *out, size_t size,
                                   struct arena *a, struct setting_places *places, struct err *err);
/* The same from memory; name stands for the file in errors. */
enum err_code settings_parse_places(const char *name, struct str yaml, const struct setting *table, void *out,
                                    size_t size, struct arena *a, struct setting_places *places, struct err *err);
enum err_code settings_parse(const char *name, struct str yaml, const struct setting *table, void *out, size_t size,
                             struct arena *a, struct err *err);
/* The place of a path, or of the nearest one around it ("models.iris" for "models.iris.path"); NULL: none. */
const struct setting_place *settings_place(const struct setting_places *places, const char *path);
/* One more, that stood nowhere in the file: line 0. */
void settings_place_add(struct setting_places *places, const char *path, struct arena *a);
/* Defaults only. */
void settings_defaults(const struct setting *table, void *out, size_t size, struct arena *a);
/* The line of a table for a dotted key; "models.*.threads", or any name in place of the star, for one in a map. setting NULL: none. */
struct setting_found {
    const struct setting *setting;
    size_t offset;  /* of the struct that has it, in the outermost one; inside of a map, in the map's item */
    bool is_in_map; /* or is an item of one */
};
struct setting_found settings_find(const struct setting *table, const char *key);
/* One value from text (command line: --threads 4); `where` names it in errors. key may be dotted ("log.level"); lists take
 * "a, b", maps "a: 1, b: 2". */
enum err_code settings_set(const struct setting *table, void *out, const char *key, struct str value, const char *where,
                           struct arena *a, struct err *err);
/* The reference as Markdown, for docs/reference.md. */
void settings_reference(const struct setting *table, const char *title, struct buf *out);
/* The settings in force as YAML. With places, what did not stand in the file is marked by a comment, "# default". */
void settings_dump(const struct setting *table, const void *values, const struct setting_places *places,
                   struct buf *out);
/* One value of the struct that the table is for, as YAML would have it on one line; nothing for a text that is not set. Not for sections and maps of sections. */
void settings_text(const struct setting *s, const void *values, struct buf *out);
/* The one of `names` that a typo most likely meant, or NULL when none is near. */
const char *settings_nearest(struct str word, const char *const *names, size_t names_len);

#endif
