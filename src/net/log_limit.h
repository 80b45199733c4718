/* How often lines of one kind may be written: a peer that makes the broker talk cannot fill the disk, nor hide other
 * lines behind its own. A kind is the format that a line is made from, a literal: its address tells it. What is left
 * out is counted and told in the second that follows, also of a flood that goes on. Does not know clocks, files,
 * threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINES_OF_KIND 100    /* in one second */
#define LOG_LINES_PER_SECOND 400 /* of all kinds together */
#define LOG_KINDS_MAX 128        /* those beyond share one account */

struct log_kind {
    const char *format; /* NULL: lines that are made elsewhere, and the kinds that found no place */
    int64_t second;     /* the one that is counted */
    uint32_t lines;     /* written in it */
    uint32_t left_out;  /* since that was told last: */
    int64_t since;      /* the second of the first of them */
    uint8_t level;      /* of the last one */
};

struct log_limit {
    struct log_kind kinds[LOG_KINDS_MAX]; /* open addressing by `format`; place 0 is NULL's */
    int64_t second;
    uint32_t lines;    /* of all kinds, in `second` */
    uint32_t left_out; /* of all kinds, not told yet */
};

/* Counts a line of this kind; false when it is to be left out. `second` is of a clock that does not jump. */
bool log_limit_allows(struct log_limit *limit, const char *format, unsigned level, int64_t second);
/* A kind of which lines were left out in a second that is over, and how many by now; they count as told by this call.
 * NULL: none. */
struct log_kind *log_limit_tell(struct log_limit *limit, int64_t second, uint32_t *left_out);
/* The format as a person reads it: what is filled in becomes "...". Cut to fit. */
void log_kind_print(const struct log_kind *kind, char *out, size_t bytes);
