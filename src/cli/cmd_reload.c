/* quern reload: what SIGHUP does, with the answer. */
#include <stdio.h>

#include "cli/ask.h"
#include "cli/commands.h"

int cmd_reload(const struct args *args, master_run_fn *run)
{
    struct arena a;
    struct ask to;
    struct fetch_response r;
    struct err err = {0};
    (void)run;
    arena_init(&a, 4096, 4 << 20);
    int code = EXIT_USAGE;
    if (ask_init(&to, args, &a, &err) == ERR_OK)
        code = ask(&to, "POST", "/api/reload", &r, &err);
    if (code == EXIT_FINE) {
        fetch_done(&r);
        (void)printf("reloaded; models that changed take over when they are ready (quern status)\n");
    } else {
        (void)cli_fail(&err, code);
    }
    arena_done(&a);
    return code;
}
