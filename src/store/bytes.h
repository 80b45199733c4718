/* Fixed-size integers in the store's files: little-endian in the journal, big-endian in the table's keys, where the
 * order of bytes must be the order of numbers. */
#pragma once

#include <stdint.h>

static inline void le32_put(uint8_t *at, uint32_t value) {
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static inline void le64_put(uint8_t *at, uint64_t value) {
    for (unsigned i = 0; i < 8; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static inline uint32_t le32_get(const uint8_t *at) {
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        value |= (uint32_t)at[i] << 8 * i;
    }
    return value;
}

static inline uint64_t le64_get(const uint8_t *at) {
    return (uint64_t)le32_get(at + 4) << 32 | le32_get(at);
}

static inline void be16_put(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void be32_put(uint8_t *at, uint32_t value) {
    be16_put(at, (uint16_t)(value >> 16));
    be16_put(at + 2, (uint16_t)value);
}

static inline void be64_put(uint8_t *at, uint64_t value) {
    be32_put(at, (uint32_t)(value >> 32));
    be32_put(at + 4, (uint32_t)value);
}

static inline uint16_t be16_get(const uint8_t *at) {
    return (uint16_t)((unsigned)at[0] << 8 | at[1]);
}

static inline uint32_t be32_get(const uint8_t *at) {
    return (uint32_t)be16_get(at) << 16 | be16_get(at + 2);
}

static inline uint64_t be64_get(const uint8_t *at) {
    return (uint64_t)be32_get(at) << 32 | be32_get(at + 4);
}
