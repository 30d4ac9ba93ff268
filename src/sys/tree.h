/* Folders with all that is in them, written by somebody who is not trusted: symbolic links are never followed, and sizes of the walk are bounded. */
#ifndef SYS_TREE_H
#define SYS_TREE_H

#include "base/err.h"

#define TREE_DEPTH_MAX   16
#define TREE_ENTRIES_MAX 100000

/* What the files of a folder take, as they are named (not by their blocks); what is beyond the limits is not counted. */
uint64_t tree_bytes(const char *path);
/* Removes a folder. What is deeper or more than the limits stays, with an error. ERR_NOT_FOUND: there is none. */
enum err_code tree_remove(const char *path, struct err *err);

#endif
