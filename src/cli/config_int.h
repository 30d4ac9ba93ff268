/* Inside of config: the tables (config_table.c), building (config.c), model files and repositories (config_paths.c), checks
 * of meaning (config_check.c). */
#ifndef CLI_CONFIG_INT_H
#define CLI_CONFIG_INT_H

#include "cli/config.h"

extern const struct setting config_model_table[];

void config_begin(struct config *c);
/* What the user left open: data directory, first class, versions, backends; paths made absolute from the folder `base`. */
enum err_code config_finish(struct config *c, const char *base, struct err *err);
/* base/path, or path when it is absolute. */
const char *config_join(struct arena *a, const char *base, const char *path);
/* The folder that relative paths of the command line count from; NULL with err set when it is gone. */
const char *config_cwd(struct arena *a, struct err *err);
/* A folder <model>/<version>/model.onnx: the file of the wanted version, or of the greatest one that has a file when wanted is
 * NULL. ERR_NOT_FOUND when the folder has no such thing. */
enum err_code config_version_file(struct arena *a, const char *dir, const char *wanted, const char **out_file,
                                  const char **out_version, struct err *err);
/* An error of meaning at a setting: the place in the file, the path, the text. */
enum err_code config_fail(const struct config *c, struct err *err, const char *path, const char *fmt, ...)
    ATTR_PRINTF(4, 5);

#endif
