/* Inside of quern tune: the search (cmd_tune.c), the private server (tune_server.c), the configuration that the model stands in (tune_config.c). */
#ifndef CLI_TUNE_INT_H
#define CLI_TUNE_INT_H

#include <signal.h>

#include "cli/commands.h"
#include "cli/config.h"

#define TRIALS_MAX 64

struct tune_settings {
    uint64_t p99_ns, duration_ns;
    int64_t rows;
    int tensors;
};

struct trial {
    int instances, threads, max_batch; /* max_batch 0: measured at load */
    uint64_t delay_us;
    double rate; /* that holds; 0: none */
    double p99_us, cpu_us;
    double busy_rate, busy_p99_us; /* of CONNECTIONS that are never idle: what no rate held against */
};

struct tune {
    const struct args *args;
    struct tune_settings s;
    struct arena arena;
    char dir[64]; /* the private server's */
    const char *model;
    const char *file;     /* the configuration; NULL: there is none */
    struct config config; /* of it */
    bool has_config, is_written;
    const struct model_config *known; /* the model in it; NULL: it is not there */
    int pid;
    struct trial trials[TRIALS_MAX];
    size_t trials_len, best;
    struct err err;
};

extern volatile sig_atomic_t tune_is_stopped; /* by Ctrl-C */

/* tune_server.c: quern as a child, with its folder x->dir. Errors are in x->err. */
enum err_code tune_server_start(struct tune *x, const struct trial *t);
enum err_code tune_server_wait(struct tune *x); /* until the model is ready */
void tune_server_stop(struct tune *x);
/* The model as a configuration has it, with a trial's settings. */
void tune_put_model(const struct tune *x, const struct trial *t, struct buf *out);

/* tune_config.c: which model is meant, from which configuration; x->model, and x->known when it stands in one. */
enum err_code tune_find_model(struct tune *x);
/* What stands in the configuration now, or would with --write. False: it could not be written. */
bool tune_change_config(struct tune *x, struct buf *out);

#endif
