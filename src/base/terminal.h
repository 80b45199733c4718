/* Texts that come from outside and are shown to a person. */
#pragma once

#include "base/span.h"

/* False when byte i of a text could do more to a terminal, or to whoever reads line by line, than show a character:
 * ASCII controls, and U+0080 to U+009F in UTF-8, which are controls, too. A byte of those that stands alone is as bad;
 * other UTF-8 is left alone. */
static inline bool terminal_shows(struct span s, size_t i) {
    const uint8_t c = s.ptr[i];
    if (c < 0x80 || c >= 0xa0) {
        const bool control_follows = c == 0xc2 && i + 1 < s.len && s.ptr[i + 1] < 0xa0;
        return c >= 0x20 && c != 0x7f && !control_follows;
    }
    return i > 0 && s.ptr[i - 1] >= 0x80 && s.ptr[i - 1] != 0xc2;
}
