/* Inside of the reader of model folders: config_repo.c (which versions are served, and whose error one is), config_triton.c and config_triton_ensemble.c (what
 * config.pbtxt says). */
#ifndef CLI_CONFIG_FOLDER_INT_H
#define CLI_CONFIG_FOLDER_INT_H

#include "cli/config_int.h"
#include "model/repo/repo.h"

#define FOLDER_NOTES_MAX 128

/* One folder while it is read; what stays is copied into the configuration's arena. */
struct folder {
    struct config *c;
    struct model_config *m;
    struct arena scratch;
    struct triton_config triton;
    struct repo_version *versions;
    size_t versions_len;
    struct repo_policy policy;
    const char *more[FOLDER_NOTES_MAX]; /* what else has no effect */
    size_t more_len;
    struct err *err;
};

const char *folder_keep(struct folder *f, const char *text); /* a copy as long as the configuration; NULL of NULL */
void folder_note(struct folder *f,
                 const char *field); /* it has no effect; copied; more than there is room for are left out */

/* Its config.pbtxt, or the one that a request brought; ERR_OK if it has none. */
enum err_code folder_read_triton(struct folder *f);
enum err_code folder_take_ensemble(struct folder *f, const char *file);
enum err_code folder_take_parameters(struct folder *f); /* when its versions are known: what they are for decides */
void folder_take_notes(struct folder *f);               /* at the end, into the model */

#endif
