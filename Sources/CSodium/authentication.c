#include "authentication.h"

#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(crypto_auth_hmacsha256_state) <= sizeof(kvd_authentication_key), "room for libsodium's state");

void kvd_authentication_prepare(kvd_authentication_key *key, const void *bytes, size_t count) {
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, bytes, count);
  memset(key, 0, sizeof *key);
  memcpy(key, &state, sizeof state);
  sodium_memzero(&state, sizeof state);
}

void kvd_authentication_code(const kvd_authentication_key *key, const void *bytes, size_t count, void *code) {
  crypto_auth_hmacsha256_state state;
  memcpy(&state, key, sizeof state);
  crypto_auth_hmacsha256_update(&state, bytes, count);
  crypto_auth_hmacsha256_final(&state, code);
}
