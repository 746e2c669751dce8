/* Finding the first byte of a class, sixteen bytes a step: the leaves under the HTTP parser and the text checks.
 *
 * Each KVD_BYTE_SCAN defines two functions with the same answer:
 *   kvd_find_NAME(bytes, from, count)         vectors
 *   kvd_find_NAME_scalar(bytes, from, count)  the portable twin, which the tests hold the first one against
 * The answer is the index (from <= index <= count) of the first byte at or after `from` that is in the class, or
 * `count`.
 * Only bytes[0 ..< count] are read; the vector form may read again bytes before `from` instead of stepping one by one
 * through the tail. GNU C vectors: SSE2 and NEON come from the same source, and so does whatever else there is. */
#pragma once
#include "cxxhash.h"

typedef int8_t kvd_hits __attribute__((vector_size(16)));

/* The lane of the first hit (each lane is 0 or -1), or 16. */
static inline ptrdiff_t kvd_first_hit(kvd_hits hits) {
#if defined(__SSE2__)
  unsigned mask = (unsigned)__builtin_ia32_pmovmskb128((char __attribute__((vector_size(16))))hits);
  return mask ? __builtin_ctz(mask) : 16;
#elif defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  kvd_v2x64 halves = (kvd_v2x64)hits;
  if (halves[0]) return __builtin_ctzll(halves[0]) >> 3;
  return halves[1] ? 8 + (__builtin_ctzll(halves[1]) >> 3) : 16;
#else
  ptrdiff_t lane = 0;
  while (lane < 16 && !hits[lane]) lane++;
  return lane;
#endif
}

#define KVD_BYTE_SCAN(name, vector_class, scalar_class)                                                         \
  static inline ptrdiff_t kvd_find_##name##_scalar(const uint8_t *_Nonnull bytes, ptrdiff_t from, ptrdiff_t count) { \
    for (ptrdiff_t i = from; i < count; i++) {                                                                       \
      uint8_t b = bytes[i];                                                                                          \
      if (scalar_class) return i;                                                                                    \
    }                                                                                                                \
    return count;                                                                                                    \
  }                                                                                                                  \
  static inline ptrdiff_t kvd_find_##name(const uint8_t *_Nonnull bytes, ptrdiff_t from, ptrdiff_t count) {          \
    ptrdiff_t i = from;                                                                                              \
    for (; i + 16 <= count; i += 16) {                                                                               \
      kvd_v16 b = *(const kvd_v16u *)(bytes + i);                                                                    \
      ptrdiff_t lane = kvd_first_hit((kvd_hits)(vector_class));                                                      \
      if (lane < 16) return i + lane;                                                                                \
    }                                                                                                                \
    if (count < 16) return kvd_find_##name##_scalar(bytes, i, count);                                                \
    const kvd_v16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};                                    \
    ptrdiff_t tail = count - 16;                                                                                     \
    kvd_v16 b = *(const kvd_v16u *)(bytes + tail);                                                                   \
    return tail + kvd_first_hit((kvd_hits)(vector_class) & (kvd_hits)(lanes >= (uint8_t)(i - tail)));                \
  }

/* Control characters other than HTAB: what may not stand in a field value, and CR, which ends a line. */
KVD_BYTE_SCAN(control, ((b < 0x20) & (b != 0x09)) | (b == 0x7F), (b < 0x20 && b != 0x09) || b == 0x7F)

/* What ends or marks a request target: space, controls, bytes from 0x7F up, '#', '?' and '%'. */
KVD_BYTE_SCAN(target_mark, ((kvd_v16)(b - 0x21) > 0x5D) | (b == '#') | (b == '?') | (b == '%'),
                   (uint8_t)(b - 0x21) > 0x5D || b == '#' || b == '?' || b == '%')

/* Anything but a letter, a digit or '-': the end of nearly every field name. */
KVD_BYTE_SCAN(not_word,
                   ~(((kvd_v16)((b | 0x20) - 'a') < 26) | ((kvd_v16)(b - '0') < 10) | (b == '-')),
                   !((uint8_t)((b | 0x20) - 'a') < 26 || (uint8_t)(b - '0') < 10 || b == '-'))

/* Anything but a letter, a digit, '-', '.' or ':': beyond what nearly every host and port is made of. */
KVD_BYTE_SCAN(not_host,
                   ~(((kvd_v16)((b | 0x20) - 'a') < 26) | ((kvd_v16)(b - '0') < 11) | ((kvd_v16)(b - '-') < 2)),
                   !((uint8_t)((b | 0x20) - 'a') < 26 || (uint8_t)(b - '0') < 11 || (uint8_t)(b - '-') < 2))

/* Bytes of multi-byte UTF-8 sequences, or of none. */
KVD_BYTE_SCAN(not_ascii, b >= 0x80, b >= 0x80)

/* What a JSON string can't hold as it is, and what isn't ASCII. */
KVD_BYTE_SCAN(json_mark, ((kvd_v16)(b - 0x20) > 0x5F) | (b == '"') | (b == '\\'),
                   (uint8_t)(b - 0x20) > 0x5F || b == '"' || b == '\\')
