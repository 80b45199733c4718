#include "base/reader.h"

uint32_t reader_varint(struct reader *r) {
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
        uint8_t byte = reader_u8(r);
        value |= (uint32_t)(byte & 0x7fU) << shift;
        if ((byte & 0x80U) == 0) {
            if (byte == 0 && shift > 0) {
                r->failed = true;
            }
            return r->failed ? 0 : value;
        }
    }
    r->failed = true;
    return 0;
}

uint64_t reader_leb_long(struct reader *r) {
    uint64_t value = 0;
    const uint8_t *at = r->at;
    for (unsigned shift = 0; shift < 64 && !r->failed && at != r->end; shift += 7) {
        uint8_t byte = *at++;
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7fU) << shift;
        if ((byte & 0x80U) == 0) {
            r->at = at;
            return value;
        }
    }
    r->failed = true;
    return 0;
}
