/* Out-of-line XXH3: the same algorithm as the inlined copy, compiled here with the target's vector instructions. */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <stdlib.h>

typedef struct kvd_xxh3_stream {
  XXH3_state_t state;
} kvd_xxh3_stream;

uint64_t kvd_xxh3_long(const void *bytes, size_t count, uint64_t seed) {
  return seed ? XXH3_64bits_withSeed(bytes, count, seed) : XXH3_64bits(bytes, count);
}

kvd_xxh3_stream *kvd_xxh3_stream_create(uint64_t seed) {
  kvd_xxh3_stream *stream = aligned_alloc(64, sizeof(kvd_xxh3_stream)); /* XXH3_state_t wants 64-byte alignment */
  if (!stream) abort();
  XXH3_64bits_reset_withSeed(&stream->state, seed);
  return stream;
}
void kvd_xxh3_stream_update(kvd_xxh3_stream *stream, const void *bytes, size_t count) {
  XXH3_64bits_update(&stream->state, bytes, count);
}
uint64_t kvd_xxh3_stream_digest(const kvd_xxh3_stream *stream) { return XXH3_64bits_digest(&stream->state); }
uint64_t kvd_xxh3_stream_finish(kvd_xxh3_stream *stream) {
  uint64_t hash = XXH3_64bits_digest(&stream->state);
  free(stream);
  return hash;
}
