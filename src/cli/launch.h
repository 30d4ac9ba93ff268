/* From the command line to the running platform. The commands `serve` and `up` end in master_run, which lives in app: cli gets it as
 * a function pointer, so that the room does not depend on the one above it. */
#ifndef CLI_LAUNCH_H
#define CLI_LAUNCH_H

#include "cli/config.h"
#include "cli/exit.h"

struct master_options {
    const char *config_file; /* absolute path, for texts and status; NULL for `quern serve` */
    bool is_serve;           /* started by `quern serve`: print addresses and a curl line for each model when ready */
    const char *exe;         /* this program, for starting roles: execve takes it as it is */
    /* Builds the configuration once more, aside, with the same command line (SIGHUP, reload by API). On success *out is the
     * caller's to free with config_done; on error nothing has changed and err says why. */
    enum err_code (*reload)(struct config *out, void *arg, struct err *err);
    void *reload_arg;
};

/* Runs until told to stop; owns nothing of c, which stays valid until it returns. Returns an exit code: EXIT_ADDRESS when an
 * address is taken, EXIT_DATA when the data directory is, EXIT_FAILED otherwise. */
typedef int master_run_fn(struct config *c, const struct master_options *o);
int master_run(struct config *c, const struct master_options *o); /* src/app */

/* The whole command line: parses, runs a command, returns the process's exit code. */
int cli_main(int argc, char **argv, master_run_fn *run);

#endif
