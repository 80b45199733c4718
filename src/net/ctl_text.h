/* What `quartet ctl` and the broker say to each other: one line of question, then lines of answer, then the end.
 *
 *     question    VERB TAB ARGUMENT TAB ...            sessions [OWNER] [ROWS]   end CLIENT-ID   end-owner OWNER
 *                                                      clear FILTER [all]   counters   accounts [ROWS]
 *     answer      ok                                   or: error TAB SENTENCE
 *                 NAME TAB #NAME TAB ...               columns; those of numbers begin with #
 *                 VALUE TAB VALUE TAB ...              any number of lines
 *                 end                                  nothing was cut off
 *
 * In a word, what is a control (also one of those of UTF-8), and \ itself, is \xNN; other UTF-8 stays. */
#pragma once

#include "broker/request.h"

#define CTL_QUESTION_BYTES_MAX (300U * 1024) /* a client id of 65,535 bytes, each written as \xNN */
#define CTL_ROWS_DEFAULT 20

/* Appends a word. */
void ctl_word_put(struct buf *out, struct span word);
/* Takes the first word off `line`, and appends it to `out` as it was. False when it is not well written. */
bool ctl_word_take(struct span *line, struct buf *out);

/* A question as it was read. Owns its texts, which `ask` borrows. */
struct ctl_question {
    struct request_ask ask;
    struct buf text;
};

/* Reads a line without its newline; false with a sentence. */
bool ctl_question_read(struct ctl_question *q, struct span line, const char **wrong);
void ctl_question_deinit(struct ctl_question *q);
void ctl_answer_error(struct buf *out, const char *sentence);
/* A bound that no shard knows of: accounts shows it beside theirs. */
struct ctl_bound {
    const char *name, *who;
    enum quota_level level;
    uint64_t used, limit, refused;
};
/* Puts the answers of all shards together. */
void ctl_answer(struct buf *out, const struct request_ask *ask, const struct request_answer *const *parts, size_t count,
                const struct ctl_bound *more, size_t more_count);
