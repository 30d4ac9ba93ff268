/* Any bytes as a config.pbtxt. What is accepted must hold together: every field has a name, places lie in the file, texts in the arena. */
#include "base/check.h"
#include "model/repo/pbtxt.h"
#include "model/repo/triton.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_places(const struct pbtxt *top, size_t size)
{
    for (const struct pbtxt *f = top->first; f; f = f->next) {
        CHECK(f->name.n > 0 && f->line >= 1 && f->line <= size + 1 && f->column >= 1);
        CHECK(f->kind == PBTXT_MESSAGE || f->value.p);
        CHECK(f->kind == PBTXT_MESSAGE || !f->first);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct arena a;
    struct pbtxt top;
    struct triton_config c;
    struct err err = {0};
    arena_init(&a, 4096, (size_t)64 << 20);
    if (pbtxt_parse("f", text, &a, &top, &err) == ERR_OK)
        check_places(&top, size);
    else
        CHECK(err.text[0]);
    if (triton_parse("f", text, &a, &c, &err) == ERR_OK)
        CHECK(c.unused_len <= TRITON_UNUSED_MAX && c.instances >= 0 && c.max_batch_size >= 0);
    arena_done(&a);
    return 0;
}
