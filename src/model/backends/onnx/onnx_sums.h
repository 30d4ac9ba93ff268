/* Whether a compiled model (onnx_cache.h) still is what was written. Sums of its files lie beside them; who has opened the entry holds its files, so that what is checked is what the
 * engine has mapped, whatever becomes of their names.
 *
 * Files that change by the kernel's own account of it (somebody writes to them, cuts them, removes the entry) are due at once; else each is read once by those who have it open, and again
 * every CHECK_EVERY_MS: what the kernel has let go of comes from the disk anew. */
#ifndef MODEL_BACKENDS_ONNX_ONNX_SUMS_H
#define MODEL_BACKENDS_ONNX_ONNX_SUMS_H

#include <time.h>

#include "base/err.h"
#include "model/backend.h"

enum { SUMMED_GRAPH, SUMMED_WEIGHTS, SUMMED_FILES };

struct onnx_sums { /* of this program and this layout only; the file as well */
    uint32_t magic, bytes;
    struct {
        uint64_t size, sum; /* size UINT64_MAX: there is no such file */
    } files[SUMMED_FILES];
    uint64_t own; /* of all before */
};

/* An entry that is in use. */
struct onnx_held {
    bool is_open;
    int fds[SUMMED_FILES], sums_fd; /* -1: there is no such file */
    struct onnx_sums sums;
    struct timespec changed[SUMMED_FILES]; /* when they did last, before they were checked */
    uint64_t opened_ms, checked_ms;        /* wall clock; 0: not yet */
};

/* The files of a folder are complete: notes their sums in it. */
bool onnx_sums_write(const char *folder);

/* False: the entry has no sums, or files of other sizes; nothing is held then. */
bool onnx_held_open(struct onnx_held *h, const char *entry);
/* Whether the same files have the names still, so that who has just opened them by name has those that are held. */
bool onnx_held_is_named(const struct onnx_held *h, const char *entry);
bool onnx_held_is_due(const struct onnx_held *h);
/* See backend.h. */
enum backend_state onnx_held_check(struct onnx_held *h, const struct backend_reading *reading, struct err *err);
enum backend_state onnx_held_check_now(struct onnx_held *h, struct err *err); /* by the calling thread, to the end */
void onnx_held_close(struct onnx_held *h);                                    /* also of one that is not open */

#endif
