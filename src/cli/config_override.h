/* Models that an operator loaded with a configuration or with files of the request: for as long as they are loaded, these stand in place of what the
 * configuration file and the repository say of them. */
#ifndef CLI_CONFIG_OVERRIDE_H
#define CLI_CONFIG_OVERRIDE_H

#include "cli/config.h"

#define OVERRIDE_CONFIG "config.pbtxt" /* in its folder */
#define OVERRIDE_FILES  "model"        /* the same: with <version>/model.onnx, if files were sent */

struct config_override {
    const char *name;
    const char *folder; /* absolute */
};

/* For every configuration that this process builds from now on. Borrowed until the next call. */
void config_overrides_set(const struct config_override *list, size_t len);

#endif
