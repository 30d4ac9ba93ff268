/* What was found out at some cost, kept in a model's cache folder: a file for each key, a plain struct in it. Lost, damaged, or of another layout: it is found out again,
 * nothing else. Whoever may write the folder may write lies: the reader checks what it reads. */
#ifndef APP_KEPT_H
#define APP_KEPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "base/str.h"

#define KEPT_FILES_MAX 16 /* of a kind in a folder, for its model's versions and settings; the oldest go */

/* The key of what was found out depends on all that is added. */
struct hash128 kept_add(struct hash128 key, const void *p, size_t n);
struct hash128 kept_add_text(struct hash128 key, const char *text);

/* kind: part of the file's name; layout: changes with what the struct means. False: nothing is kept for this key. */
bool kept_read(const char *folder, const char *kind, uint32_t layout, struct hash128 key, void *out, size_t size);
/* Failures are not told: the next start tries again. */
void kept_write(const char *folder, const char *kind, uint32_t layout, struct hash128 key, const void *p, size_t size);

#endif
