/* Inside of config: the tables (config_table.c), building (config.c), model files and repositories (config_paths.c), model
 * folders (config_repo.c, config_folder_int.h), checks of meaning (config_check.c). */
#ifndef CLI_CONFIG_INT_H
#define CLI_CONFIG_INT_H

#include "cli/config.h"
#include "model/repo/triton.h"

extern const struct setting config_model_table[];

void config_begin(struct config *c);
/* What the user left open: data directory, first class, versions, backends; paths made absolute from the folder `base`. */
enum err_code config_finish(struct config *c, const char *base, struct err *err);
/* base/path, or path when it is absolute. */
const char *config_join(struct arena *a, const char *base, const char *path);
/* The folder that relative paths of the command line count from; NULL with err set when it is gone. */
const char *config_cwd(struct arena *a, struct err *err);
/* Models of the folders in `repository.path` that the configuration does not name become models of it; those that it names without a
 * path get theirs. */
enum err_code config_add_repositories(struct config *c, const char *base, struct err *err);
/* What config_overrides_set says. */
void config_take_overrides(struct config *c);
/* A model whose path is a folder becomes one model for each version that its policy serves, with what config.pbtxt says. Appends to out[*len],
 * which has room for CONFIG_MODELS_MAX. */
enum err_code config_expand(struct config *c, struct model_config *m, struct model_config *out, size_t *len,
                            struct err *err);
/* An ensemble's graph: known members, each tensor from one source, no cycles. */
enum err_code config_check_ensemble(const struct config *c, const struct model_config *m, struct err *err);
/* An error at a step of its graph: the place in quern.yaml or in its config.pbtxt. key: "inputs", or "" */
enum err_code config_fail_step(const struct config *c, const struct model_config *m, size_t n, const char *key,
                               const char *text, struct err *err);
/* Ensembles that were read from config.pbtxt: as config_check_ensemble, when all models are known. */
enum err_code config_check_found_ensembles(struct config *c, struct err *err);
/* model_warmup of a config.pbtxt. */
enum err_code config_take_warm_up(const struct triton_config *t, struct model_config *m, struct arena *a,
                                  struct err *err);
enum err_code config_check_warm_up(const struct config *c, const struct model_config *m, struct err *err);
/* May it name a model, or a class? */
bool config_is_name(const char *name);
/* What was wrong with a model that was found in a repository, and that the configuration does not name, is that model's alone: it gets a
 * `problem`, the others are served. Otherwise err stays. */
enum err_code config_spare(struct config *c, struct model_config *m, struct err *err);
/* An error of meaning at a model's setting, "batching.delay", in quern.yaml or, where that does not say it, in its config.pbtxt. */
enum err_code config_fail_model(const struct config *c, struct err *err, const struct model_config *m, const char *key,
                                const char *text);
/* An error of meaning at a setting: the place in the file, the path, the text. */
enum err_code config_fail(const struct config *c, struct err *err, const char *path, const char *fmt, ...)
    ATTR_PRINTF(4, 5);

#endif
