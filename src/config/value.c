#include "config/value.h"

struct value_unit {
    const char *name;
    uint64_t factor;
};

/* Takes the digits at the front of `text` and moves it behind them. */
static bool value_digits(struct span *text, uint64_t *value) {
    uint64_t number = 0;
    size_t digits = 0;
    while (digits < text->len && text->ptr[digits] >= '0' && text->ptr[digits] <= '9') {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(text->ptr[digits] - '0'), &number)) {
            return false;
        }
        digits++;
    }
    *text = span_skip(*text, digits);
    *value = number;
    return digits > 0;
}

static bool value_with_unit(struct span text, const struct value_unit *units, size_t count, uint64_t *value) {
    uint64_t number;
    if (!value_digits(&text, &number)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (span_equal(text, span_str(units[i].name))) {
            return !__builtin_mul_overflow(number, units[i].factor, value);
        }
    }
    return false;
}

bool value_flag(struct span text, bool *value) {
    if (!span_equal(text, SPAN("true")) && !span_equal(text, SPAN("false"))) {
        return false;
    }
    *value = text.ptr[0] == 't';
    return true;
}

bool value_count(struct span text, uint64_t *value) {
    static const struct value_unit units[] = {{"", 1}};
    return value_with_unit(text, units, 1, value);
}

bool value_bytes(struct span text, uint64_t *value) {
    static const struct value_unit units[] = {{"", 1},         {"k", 1U << 10}, {"K", 1U << 10}, {"m", 1U << 20},
                                              {"M", 1U << 20}, {"g", 1U << 30}, {"G", 1U << 30}};
    return value_with_unit(text, units, sizeof units / sizeof *units, value);
}

bool value_time(struct span text, uint64_t *milliseconds) {
    static const struct value_unit units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    return value_with_unit(text, units, sizeof units / sizeof *units, milliseconds);
}

bool value_life(struct span text, uint64_t *seconds) {
    static const uint64_t day = 24 * 3600;
    const struct value_unit units[] = {{"s", 1},       {"h", 3600},     {"d", day},
                                       {"w", 7 * day}, {"m", 30 * day}, {"y", 365 * day}};
    return value_with_unit(text, units, sizeof units / sizeof *units, seconds);
}
