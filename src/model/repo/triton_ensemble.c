/* ensemble_scheduling of config.pbtxt. */
#include "model/repo/triton_int.h"

static enum err_code ensemble_step(struct reader *r, const struct pbtxt *in, struct triton_step *s)
{
    enum err_code code = reader_message(r, in);
    s->version = -1;
    s->line = in->line;
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (reader_is(f, "model_name"))
            code = reader_text(r, f, &s->model);
        else if (reader_is(f, "model_version"))
            code = reader_number(r, f, -1, &s->version);
        else if (reader_is(f, "input_map"))
            code = reader_add_pair(r, in, f, &s->inputs, &s->inputs_len);
        else if (reader_is(f, "output_map"))
            code = reader_add_pair(r, in, f, &s->outputs, &s->outputs_len);
        else
            reader_unused(r, "ensemble_scheduling.step", f);
    }
    return code ? code : s->model ? ERR_OK : reader_fail(r, in, "a step needs a model_name");
}

enum err_code reader_ensemble(struct reader *r, const struct pbtxt *in)
{
    enum err_code code = reader_message(r, in);
    r->c->ensemble_line = in->line;
    for (const struct pbtxt *f = in->first; f && !code; f = f->next) {
        if (!reader_is(f, "step")) {
            reader_unused(r, "ensemble_scheduling", f);
            continue;
        }
        if (!r->c->steps)
            r->c->steps = arena_array(r->a, struct triton_step, reader_count(in, f->name));
        code = ensemble_step(r, f, &r->c->steps[r->c->steps_len++]);
    }
    return code;
}
