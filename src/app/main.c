/* One program, many processes: the master starts this binary again with --role=NAME, everything else is the command line. */
#include <stdio.h>
#include <string.h>

#include "app/roles.h"
#include "cli/launch.h"

static int role_main(const char *role, int argc, char **argv)
{
    if (strcmp(role, "edge") == 0)
        return edge_main(argc, argv);
    if (strcmp(role, "worker") == 0)
        return worker_main(argc, argv);
    if (strcmp(role, "stem") == 0)
        return stem_main(argc, argv);
    (void)fprintf(stderr, "quern: there is no role \"%s\"; roles are started by the master, see quern --help\n", role);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    static const char option[] = "--role=";
    if (argc > 1 && strncmp(argv[1], option, sizeof option - 1) == 0)
        return role_main(argv[1] + sizeof option - 1, argc, argv);
    return cli_main(argc, argv, master_run);
}
