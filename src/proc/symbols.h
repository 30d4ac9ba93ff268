/* Names of our own functions for crash reports: from the program's symbol table (.symtab), which dladdr does not see for hidden functions.
 * Reads /proc/self/exe; nothing is kept. A stripped program has no names: offsets then serve addr2line. */
#ifndef PROC_SYMBOLS_H
#define PROC_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* offset: from the load address. Writes "name+0x1f"; false when unknown. */
bool symbols_name(uint64_t offset, char *out, size_t out_size);

#endif
