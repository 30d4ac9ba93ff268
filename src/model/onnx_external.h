/* External data of an ONNX tensor: names of files that a stranger wrote into the model. Only regular files inside the model's folder pass, reached
 * without a symbolic link. */
#ifndef MODEL_ONNX_EXTERNAL_H
#define MODEL_ONNX_EXTERNAL_H

#include "base/err.h"

struct onnx_folder {
    const char *root; /* NULL: refuse all */
    int fd;           /* -1 until first used; private */
    /* the last file looked at: most models have one for thousands of tensors */
    char last[512];
    uint64_t last_bytes;
};

void onnx_folder_init(struct onnx_folder *f, const char *root);
void onnx_folder_done(struct onnx_folder *f);
/* Size of the file. Errors name the location and say what is wrong with it. */
enum err_code onnx_external_size(struct onnx_folder *f, struct str location, uint64_t *bytes, struct err *err);

#endif
