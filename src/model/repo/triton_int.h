/* Inside of the reader of config.pbtxt: what its parts (triton.c, triton_ensemble.c, triton_warmup.c) share. */
#ifndef MODEL_REPO_TRITON_INT_H
#define MODEL_REPO_TRITON_INT_H

#include "model/repo/pbtxt.h"
#include "model/repo/triton.h"

struct reader {
    const char *file;
    struct arena *a;
    struct triton_config *c;
    struct err *err;
};

/* "file:line:column: name: what". */
enum err_code reader_fail(struct reader *r, const struct pbtxt *f, const char *what);
/* Remembers a field that has no effect here; `in`: the messages around it, "" at the top. */
void reader_unused(struct reader *r, const char *in, const struct pbtxt *f);

bool reader_is(const struct pbtxt *f, const char *name);
size_t reader_count(const struct pbtxt *in, struct str name); /* fields of that name in the message */
enum err_code reader_message(struct reader *r, const struct pbtxt *f);
enum err_code reader_text(struct reader *r, const struct pbtxt *f, const char **out);
enum err_code reader_number(struct reader *r, const struct pbtxt *f, int64_t least, int64_t *out);
enum err_code reader_bool(struct reader *r, const struct pbtxt *f, bool *out);
/* Appends to an array that is made at the first value for all fields of the name in the message. */
enum err_code reader_add_number(struct reader *r, const struct pbtxt *in, const struct pbtxt *f, int64_t least,
                                int64_t **list, size_t *len);
enum err_code reader_add_pair(struct reader *r, const struct pbtxt *in, const struct pbtxt *f,
                              struct triton_pair **list, size_t *len);

enum err_code reader_ensemble(struct reader *r, const struct pbtxt *in);
enum err_code reader_warmup(struct reader *r, const struct pbtxt *top, const struct pbtxt *in);

#endif
