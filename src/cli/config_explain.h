/* Where each setting of a model comes from: for `quern model show`, and for the dashboard. */
#ifndef CLI_CONFIG_EXPLAIN_H
#define CLI_CONFIG_EXPLAIN_H

#include "base/json.h"
#include "cli/config.h"

/* Values longer than that are cut. */
#define EXPLAIN_VALUE_MAX 200

/* An object: "file" (the configuration, "" for `quern serve`), "folder" (what the path came from), "pbtxt" (the file read for it, ""), and
 * "settings", an array of {"key", "value", "from", "line", "reason"}. from: "file" (with its line), "config.pbtxt", "command line", "inferred" (with
 * the reason), "default". */
void config_explain(const struct config *c, const struct model_config *m, struct json_writer *w);

#endif
