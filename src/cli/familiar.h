/* Words that people bring along from other programs, and what they are called here: for the remedy of an error, never taken silently. */
#ifndef CLI_FAMILIAR_H
#define CLI_FAMILIAR_H

#include "base/err.h"

/* `quern ps`. Sets the remedy of err; false: not known. */
bool familiar_command(const char *name, struct err *err);
/* `quern COMMAND --port`, without the dashes; also settings of quern.yaml that are no options. */
bool familiar_option(const char *command, struct str name, struct err *err);

#endif
