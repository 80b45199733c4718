#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool error_set(struct error *error, enum error_kind kind, int system, const char *format, ...) {
    error->kind = kind;
    error->system = system;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    if (system != 0 && length >= 0 && (size_t)length < sizeof error->text) {
        (void)snprintf(error->text + length, sizeof error->text - (size_t)length, ": %s", strerror(system));
    }
    return false;
}

enum error_kind error_kind_of(int system) {
    return system == ENOSPC || system == EDQUOT ? ERROR_NO_SPACE : ERROR_IO;
}
