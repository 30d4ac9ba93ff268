/* The classification extension: an output's greatest values as texts "value:index" or "value:index:label". */
#ifndef SERVE_PROTO_CLASSES_H
#define SERVE_PROTO_CLASSES_H

#include "serve/infer.h"

#define CLASSES_ELEMENTS_MAX 1000000 /* of the whole output */

struct model_shared;
struct labels;

/* The lines of the model's labels file, read when first asked for: labels_file in the folder of the model or of its version, `labels.txt` there, or beside the file
 * NAME.onnx `NAME.labels.txt`. Never NULL; without a file it is empty. */
const struct labels *labels_of(struct model_shared *m);
struct str labels_get(const struct labels *l, uint32_t index); /* n == 0: none */
void labels_free(struct model_shared *m);

bool classes_allowed(enum dtype type); /* BYTES and halves have no classes */

struct classes {
    const struct infer_tensor *t;
    const struct labels *labels;
    uint64_t rows, row_len; /* rows of the output, elements of a row */
    uint32_t n;             /* texts of each row */
    struct class_value *best;
    uint64_t row; /* whose values lie in best */
};

/* has_rows: the first dimension is the batch. Errors: too many elements. */
enum err_code classes_init(struct classes *c, struct arena *a, const struct infer_tensor *t, const struct labels *l,
                           uint32_t wanted, bool has_rows, struct err *err);
/* Finds a row's greatest, in descending order; NaN comes last, the smaller index first among equals. */
void classes_row(struct classes *c, uint64_t row);
/* The text of one of them. Returns its length; cut to the size. */
size_t classes_text(const struct classes *c, uint32_t at, char *out, size_t out_size);

#endif
