#include "net/chars_int.h"

#define SAME(c)    [(unsigned char)(c)] = (unsigned char)(c)
#define PAIR(u, l) [(unsigned char)(u)] = (unsigned char)(l), [(unsigned char)(l)] = (unsigned char)(l)

const unsigned char chars_token_lower[256] = {
    SAME('!'),      SAME('#'),      SAME('$'),      SAME('%'),      SAME('&'),      SAME('\''),     SAME('*'),
    SAME('+'),      SAME('-'),      SAME('.'),      SAME('^'),      SAME('_'),      SAME('`'),      SAME('|'),
    SAME('~'),      SAME('0'),      SAME('1'),      SAME('2'),      SAME('3'),      SAME('4'),      SAME('5'),
    SAME('6'),      SAME('7'),      SAME('8'),      SAME('9'),      PAIR('A', 'a'), PAIR('B', 'b'), PAIR('C', 'c'),
    PAIR('D', 'd'), PAIR('E', 'e'), PAIR('F', 'f'), PAIR('G', 'g'), PAIR('H', 'h'), PAIR('I', 'i'), PAIR('J', 'j'),
    PAIR('K', 'k'), PAIR('L', 'l'), PAIR('M', 'm'), PAIR('N', 'n'), PAIR('O', 'o'), PAIR('P', 'p'), PAIR('Q', 'q'),
    PAIR('R', 'r'), PAIR('S', 's'), PAIR('T', 't'), PAIR('U', 'u'), PAIR('V', 'v'), PAIR('W', 'w'), PAIR('X', 'x'),
    PAIR('Y', 'y'), PAIR('Z', 'z'),
};
