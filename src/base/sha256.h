/* SHA-256 (FIPS 180-4): a digest by which texts can be told apart though somebody tries to find two with the same.
 * Pure, any thread. Not fast: for what is rare. */
#pragma once

#include "base/span.h"

enum { SHA256_BYTES = 32 };

void sha256(struct span in, uint8_t digest[SHA256_BYTES]);
