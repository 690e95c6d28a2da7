/* Small hashes and a seeded generator, all pure. */
#ifndef WEFT_BASE_HASH_H
#define WEFT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FNV1A64_INIT 0xcbf29ce484222325ull

/* FNV-1a, 64 bits (Fowler, Noll, Vo): continue from `h`, starting with FNV1A64_INIT. */
static inline uint64_t fnv1a64(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3ull;
    return h;
}

/* The same over one id as little-endian u32, whatever this machine's byte order. */
static inline uint64_t fnv1a64_u32(uint64_t h, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        h = (h ^ (v >> (8 * i) & 0xff)) * 0x100000001b3ull;
    return h;
}

/* A quick checksum, 64 bits, of many bytes: a word at a time, in this machine's byte order. */
static inline uint64_t checksum64(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint64_t h = FNV1A64_INIT ^ n, word = 0;
    for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
        memcpy(&word, p, sizeof word);
        h = (h ^ word) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 32;
    }
    return fnv1a64(h, p, n);
}

/* A bijective mix of 64 bits (the finaliser of SplitMix64, Steele, Lea and Flood 2014). */
static inline uint64_t mix64(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* SplitMix64: a seeded sequence, one word of state. */
struct rng {
    uint64_t state;
};

static inline void rng_seed(struct rng *r, uint64_t seed)
{
    r->state = seed;
}

static inline uint64_t rng_u64(struct rng *r)
{
    return mix64(r->state += 0x9e3779b97f4a7c15ull);
}

/* Uniform in [0, 1), 53 bits. */
static inline double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

/* Uniform in [0, n); n > 0. The bias is below n / 2^64. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return (uint64_t)((unsigned __int128)rng_u64(r) * n >> 64);
}

#endif
