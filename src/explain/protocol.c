#include "explain/protocol.h"

#include <stddef.h>
#include <string.h>

const struct protocol protocols[] = {
#define PROTOCOL_VALUE(name, packets, ids, window, memory, frees, durable, verdict, text)                              \
    {name, packets, ids, window, memory, frees, durable, verdict, text},
    PROTOCOL_ROWS(PROTOCOL_VALUE)
#undef PROTOCOL_VALUE
};
const unsigned protocol_count = sizeof protocols / sizeof protocols[0];

const struct protocol *protocol_named(const char *name) {
    for (unsigned i = 0; i < protocol_count; i++) {
        if (strcmp(protocols[i].name, name) == 0) {
            return &protocols[i];
        }
    }
    return NULL;
}

const char *verdict_name(enum verdict v) {
    static const char *const names[] = {"right", "leftover", "stuck", "lost", "duplicate"};
    return names[v];
}
