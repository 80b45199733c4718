#include "config/problem.h"

#include <stdarg.h>
#include <stdio.h>

static void problem_say(struct config_report *report, bool error, const struct place *place, const char *format,
                        va_list arguments) __attribute__((format(printf, 4, 0)));

static void problem_say(struct config_report *report, bool error, const struct place *place, const char *format,
                        va_list arguments) {
    char line[640];
    int head = 0;
    if (place != NULL && place->line > 0) {
        head = snprintf(line, sizeof line, "%.255s:%u: ", place->name, place->line);
    } else if (place != NULL) {
        head = snprintf(line, sizeof line, "%.255s: ", place->name);
    }
    (void)vsnprintf(line + head, sizeof line - (size_t)head, format, arguments);
    report->errors += error ? 1 : 0;
    report->say(report->user, error, line);
}

void problem_error(struct config_report *report, const struct place *place, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    problem_say(report, true, place, format, arguments);
    va_end(arguments);
}

void problem_warning(struct config_report *report, const struct place *place, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    problem_say(report, false, place, format, arguments);
    va_end(arguments);
}

struct shown shown(struct span text) {
    struct shown out;
    size_t len = text.len < sizeof out.text ? text.len : sizeof out.text - 4;
    for (size_t i = 0; i < len; i++) {
        out.text[i] = text.ptr[i] >= 0x20 && text.ptr[i] < 0x7f ? (char)text.ptr[i] : '?';
    }
    out.text[len] = '\0';
    if (len < text.len) {
        memcpy(out.text + len, "...", 4);
    }
    return out;
}
