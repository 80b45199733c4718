#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_fail(const char *condition, const char *file, int line, const char *function) {
    (void)fprintf(stderr, "%s:%d: %s: this must hold: %s\n", file, line, function, condition);
    abort();
}
