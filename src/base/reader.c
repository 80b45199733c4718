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

uint64_t reader_leb(struct reader *r) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = reader_u8(r);
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7fU) << shift;
        if ((byte & 0x80U) == 0) {
            return r->failed ? 0 : value;
        }
    }
    r->failed = true;
    return 0;
}
