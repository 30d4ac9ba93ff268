/* What the two files of scaling know of each other: master_scale.c decides who gets how much, master_prober.c has it tried. */
#ifndef APP_MASTER_SCALE_INT_H
#define APP_MASTER_SCALE_INT_H

#include "app/master_int.h"

#define SCALE_KIND   "scale" /* of kept verdicts */
#define SCALE_LAYOUT 1

/* master_scale.c */
int scale_memory_instances(const struct master *m, const struct life *l);
struct scale_limits scale_limits_of(const struct master *m, const struct life *l, int budget);
void scale_folder(const struct master *m, const struct life *l, char *out, size_t out_size);
struct hash128 scale_key(const struct life *l, int budget);
void scale_take(struct life *l, bool is_kept); /* what was found */
void scale_set(struct scaling *s, int instances, int threads);
void scale_say(struct scaling *s, const char *why);

/* master_prober.c. True: a prober was started. */
bool scale_try_now(struct master *m, struct life *l);

#endif
