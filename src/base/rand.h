/* Random numbers: rand_secure_* from the kernel for ids and seeds; rand_u64 fast and seedable for jitter and sampling
 * (xoshiro256**, Blackman and Vigna 2018), one state per thread. A child that goes on after fork() without
 * exec has its parent's state and must call rand_seed. */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_secure(void *out, size_t n);
void rand_seed(uint64_t seed); /* this thread; unseeded threads seed themselves from the kernel */
uint64_t rand_u64(void);
uint64_t rand_below(uint64_t bound); /* uniform in [0, bound); bound > 0 */
double rand_unit(void);              /* [0, 1) */
/* n random bytes as 2n lower-case hex digits (no NUL). Not for secrets: from rand_u64. */
void rand_hex(char *out, size_t n_bytes);

#endif
