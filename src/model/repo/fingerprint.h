/* What a file or a folder looks like from outside: sizes, times and inodes of all that is in it, without reading any. And whether a copy is
 * whole: nobody writes it, and its checksum is right where one lies beside it. */
#ifndef MODEL_REPO_FINGERPRINT_H
#define MODEL_REPO_FINGERPRINT_H

#include "base/err.h"
#include "base/hash.h"

#define FINGERPRINT_DEPTH_MAX 6
#define FINGERPRINT_FILES_MAX 20000

/* 0, 0: there is nothing. Hidden files do not count; what is deeper or more than the limits does not either. */
struct hash128 repo_fingerprint(const char *path);
/* Somebody has one of its files open for writing (as far as the system tells: files of other users are believed to be whole). A process that
 * calls this ignores SIGIO. */
bool repo_is_being_written(const char *path);
/* Compares a file with the SHA-256 in `<path>.sha256` (as sha256sum writes it). ERR_OK without such a file. */
enum err_code repo_verify(const char *path, struct err *err);

#endif
