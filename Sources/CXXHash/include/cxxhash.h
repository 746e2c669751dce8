/* The C leaves of kvd: XXH3 (Debian's xxhash.h, inlined) and the few operations on bytes that Swift has no word for.
 * No policy, no state. Everything here is portable C with GNU vector extensions; nothing assumes an instruction set. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* For what has to be in line at each call, however large the function around it. */
#define KVD_INLINE static inline __attribute__((always_inline))

/* Scalar inline build: the vector build pulls <emmintrin.h>, which is a Clang module of its own and can't be inlined
 * into Swift. Inputs up to 240 bytes take scalar paths in XXH3 anyway; longer ones go to kvd_xxh3_any. */
#define XXH_VECTOR 0
#define XXH_INLINE_ALL
#include <xxhash.h>

/* XXH3_64 of any input, out of line, with the vector instructions of the processor at hand. */
uint64_t kvd_xxh3_any(const void *_Nullable bytes, size_t count, uint64_t seed);

/* A record's checksum in one call: XXH3_64 of its head, seeded with XXH3_64 of its value. */
uint64_t kvd_xxh3_pair(const void *_Nonnull head, size_t head_count, const void *_Nullable value, size_t value_count);

/* Streaming XXH3_64 for values that arrive in parts. */
typedef struct kvd_xxh3_stream kvd_xxh3_stream;
kvd_xxh3_stream *_Nonnull kvd_xxh3_stream_create(uint64_t seed);
void kvd_xxh3_stream_update(kvd_xxh3_stream *_Nonnull stream, const void *_Nonnull bytes, size_t count);
uint64_t kvd_xxh3_stream_digest(const kvd_xxh3_stream *_Nonnull stream); /* of what came so far */
uint64_t kvd_xxh3_stream_finish(kvd_xxh3_stream *_Nonnull stream); /* also frees the stream */

/* XXH3_64 with a seed; the one hash of kvd (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md). */
static inline uint64_t kvd_xxh3(const void *_Nullable bytes, size_t count, uint64_t seed) {
  if (count > 240) return kvd_xxh3_any(bytes, count, seed);
  return seed ? XXH3_64bits_withSeed(bytes, count, seed) : XXH3_64bits(bytes, count);
}

/* The same with the path that most keys take in line: 9 to 16 bytes and no seed. */
KVD_INLINE uint64_t kvd_xxh3_key(const void *_Nonnull bytes, size_t count, uint64_t seed) {
  if (seed == 0 && count - 9 < 8) return XXH3_len_9to16_64b((const xxh_u8 *)bytes, count, XXH3_kSecret, 0);
  return kvd_xxh3_any(bytes, count, seed);
}

static inline int kvd_equal(const void *_Nonnull a, const void *_Nonnull b, size_t count) {
  return __builtin_memcmp(a, b, count) == 0;
}
static inline int kvd_compare(const void *_Nonnull a, const void *_Nonnull b, size_t count) {
  return __builtin_memcmp(a, b, count);
}
static inline void kvd_prefetch(const void *_Nullable p) { __builtin_prefetch(p, 0, 3); }

/* Index of the first byte equal to `wanted` in bytes[0..<count], or count. Sixteen bytes a step; the vector form is
 * GNU C, so arm64 gets NEON and anything else gets scalar code from the same source. */
typedef uint8_t kvd_v16 __attribute__((vector_size(16)));
typedef uint8_t kvd_v16u __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t kvd_v2x64 __attribute__((vector_size(16)));

/* The bits in which sixteen bytes differ from sixteen others. */
KVD_INLINE kvd_v2x64 kvd_unlike(const uint8_t *_Nonnull a, const uint8_t *_Nonnull b) {
  return (kvd_v2x64)(*(const kvd_v16u *)a ^ *(const kvd_v16u *)b);
}

/* Whether two runs of `count` bytes, 16 or more, are equal; in overlapping pieces of sixteen, without a call and up to
 * 128 without a loop. */
KVD_INLINE int kvd_equal_long(const uint8_t *_Nonnull a, const uint8_t *_Nonnull b, ptrdiff_t count) {
  kvd_v2x64 unlike = kvd_unlike(a, b) | kvd_unlike(a + count - 16, b + count - 16);
  if (count > 32) unlike |= kvd_unlike(a + 16, b + 16) | kvd_unlike(a + count - 32, b + count - 32);
  if (count > 64) {
    unlike |= kvd_unlike(a + 32, b + 32) | kvd_unlike(a + 48, b + 48);
    unlike |= kvd_unlike(a + count - 64, b + count - 64) | kvd_unlike(a + count - 48, b + count - 48);
  }
  if (count > 128) {
    ptrdiff_t tail = count - 64;
#pragma clang loop unroll(disable) vectorize(disable)
    for (ptrdiff_t i = 64; i < tail; i += 16) unlike |= kvd_unlike(a + i, b + i);
  }
  return (unlike[0] | unlike[1]) == 0;
}

/* Copies bytes between ranges that don't overlap: from 16 to 128 of them as overlapping pieces of sixteen, without a
 * call. */
KVD_INLINE void kvd_copy(void *_Nonnull target, const void *_Nonnull source, ptrdiff_t count) {
  if (count < 16 || count > 128) {
    memcpy(target, source, (size_t)count);
    return;
  }
  kvd_v16u *first = (kvd_v16u *)target, *last = (kvd_v16u *)((uint8_t *)target + count);
  const kvd_v16u *from = (const kvd_v16u *)source, *end = (const kvd_v16u *)((const uint8_t *)source + count);
  if (count > 64) {
    kvd_v16u a = from[0], b = from[1], c = from[2], d = from[3], e = end[-4], f = end[-3], g = end[-2], h = end[-1];
    first[0] = a, first[1] = b, first[2] = c, first[3] = d;
    last[-4] = e, last[-3] = f, last[-2] = g, last[-1] = h;
  } else if (count > 32) {
    kvd_v16u a = from[0], b = from[1], g = end[-2], h = end[-1];
    first[0] = a, first[1] = b, last[-2] = g, last[-1] = h;
  } else {
    kvd_v16u a = from[0], h = end[-1];
    first[0] = a, last[-1] = h;
  }
}

static inline ptrdiff_t kvd_find_byte_scalar(const uint8_t *_Nonnull bytes, ptrdiff_t count, uint8_t wanted) {
  for (ptrdiff_t i = 0; i < count; i++)
    if (bytes[i] == wanted) return i;
  return count;
}
static inline ptrdiff_t kvd_find_byte(const uint8_t *_Nonnull bytes, ptrdiff_t count, uint8_t wanted) {
  ptrdiff_t i = 0;
  kvd_v16 all = (kvd_v16){0} + wanted;
  for (; i + 16 <= count; i += 16) {
    kvd_v16 equal = (kvd_v16)(*(const kvd_v16u *)(bytes + i) == all);
#if defined(__SSE2__)
    unsigned mask = (unsigned)__builtin_ia32_pmovmskb128((char __attribute__((vector_size(16))))equal);
    if (mask) return i + __builtin_ctz(mask);
#else
    kvd_v2x64 halves = (kvd_v2x64)equal;
    if (halves[0] | halves[1]) return i + kvd_find_byte_scalar(bytes + i, 16, wanted);
#endif
  }
  return i + kvd_find_byte_scalar(bytes + i, count - i, wanted);
}
