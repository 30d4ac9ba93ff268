#include "cli/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/familiar.h"

const struct command *cli_command(const char *name)
{
    for (const struct command *c = cli_commands; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

int cli_print(struct buf *out)
{
    struct str s = buf_view(out);
    bool is_written = !out->failed && fwrite(s.p ? s.p : "", 1, s.n, stdout) == s.n && fflush(stdout) == 0;
    int why = errno;
    bool is_too_much = out->failed;
    buf_done(out);
    if (is_written)
        return EXIT_FINE;
    (void)fprintf(stderr, "quern: cannot write the output: %s\n", is_too_much ? "there is too much" : strerror(why));
    return EXIT_FAILED;
}

const char *cli_config_file(const struct args *a, struct err *err)
{
    const char *option = args_get(a, "config");
    if (!option || a->pos_len == 0)
        return option ? option : a->pos_len ? a->pos[0] : "quern.yaml";
    (void)err_set(err, ERR_INVALID, "quern %s: two configurations: %s and %s", a->command->name, option, a->pos[0]);
    err_remedy(err, "name one, with -c or without");
    return NULL;
}

int cli_fail(const struct err *err, int code)
{
    bool is_named = strncmp(err->text, "quern ", 6) == 0; /* errors of the command line name their command */
    (void)fprintf(stderr, "%s%s\n", is_named ? "" : "quern: ", err->text);
    if (err->remedy[0])
        (void)fprintf(stderr, "  %s\n", err->remedy);
    return code;
}

static int unknown_command(const char *name)
{
    const char *names[32];
    size_t len = 0;
    struct err err = {0};
    for (const struct command *c = cli_commands; c->name && len < ARRAY_LEN(names); c++)
        if (!c->is_hidden)
            names[len++] = c->name;
    const char *near = settings_nearest(str_c(name), names, len);
    bool is_option = name[0] == '-';
    (void)err_set(&err, ERR_INVALID, "there is no %s %.60s", is_option ? "option" : "command", name);
    if (familiar_command(name, &err))
        return cli_fail(&err, EXIT_USAGE);
    if (near)
        (void)err_remedy(&err, "did you mean quern %s?", near);
    else if (strchr(name, '.') || strchr(name, '/'))
        (void)err_remedy(&err, "to serve a model file: quern serve %.100s", name);
    else
        (void)err_remedy(&err, "see: quern --help");
    return cli_fail(&err, EXIT_USAGE);
}

int cmd_help(const struct args *a, master_run_fn *run)
{
    (void)run;
    struct buf out;
    const struct command *c = a->pos_len ? cli_command(a->pos[0]) : NULL;
    if (a->pos_len && !c)
        return unknown_command(a->pos[0]);
    buf_init(&out, CLI_OUTPUT_MAX);
    if (c)
        help_command(c, &out);
    else
        help_overview(&out);
    return cli_print(&out);
}

int cmd_completion(const struct args *a, master_run_fn *run)
{
    (void)run;
    struct buf out;
    buf_init(&out, CLI_OUTPUT_MAX);
    if (completion_script(a->pos[0], &out))
        return cli_print(&out);
    struct err err = {0};
    (void)err_set(&err, ERR_INVALID, "no completion for the shell \"%.60s\"", a->pos[0]);
    (void)err_remedy(&err, "known: bash, zsh, fish");
    return cli_fail(&err, EXIT_USAGE);
}

int cmd_reference(const struct args *a, master_run_fn *run)
{
    (void)a;
    (void)run;
    struct buf out;
    buf_init(&out, CLI_OUTPUT_MAX);
    help_reference(&out);
    return cli_print(&out);
}

int cli_main(int argc, char **argv, master_run_fn *run)
{
    struct args none = {0}, args;
    struct err err = {0};
    if (argc < 2) {
        struct buf out;
        buf_init(&out, CLI_OUTPUT_MAX);
        help_overview(&out);
        (void)cli_print(&out);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return cmd_help(&none, run);
    if (strcmp(argv[1], "--version") == 0)
        return cmd_version(&none, run);
    const struct command *c = cli_command(argv[1]);
    if (!c)
        return unknown_command(argv[1]);
    if (args_parse(c, argc - 2, argv + 2, &args, &err))
        return cli_fail(&err, EXIT_USAGE);
    int code;
    if (args.wants_help) {
        struct buf out;
        buf_init(&out, CLI_OUTPUT_MAX);
        help_command(c, &out);
        code = cli_print(&out);
    } else {
        code = c->run(&args, run);
    }
    args_done(&args);
    return code;
}
