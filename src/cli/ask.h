/* Asking the quern that runs: through the socket in its data directory, or at an address given with --url. */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "cli/running.h"
#include "net/fetch.h"

struct ask {
    const char *unix_path; /* NULL: host and port */
    const char *host;
    int port;
    struct running running; /* data NULL: --url was given */
    uint64_t timeout_ns;    /* 0: 30 s */
};

/* By the options --url and --data. Text lies in the arena, or is the command line's. */
enum err_code ask_init(struct ask *to, const struct args *args, struct arena *a, struct err *err);

/* One question. EXIT_FINE: a 2xx answer, whose body has padding for the JSON reader; fetch_done it. Else nothing is to be freed, err says why,
 * and the code is the command's: EXIT_NOT_RUNNING when nobody answers, EXIT_FAILED when it was refused. */
int ask(const struct ask *to, const char *method, const char *path, struct fetch_response *r, struct err *err);
/* The text and remedy of an answer that is an error. */
void ask_error(struct fetch_response *r, struct err *err);

/* Is it a name as models have them: letters, digits, ".", "_", "-"? Such a name needs no escaping in a path. */
bool ask_is_name(const char *name);

#endif
