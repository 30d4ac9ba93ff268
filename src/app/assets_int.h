/* What tools/embed.mjs generates and assets.c reads: the table of embedded files. */
#ifndef APP_ASSETS_INT_H
#define APP_ASSETS_INT_H

#include "app/assets.h"

/* Defines `symbol` as the bytes of a file. The assembler reads the file, so that a large one costs no compile time. */
#if defined(__APPLE__)
#define ASSET_SECTION        ".section __TEXT,__const\n"
#define ASSET_SYMBOL(symbol) "_" symbol
#else
#define ASSET_SECTION        ".section .rodata.asset,\"a\"\n"
#define ASSET_SYMBOL(symbol) symbol
#endif
#define ASSET_INCBIN(symbol, file)                                                                                     \
    extern const char symbol[];                                                                                        \
    __asm__(ASSET_SECTION                                                                                              \
            ".balign 16\n.globl " ASSET_SYMBOL(#symbol) "\n" ASSET_SYMBOL(#symbol) ":\n"                               \
                                                                                   ".incbin \"" file                   \
                                                                                   "\"\n.byte 0\n.text\n")

extern const struct asset asset_table[];
extern const size_t asset_table_len;

#endif
