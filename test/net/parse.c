#include "parse.h"

#include "t.h"

void parse_init(struct parse *p)
{
    *p = (struct parse){0};
    server_limits_default(&p->limits);
    p->limits.body_bytes_max = 1 << 20;
    coder_init(&p->coder, p->limits.body_bytes_max);
    message_init(&p->m, &p->limits, &p->coder, &p->err);
    p->m.x = exchange_new(&p->limits);
    EXPECT(p->m.x != NULL);
}

void parse_done(struct parse *p)
{
    p->m.x = exchange_free(p->m.x);
    message_done(&p->m);
    coder_done(&p->coder);
}

int parse_feed(struct parse *p, struct str text, size_t step, size_t *used)
{
    size_t at = 0;
    if (step == 0)
        step = text.n;
    while (at < text.n) {
        struct str in = str_sub(text, at, step);
        size_t before = in.n;
        enum message_result r = message_feed(&p->m, &in);
        at += before - in.n;
        while (r == MESSAGE_BUSY)
            r = message_decode(&p->m);
        if (used)
            *used = at;
        switch (r) {
        case MESSAGE_MORE:
            EXPECT_EQ(in.n, 0);
            break;
        case MESSAGE_CONTINUE:
        case MESSAGE_BUSY:
            break;
        case MESSAGE_DONE:
            return 200;
        case MESSAGE_BAD:
            EXPECT(p->err.text[0] != '\0');
            return p->m.status;
        }
    }
    return 0;
}
