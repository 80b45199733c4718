/* Values of options as they are written, into numbers. Each returns false when the text is not such a value or does
 * not fit; nothing is set then. No state. */
#pragma once

#include "base/span.h"

/* `true` or `false`. */
bool value_flag(struct span text, bool *value);
/* Decimal digits. */
bool value_count(struct span text, uint64_t *value);
/* Decimal digits, then nothing or one of k, M, G in either case: powers of 1,024. */
bool value_bytes(struct span text, uint64_t *value);
/* Decimal digits, then nothing (seconds) or ms, s, m or h; milliseconds. */
bool value_time(struct span text, uint64_t *milliseconds);
/* Decimal digits, then one of s, h, d, w, m (30 days), y (365 days); seconds. */
bool value_life(struct span text, uint64_t *seconds);
