/* TensorFlow Lite's built-in operators: names for texts, and how many inputs and outputs the engine's code reads without asking. */
#ifndef MODEL_TFLITE_OPS_H
#define MODEL_TFLITE_OPS_H

#include <stdbool.h>
#include <stdint.h>

#define TFLITE_OP_CUSTOM  32
#define TFLITE_OP_DENSIFY 124

struct tflite_op {
    const char *name;
    uint8_t inputs_min, outputs_min;
};

/* Which fields of an operator's options are numbers of subgraphs. */
struct tflite_op_calls {
    int32_t op;
    bool is_second_options; /* in builtin_options_2 */
    uint8_t fields_len;
    uint8_t fields[2];
};

/* NULL: newer than the engine, or one that we do not serve (see .c). */
const struct tflite_op *tflite_op(int32_t code);
/* Whether inputs behind the first inputs_min may be left out (-1); others read them without asking. */
bool tflite_op_may_skip(int32_t code);
const struct tflite_op_calls *tflite_op_calls(int32_t code); /* NULL: calls none */

#endif
