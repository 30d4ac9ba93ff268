/* What the inputs of bytes get. Any text will do for most, but a model of pictures takes pictures: quern tells at GET .../sample a request that each of its
 * models takes. */
#ifndef BENCH_SUBJECT_SAMPLE_H
#define BENCH_SUBJECT_SAMPLE_H

#include "base/arena.h"
#include "base/err.h"

#define SUBJECT_SAMPLES_MAX 16

struct subject_samples {
    struct {
        struct str name;  /* of the input */
        struct str json;  /* its first element, as the server wrote it: a string or {"b64": ...} */
        struct str bytes; /* the same, decoded */
    } of[SUBJECT_SAMPLES_MAX];
    size_t len;
};

/* Reads the server's answer. False: it is not of this form, and out is empty. text has BUF_PAD bytes behind it; what is kept is copied. */
bool subject_samples_read(struct str text, struct arena *a, struct subject_samples *out);
/* Index of that input, or -1. */
int subject_samples_find(const struct subject_samples *s, const char *input);

#endif
