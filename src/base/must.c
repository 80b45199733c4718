#include "base/must.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* The one thing here that can change: whoever fails has nobody else to ask. */
static void (*_Atomic teller)(const char *line);

void must_tell(void (*tell)(const char *line)) {
    atomic_store(&teller, tell);
}

_Noreturn void must_fail(const char *condition, const char *file, int line, const char *function) {
    char text[512];
    (void)snprintf(text, sizeof text, "%s:%d: %s: this must hold: %s", file, line, function, condition);
    (void)fprintf(stderr, "%s\n", text);
    void (*tell)(const char *line) = atomic_exchange(&teller, NULL); /* once: it may fail as well */
    if (tell != NULL) {
        tell(text);
    }
    abort();
}
