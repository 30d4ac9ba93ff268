/* The commands: their table, what each runs, and what they share. Each cmd_*.c is one command; it prints its results to standard
 * output, its troubles to standard error, and returns an exit code. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/args.h"

extern const struct command cli_commands[]; /* up to an entry without name */
const struct command *cli_command(const char *name);

int cmd_serve(const struct args *a, master_run_fn *run);
int cmd_up(const struct args *a, master_run_fn *run);
int cmd_check(const struct args *a, master_run_fn *run);
int cmd_status(const struct args *a, master_run_fn *run);
int cmd_reload(const struct args *a, master_run_fn *run);
int cmd_engine(const struct args *a, master_run_fn *run);
int cmd_model(const struct args *a, master_run_fn *run);
int cmd_request(const struct args *a, master_run_fn *run);
int cmd_record(const struct args *a, master_run_fn *run);
int cmd_replay(const struct args *a, master_run_fn *run);
int cmd_bench(const struct args *a, master_run_fn *run);
int cmd_tune(const struct args *a, master_run_fn *run);
int cmd_version(const struct args *a, master_run_fn *run);
int cmd_completion(const struct args *a, master_run_fn *run);
int cmd_help(const struct args *a, master_run_fn *run);
int cmd_reference(const struct args *a, master_run_fn *run);

/* The configuration that a command is about: FILE or -c FILE, else quern.yaml; NULL with an error when both are given. */
const char *cli_config_file(const struct args *a, struct err *err);

#define CLI_OUTPUT_MAX ((size_t)16 << 20)

/* The text to standard output; EXIT_FAILED with a message when it cannot be written. Frees the buf. */
int cli_print(struct buf *out);
/* "quern: TEXT" and the remedy to standard error; returns code. */
int cli_fail(const struct err *err, int code);

/* help.c */
void help_overview(struct buf *out);
/* An option's own text, or that of its setting. */
const char *help_option_text(const struct arg_option *o);
void help_command(const struct command *c, struct buf *out);
/* Everything: commands, settings, exit codes, environment; docs/reference.md. */
void help_reference(struct buf *out);
/* completion.c: a script for the shell; false when the shell is unknown. */
bool completion_script(const char *shell, struct buf *out);

#endif
