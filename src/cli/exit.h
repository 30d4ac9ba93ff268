/* Exit codes: a contract with scripts, listed in --help and docs/reference.md. A code never changes its meaning. */
#ifndef CLI_EXIT_H
#define CLI_EXIT_H

enum exit_code {
    EXIT_FINE = 0,
    EXIT_FAILED = 1,      /* failed at run time */
    EXIT_USAGE = 2,       /* wrong command line */
    EXIT_CONFIG = 3,      /* the configuration is invalid */
    EXIT_ENGINE = 4,      /* an engine that is needed is not installed */
    EXIT_ADDRESS = 5,     /* an address to listen on is in use */
    EXIT_DATA = 6,        /* another quern uses the data directory */
    EXIT_NOT_RUNNING = 7, /* no quern runs with this data directory */
    EXIT_CODES_
};

#endif
