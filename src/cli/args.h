/* The command line by tables: one struct command describes a command's options, arguments, help and examples; parsing, --help,
 * completion and the reference page derive from it. Options may stand before, between and behind arguments; `--` ends them;
 * both `--name value` and `--name=value` are taken. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "base/buf.h"
#include "base/err.h"
#include "cli/launch.h"

struct arg_option {
    const char *name;     /* without the dashes */
    const char *value;    /* what the value is called ("HOST:PORT"); NULL: a flag */
    const char *key;      /* the setting that it sets (config_set), whose help it borrows when it has none; or NULL */
    const char *help;     /* sentences */
    const char *complete; /* "FILE", "DIR", "COMMAND", or the possible words; NULL: nothing to offer */
    char letter;          /* short form, or 0 */
    bool is_repeatable;
};

struct arg_example {
    const char *line, *text;
};

struct args;
struct command {
    const char *name;
    const char *summary;                /* half a sentence, for lists */
    const char *usage;                  /* behind the name: "[OPTION]... FILE" */
    const char *about;                  /* paragraphs, apart by "\n" */
    const struct arg_option *options;   /* up to an entry without name; may be NULL */
    const struct arg_example *examples; /* up to an entry without line; may be NULL */
    int args_min, args_max;
    const char *complete; /* as in arg_option, for arguments */
    bool is_hidden;
    int (*run)(const struct args *a, master_run_fn *run);
};

struct args {
    const struct command *command;
    struct arg_hit {
        const struct arg_option *option;
        const char *value; /* "true" for a flag */
    } * hits;              /* in order */
    size_t hits_len;
    const char **pos; /* arguments that are no options */
    size_t pos_len;
    bool wants_help;
};

/* argv: without the program's and the command's name. Texts are borrowed from argv. On error nothing is to be freed. */
enum err_code args_parse(const struct command *c, int argc, char **argv, struct args *out, struct err *err);
void args_done(struct args *a);
/* Value of the option given last; NULL: not given. */
const char *args_get(const struct args *a, const char *name);
bool args_has(const struct args *a, const char *name);

/* Options that every command takes. */
extern const struct arg_option args_common[];

#endif
