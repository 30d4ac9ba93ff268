/* The reader of ONNX files on arbitrary bytes; and what it lets pass must stay whole when its ZipMaps are taken out, and can
 * be described. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/onnx_ends.h"
#include "model/onnx_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct onnx_info info, again;
    static struct model_desc desc;
    struct err err = {.code = ERR_OK};
    char *copy = malloc(size + 1); /* exact, so that the sanitizer sees a read behind the end */
    CHECK(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    copy = realloc(copy, size > 0 ? size : 1);
    struct str bytes = {copy, size};
    if (onnx_check(bytes, NULL, &info, &err) != ERR_OK) {
        CHECK(err.text[0] != 0);
    } else if (info.zipmaps_len > 0) {
        struct buf out;
        buf_init(&out, size + 65536);
        if (onnx_drop_zipmaps(bytes, &info, &out, &err) == ERR_OK) {
            CHECK(onnx_check(buf_view(&out), NULL, &again, &err) == ERR_OK);
            CHECK(again.outputs_len == info.outputs_len);
            CHECK(again.nodes == info.nodes);
        }
        buf_done(&out);
    }
    enum err_code code = err.code;
    CHECK(onnx_describe(bytes, NULL, &desc, &err) == ERR_OK || code != ERR_OK || err.code == ERR_UNSUPPORTED);
    free(copy);
    return 0;
}
