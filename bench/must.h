/* For yardsticks: an error is told and ends the program. */
#ifndef BENCH_MUST_H
#define BENCH_MUST_H

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

static struct err err;

static void must(enum err_code code, const char *what)
{
    if (code == ERR_OK)
        return;
    (void)fprintf(stderr, "%s: %s %s\n", what, err.text, err.remedy);
    exit(1);
}

#endif
