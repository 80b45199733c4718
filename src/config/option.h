/* The rows of rows.h as one table: what a name means, and where its value goes. Inside config/ only. */
#pragma once

#include "config/config.h"

enum option_kind {
    OPTION_COUNT = 1, /* the numbers, by unit */
    OPTION_BYTES,
    OPTION_TIME,
    OPTION_LIFE,
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_WORD,     /* has a handler of its own */
    OPTION_HARMLESS, /* known, without effect */
    OPTION_LATER,    /* known, refused */
};

struct option {
    const char *name;
    enum option_kind kind;
    const char *text; /* what it does, or why it is not there */
    size_t offset;    /* of its field in struct config; numbers, flags and texts */
    uint64_t min;     /* numbers */
    uint64_t max;
    uint64_t initial; /* numbers and flags */
};

extern const struct option options[];
extern const size_t options_count;

/* The option called `name`, or NULL. */
const struct option *option_find(struct span name);
