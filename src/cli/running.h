/* Which quern a command is about when the command line names none. */
#ifndef CLI_RUNNING_H
#define CLI_RUNNING_H

#include "cli/args.h"

#define RUNNING_SHOWN 4 /* of the others */

struct running {
    const char *data;   /* data directory; whether a quern runs there is not promised */
    const char *others; /* data directories of those that run elsewhere, for people; NULL: none, or nobody looked */
};

/* --data, else the default data directory when a quern runs there or QUERN_DATA chose it, else that of the only quern that runs, of those
 * that this user may look at; else the default one. */
struct running running_find(const struct args *args, struct arena *a);

/* Says in the remedy which others there are; without any, it is `otherwise`. */
enum err_code running_remedy(const struct running *r, struct err *err, const char *otherwise);

/* For tests: `proc` instead of /proc, `fallback` instead of the default data directory. */
struct running running_look(const char *proc, const char *fallback, struct arena *a);

#endif
