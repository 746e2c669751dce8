/* Out-of-line XXH3: the same algorithm as the inlined copy, compiled here with the target's vector instructions, and on
 * x86-64 once more with AVX2's, which nearly every processor has but the binary can't assume. */
#if defined(__x86_64__)
#include <immintrin.h>
#define XXH_X86DISPATCH
#define XXH_DISPATCH_AVX2 1
#define XXH_TARGET_AVX2 __attribute__((target("avx2")))
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <stdlib.h>

#define KVD_INLINE static inline __attribute__((always_inline))

typedef struct kvd_xxh3_stream {
  XXH3_state_t state;
} kvd_xxh3_stream;

#if defined(XXH_TARGET_AVX2)
static inline int has_avx2(void) { return __builtin_cpu_supports("avx2"); }

XXH_TARGET_AVX2 __attribute__((noinline)) static uint64_t long_avx2(const void *bytes, size_t count, uint64_t seed) {
  return XXH3_hashLong_64b_withSeed_internal(bytes, count, seed, XXH3_accumulate_512_avx2, XXH3_scrambleAcc_avx2,
                                             XXH3_initCustomSecret_avx2);
}
XXH_TARGET_AVX2 __attribute__((noinline)) static void update_avx2(XXH3_state_t *state, const void *bytes,
                                                                  size_t count) {
  XXH3_update(state, bytes, count, XXH3_accumulate_512_avx2, XXH3_scrambleAcc_avx2);
}
#endif

uint64_t kvd_xxh3_any(const void *bytes, size_t count, uint64_t seed) {
#if defined(XXH_TARGET_AVX2)
  if (count > XXH3_MIDSIZE_MAX && has_avx2()) return long_avx2(bytes, count, seed);
#endif
  return XXH3_64bits_withSeed(bytes, count, seed); /* which is XXH3_64bits for seed 0 */
}

/* Heads and most values have 17 to 128 bytes: that path is in line, twice. */
KVD_INLINE uint64_t hash(const void *bytes, size_t count, uint64_t seed) {
  if (count - 17 < 112)
    return XXH3_len_17to128_64b((const xxh_u8 *)bytes, count, XXH3_kSecret, sizeof XXH3_kSecret, seed);
  return kvd_xxh3_any(bytes, count, seed);
}

uint64_t kvd_xxh3_pair(const void *head, size_t head_count, const void *value, size_t value_count) {
  return hash(head, head_count, hash(value, value_count, 0));
}

kvd_xxh3_stream *kvd_xxh3_stream_create(uint64_t seed) {
  kvd_xxh3_stream *stream = aligned_alloc(64, sizeof(kvd_xxh3_stream)); /* XXH3_state_t wants 64-byte alignment */
  if (!stream) abort();
  XXH3_64bits_reset_withSeed(&stream->state, seed);
  return stream;
}
void kvd_xxh3_stream_update(kvd_xxh3_stream *stream, const void *bytes, size_t count) {
#if defined(XXH_TARGET_AVX2)
  if (has_avx2()) return update_avx2(&stream->state, bytes, count);
#endif
  XXH3_64bits_update(&stream->state, bytes, count);
}
uint64_t kvd_xxh3_stream_digest(const kvd_xxh3_stream *stream) { return XXH3_64bits_digest(&stream->state); }
uint64_t kvd_xxh3_stream_finish(kvd_xxh3_stream *stream) {
  uint64_t hash = XXH3_64bits_digest(&stream->state);
  free(stream);
  return hash;
}
