/* How a problem in the configuration is said: with its place, in one line. Inside config/ only. */
#pragma once

#include "config/config.h"

/* Where an option was written. */
struct place {
    const char *name; /* a file, or what stands for the command line */
    unsigned line;    /* 0: none */
};

void problem_error(struct config_report *report, const struct place *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void problem_warning(struct config_report *report, const struct place *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Text from a file, fit for a log line: what is not printable ASCII becomes `?`, what is long is cut. */
struct shown {
    char text[80];
};
struct shown shown(struct span text);
