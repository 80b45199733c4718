/* The words of one line of a scenario; a quoted one may hold spaces and comes without its quotes. Read from left to
 * right: each function takes the next word when it is what was asked for, and else leaves it. */
#pragma once

#include "base/span.h"

enum { SCENARIO_WORDS_MAX = 24, SCENARIO_WORD_BYTES = 64 };

struct scenario_words {
    char text[SCENARIO_WORDS_MAX][SCENARIO_WORD_BYTES];
    bool quoted[SCENARIO_WORDS_MAX];
    unsigned count;
    unsigned at; /* the next that is not used yet */
};

/* False when there are too many words, or one is too long. */
bool words_split(struct scenario_words *w, const char *line);
/* Nothing is left. */
bool words_end(const struct scenario_words *w);
bool word_is(struct scenario_words *w, const char *word);
bool word_number(struct scenario_words *w, uint32_t *out);
/* `word` and a number behind it, which is at most `max`. */
bool word_setting(struct scenario_words *w, const char *word, uint32_t max, uint32_t *out);
/* Any word, quoted or not; the text is valid as long as the words are. */
bool word_text(struct scenario_words *w, bool quoted, const char **out);
/* "qos N" */
bool word_qos(struct scenario_words *w, uint8_t *qos);
