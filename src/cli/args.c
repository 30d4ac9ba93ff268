#include "cli/args.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/familiar.h"

#define OPTIONS_MAX 32 /* of one command */

const struct arg_option args_common[] = {{.name = "help", .letter = 'h', .help = "Show this help and exit."}, {0}};

static const struct arg_option *find_in(const struct arg_option *o, struct str name, char letter)
{
    for (; o && o->name; o++)
        if (letter ? o->letter == letter : str_eq_c(name, o->name))
            return o;
    return NULL;
}

static const struct arg_option *find(const struct command *c, struct str name, char letter)
{
    const struct arg_option *o = find_in(c->options, name, letter);
    return o ? o : find_in(args_common, name, letter);
}

static enum err_code see_help(const struct command *c, struct err *err)
{
    return err_remedy(err, "see: quern %s --help", c->name);
}

static enum err_code unknown_option(const struct command *c, const char *given, struct str name, struct err *err)
{
    const char *names[OPTIONS_MAX + 1] = {0};
    size_t len = 0;
    for (const struct arg_option *o = c->options; o && o->name; o++) {
        CHECK(len < OPTIONS_MAX);
        names[len++] = o->name;
    }
    names[len++] = args_common[0].name;
    const char *near = settings_nearest(name, names, len);
    (void)err_set(err, ERR_INVALID, "quern %s: there is no option %.60s", c->name, given);
    if (familiar_option(c->name, name, err))
        return err->code;
    return near ? err_remedy(err, "did you mean --%s?", near) : see_help(c, err);
}

/* Appends what one option says; *at is at its word in argv and moves on when the value is the next word. */
static enum err_code take_option(struct args *a, const struct arg_option *o, const char *value, int argc, char **argv,
                                 int *at, struct err *err)
{
    const struct command *c = a->command;
    if (o == &args_common[0]) {
        a->wants_help = true;
        return ERR_OK;
    }
    if (!o->value && value)
        return err_set(err, ERR_INVALID, "quern %s: --%s takes no value", c->name, o->name), see_help(c, err);
    if (o->value && !value) {
        if (*at + 1 >= argc) {
            (void)err_set(err, ERR_INVALID, "quern %s: --%s needs a value: %s", c->name, o->name, o->value);
            return see_help(c, err);
        }
        value = argv[++*at];
    }
    if (!o->is_repeatable && args_has(a, o->name))
        return err_set(err, ERR_INVALID, "quern %s: --%s is given twice", c->name, o->name);
    a->hits[a->hits_len++] = (struct arg_hit){o, value ? value : "true"};
    return ERR_OK;
}

static enum err_code take_long(struct args *a, int argc, char **argv, int *at, struct err *err)
{
    struct str value = {NULL, 0}, name = str_cut(str_c(argv[*at] + 2), '=', &value);
    const char *text = strchr(argv[*at], '=') ? value.p : NULL;
    const struct arg_option *o = find(a->command, name, 0);
    if (!o)
        return unknown_option(a->command, argv[*at], name, err);
    return take_option(a, o, text, argc, argv, at, err);
}

/* -c FILE or -cFILE; flags are not bundled. */
static enum err_code take_short(struct args *a, int argc, char **argv, int *at, struct err *err)
{
    const char *word = argv[*at];
    const struct arg_option *o = find(a->command, (struct str){0}, word[1]);
    if (!o)
        return unknown_option(a->command, word, str_c(word + 1), err);
    return take_option(a, o, word[2] ? word + 2 : NULL, argc, argv, at, err);
}

static enum err_code check_count(const struct args *a, struct err *err)
{
    const struct command *c = a->command;
    if (a->pos_len < (size_t)c->args_min) {
        (void)err_set(err, ERR_INVALID, "quern %s: something is missing: quern %s %s", c->name, c->name, c->usage);
        return see_help(c, err);
    }
    if (c->args_max >= 0 && a->pos_len > (size_t)c->args_max) {
        (void)err_set(err, ERR_INVALID, "quern %s: too many arguments, from \"%.60s\" on", c->name,
                      a->pos[c->args_max]);
        return see_help(c, err);
    }
    return ERR_OK;
}

static enum err_code parse(struct args *a, int argc, char **argv, struct err *err)
{
    bool is_over = false;
    for (int i = 0; i < argc; i++) {
        bool is_option = !is_over && argv[i][0] == '-' && argv[i][1];
        enum err_code code = ERR_OK;
        if (!is_option)
            a->pos[a->pos_len++] = argv[i];
        else if (strcmp(argv[i], "--") == 0)
            is_over = true;
        else if (argv[i][1] == '-')
            code = take_long(a, argc, argv, &i, err);
        else
            code = take_short(a, argc, argv, &i, err);
        if (code)
            return code;
    }
    return a->wants_help ? ERR_OK : check_count(a, err);
}

enum err_code args_parse(const struct command *c, int argc, char **argv, struct args *out, struct err *err)
{
    struct args a = {.command = c};
    size_t room = (size_t)(argc > 0 ? argc : 1);
    a.hits = calloc(room, sizeof *a.hits);
    a.pos = calloc(room, sizeof *a.pos);
    CHECK(a.hits && a.pos);
    if (parse(&a, argc, argv, err)) {
        args_done(&a);
        return err->code;
    }
    *out = a;
    return ERR_OK;
}

void args_done(struct args *a)
{
    free(a->hits);
    free(a->pos);
    *a = (struct args){0};
}

const char *args_get(const struct args *a, const char *name)
{
    for (size_t i = a->hits_len; i-- > 0;)
        if (strcmp(a->hits[i].option->name, name) == 0)
            return a->hits[i].value;
    return NULL;
}

bool args_has(const struct args *a, const char *name)
{
    return args_get(a, name) != NULL;
}
