/* For tests of the command line: runs cli_main in this process and catches what it prints. */
#ifndef TEST_CLI_RUN_CLI_H
#define TEST_CLI_RUN_CLI_H

#include "cli/launch.h"

struct cli_result {
    int code;
    char out[131072], err[8192]; /* NUL-terminated, cut */
};

/* What the master was asked to run, copied: the configuration is gone when cli_main returns. */
struct cli_launch {
    int count;
    bool is_serve;
    char config_file[512], data[512], listen[8][80], exe[64];
    size_t listen_len, models_len;
    struct {
        char name[64], path[512], backend[32], version[24], class_name[32];
        int isolation;
        int64_t instances;
    } models[16];
    int64_t threads;
    int log_format, log_level;
    bool access;
    enum err_code reloaded; /* what the reload callback said when the master called it once */
    char reload_text[400];
    const char *reload_file, *reload_yaml; /* written just before, if set */
    int returns;                           /* to be returned by the master */
};
extern struct cli_launch cli_launch;

/* line: words apart by single spaces, without the program's name. */
const struct cli_result *run_cli(const char *line);

/* A file in a folder (made when missing). */
void put_file(const char *dir, const char *name, const char *text);

#endif
