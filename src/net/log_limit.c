#include "net/log_limit.h"

#include <string.h>

static struct log_kind *kind_of(struct log_limit *limit, const char *format) {
    size_t at = (size_t)((uintptr_t)format >> 3) % LOG_KINDS_MAX;
    for (size_t i = 0; format != NULL && i < LOG_KINDS_MAX; i++, at = (at + 1) % LOG_KINDS_MAX) {
        struct log_kind *k = &limit->kinds[at];
        if (at != 0 && (k->format == format || k->format == NULL)) {
            k->format = format;
            return k;
        }
    }
    return &limit->kinds[0];
}

bool log_limit_allows(struct log_limit *limit, const char *format, unsigned level, int64_t second) {
    struct log_kind *k = kind_of(limit, format);
    k->lines = k->second == second ? k->lines : 0;
    limit->lines = limit->second == second ? limit->lines : 0;
    k->second = limit->second = second;
    k->level = (uint8_t)level;
    if (k->lines >= LOG_LINES_OF_KIND || limit->lines >= LOG_LINES_PER_SECOND) {
        k->since = k->left_out == 0 ? second : k->since;
        k->left_out++;
        limit->left_out++;
        return false;
    }
    k->lines++;
    limit->lines++;
    return true;
}

struct log_kind *log_limit_tell(struct log_limit *limit, int64_t second, uint32_t *left_out) {
    for (size_t i = 0; limit->left_out > 0 && i < LOG_KINDS_MAX; i++) {
        struct log_kind *k = &limit->kinds[i];
        if (k->left_out > 0 && k->since != second) {
            *left_out = k->left_out;
            limit->left_out -= k->left_out;
            k->left_out = 0;
            return k;
        }
    }
    return NULL;
}

/* Where the conversion that begins at `at` ends. */
static const char *after_conversion(const char *at) {
    return at + 1 + strspn(at + 1, "-+ #0123456789.*hlzjtL") + 1;
}

void log_kind_print(const struct log_kind *kind, char *out, size_t bytes) {
    static const char filled[] = "...";
    const char *at = kind->format != NULL ? kind->format : "";
    size_t used = 0;
    while (*at != '\0' && used + sizeof filled < bytes) {
        if (at[0] == '%' && at[1] != '%' && at[1] != '\0') {
            memcpy(out + used, filled, sizeof filled - 1);
            used += sizeof filled - 1;
            at = after_conversion(at);
        } else {
            at += at[0] == '%' ? 1 : 0;
            out[used++] = *at++;
        }
    }
    out[used] = '\0';
}
