/* Do two answers say the same? For replayed requests: the recorded answer and the one of now. JSON is compared by meaning, tensors by their elements,
 * anything else by its bytes. What differs by nature is left out: request ids, and the model's version. */
#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

#include "base/str.h"

struct compare_answer {
    struct str header_length; /* Inference-Header-Content-Length; "": none */
    struct str body;          /* with BUF_PAD readable bytes behind it */
};

struct compare_result {
    bool is_same;
    double greatest; /* difference of two numbers, of all; relative to 1 + their size */
    char where[200]; /* the first difference: "outputs[0].data[3]: 0.7 instead of 0.5" */
};

/* Numbers that differ by at most tolerance * (1 + their size) are the same; 0: exactly. */
void compare_answers(const struct compare_answer *recorded, const struct compare_answer *now, double tolerance,
                     struct compare_result *out);

#endif
