/* Answers each request with its input as output 0, and has the rest of a backend that needs no state. */
#ifndef BENCH_TRITON_ECHO_H
#define BENCH_TRITON_ECHO_H

#include "request.h"

void echo(struct triton_instance *i, struct triton_request **requests, uint32_t requests_len);

#endif
