#include "base/buf.h"

#include "base/mem.h"
#include "base/must.h"

enum { BUF_CAPACITY_MIN = 64, VARINT_MAX = 268435455 };

uint8_t *buf_reserve(struct buf *b, size_t bytes) {
    must(bytes <= SIZE_MAX / 2 - b->len);
    if (b->ptr == NULL || b->capacity - b->len < bytes) {
        size_t capacity = b->capacity > 0 ? b->capacity : BUF_CAPACITY_MIN;
        while (capacity - b->len < bytes) {
            capacity *= 2;
        }
        b->ptr = mem_resize(b->ptr, capacity);
        b->capacity = capacity;
    }
    return b->ptr + b->len;
}

void buf_drop_front(struct buf *b, size_t bytes) {
    must(bytes <= b->len);
    if (bytes == 0) {
        return;
    }
    b->len -= bytes;
    memmove(b->ptr, b->ptr + bytes, b->len);
}

void buf_varint(struct buf *b, uint32_t value) {
    must(value <= VARINT_MAX);
    while (value >= 0x80) {
        buf_u8(b, (uint8_t)(value | 0x80U));
        value >>= 7;
    }
    buf_u8(b, (uint8_t)value);
}

size_t varint_size(uint32_t value) {
    return value < 1U << 7 ? 1 : value < 1U << 14 ? 2 : value < 1U << 21 ? 3 : 4;
}

void buf_leb(struct buf *b, uint64_t value) {
    while (value >= 0x80) {
        buf_u8(b, (uint8_t)(value | 0x80U));
        value >>= 7;
    }
    buf_u8(b, (uint8_t)value);
}
