/* Sleeping on a word of shared memory until another process changes it. */
#ifndef SYS_FUTEX_H
#define SYS_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/* Returns when woken, when *word is no longer `expected`, after timeout_ns, or spuriously. */
void futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void futex_wake(_Atomic uint32_t *word, int count);

/* One turn of a bounded spin: tells the core that we wait. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

#endif
