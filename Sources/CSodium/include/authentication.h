// HMAC-SHA-256 (RFC 2104, FIPS 180-4) of libsodium: what datagrams between nodes are sealed with. No policy here.
#ifndef KVD_AUTHENTICATION_H
#define KVD_AUTHENTICATION_H

#include <stddef.h>
#include <stdint.h>

// A key, ready for use: the hash state after its first block, which every code begins with.
typedef struct {
  uint64_t words[64];
} kvd_authentication_key;

// Prepares a key of any length.
void kvd_authentication_prepare(kvd_authentication_key *key, const void *bytes, size_t count);

// Writes the 32 bytes of a message's code.
void kvd_authentication_code(const kvd_authentication_key *key, const void *bytes, size_t count, void *code);

#endif
