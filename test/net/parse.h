/* Feeds bytes to the parser of a connection, without sockets. */
#ifndef TEST_NET_PARSE_H
#define TEST_NET_PARSE_H

#include "net/message_int.h"

struct parse {
    struct server_limits limits;
    struct coder coder;
    struct message m;
    struct err err;
};

void parse_init(struct parse *p);
void parse_done(struct parse *p);
/* Feeds text in pieces of `step` bytes (0: at once) until the first request is complete or refused. Returns 200 for a complete
 * request (p->m.x has it), the status of a refusal, or 0 for "more is needed". *used: bytes taken. */
int parse_feed(struct parse *p, struct str text, size_t step, size_t *used);

#endif
