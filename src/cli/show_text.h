/* Small texts for people that several commands print. */
#ifndef CLI_SHOW_TEXT_H
#define CLI_SHOW_TEXT_H

#include "base/arena.h"
#include "base/buf.h"

/* "41.2 ms" */
const char *show_time(struct arena *a, double us);
/* The text on lines of their own, broken at words, each behind `first` or `indent`. */
void show_wrapped(struct buf *out, const char *first, const char *indent, const char *text);

#endif
