/*
 * CLONES before a function: it is compiled for several instruction sets, and the program takes the widest that the
 * processor has when it starts. For loops over many floats, written so that a compiler can use vectors: a fixed number
 * of lanes, no order of summation that it would have to keep. The results are the same bits in each clone, because
 * the build contracts no multiplication and addition into one (-ffp-contract=off).
 *
 * Only x86-64 with ELF has such clones; and not under a sanitizer or fuzzer, whose runtime isn't ready yet when the
 * choice is made. Elsewhere the word means nothing.
 */
#ifndef WEFT_BASE_CLONES_H
#define WEFT_BASE_CLONES_H

#ifdef __has_attribute
#if __has_attribute(target_clones) && defined __x86_64__ && defined __gnu_linux__ && defined WEFT_CLONES
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#endif
#ifndef CLONES
#define CLONES
#endif

/* A helper of such a function: part of each clone, compiled for what that is. */
#define CLONED static inline __attribute__((always_inline))

#endif
