/* A model's folder as Triton lays it out: <model>/<version>/model.onnx, with or without <model>/config.pbtxt. Which versions there are, and
 * which of them a policy serves. */
#ifndef MODEL_REPO_REPO_H
#define MODEL_REPO_REPO_H

#include "base/arena.h"
#include "base/err.h"

#define REPO_ENTRIES_MAX  10000 /* of one folder */
#define REPO_VERSIONS_MAX 1000  /* of one model */
#define REPO_CONFIG_FILE  "config.pbtxt"

struct repo_version {
    uint64_t number;
    const char *file; /* the model's file in the version's folder */
};

/* Names in a folder, sorted, without hidden ones. */
enum err_code repo_list(const char *dir, struct arena *a, const char ***out, size_t *out_len, struct err *err);
bool repo_is_dir(const char *path);
bool repo_is_file(const char *path);

/* The versions that have a model file, ascending: whole numbers from 1 without leading zeros. file_name: NULL means "model" with the
 * extension of a backend, "" that a version needs no file. ERR_INVALID when dir is no folder; no version is no error. */
enum err_code repo_versions(const char *dir, const char *file_name, struct arena *a, struct repo_version **out,
                            size_t *out_len, struct err *err);
/* Has a version with a model file, or a config.pbtxt. */
bool repo_is_model(const char *dir);

enum repo_policy_kind { REPO_LATEST, REPO_ALL, REPO_SPECIFIC };

struct repo_policy {
    enum repo_policy_kind kind;
    uint64_t latest;          /* REPO_LATEST: so many of the greatest */
    const uint64_t *versions; /* REPO_SPECIFIC */
    size_t versions_len;
};

/* From the texts of a setting: "all", "latest", "latest:2", or numbers. */
enum err_code repo_policy_parse(const char *const *texts, size_t len, struct arena *a, struct repo_policy *out,
                                struct err *err);
/* Moves the chosen ones to the front of v, ascending, and tells how many. A version asked for that is not there is ERR_NOT_FOUND. */
enum err_code repo_choose(const struct repo_policy *p, struct repo_version *v, size_t len, size_t *chosen,
                          struct err *err);

#endif
