#include "explain/protocol.h"

#include <stddef.h>
#include <string.h>

const struct protocol_row protocols[] = {
#define PROTOCOL_VALUE(name, packets, ids, window, memory, frees, durable, outcome, text)                              \
    {name, packets, ids, window, memory, frees, durable, outcome, text},
    PROTOCOL_ROWS(PROTOCOL_VALUE)
#undef PROTOCOL_VALUE
};
const unsigned protocol_count = sizeof protocols / sizeof protocols[0];

const struct protocol_row *protocol_named(const char *name) {
    for (unsigned i = 0; i < protocol_count; i++) {
        if (strcmp(protocols[i].name, name) == 0) {
            return &protocols[i];
        }
    }
    return NULL;
}

const char *outcome_name(enum outcome v) {
    static const char *const names[] = {"right", "leftover", "stuck", "lost", "duplicate"};
    return names[v];
}
