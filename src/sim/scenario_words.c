#include "sim/scenario_words.h"

#include <stdlib.h>

bool words_split(struct scenario_words *w, const char *line) {
    w->count = w->at = 0;
    while (*line != '\0') {
        if (*line == ' ') {
            line++;
            continue;
        }
        bool quoted = *line == '"';
        const char *begin = quoted ? line + 1 : line;
        size_t len = strcspn(begin, quoted ? "\"" : " ");
        if (w->count == SCENARIO_WORDS_MAX || len >= SCENARIO_WORD_BYTES) {
            return false;
        }
        memcpy(w->text[w->count], begin, len);
        w->text[w->count][len] = '\0';
        w->quoted[w->count++] = quoted;
        line = begin + len;
        line += quoted && *line == '"' ? 1 : 0;
    }
    return true;
}

bool words_end(const struct scenario_words *w) {
    return w->at == w->count;
}

bool word_is(struct scenario_words *w, const char *word) {
    if (w->at < w->count && !w->quoted[w->at] && strcmp(w->text[w->at], word) == 0) {
        w->at++;
        return true;
    }
    return false;
}

bool word_number(struct scenario_words *w, uint32_t *out) {
    char *end;
    if (w->at >= w->count || w->quoted[w->at]) {
        return false;
    }
    *out = (uint32_t)strtoul(w->text[w->at], &end, 0);
    if (end == w->text[w->at] || *end != '\0') {
        return false;
    }
    w->at++;
    return true;
}

bool word_setting(struct scenario_words *w, const char *word, uint32_t max, uint32_t *out) {
    const unsigned before = w->at;
    if (word_is(w, word) && word_number(w, out) && *out <= max) {
        return true;
    }
    w->at = before;
    return false;
}

bool word_text(struct scenario_words *w, bool quoted, const char **out) {
    if (w->at >= w->count || w->quoted[w->at] != quoted) {
        return false;
    }
    *out = w->text[w->at++];
    return true;
}

bool word_qos(struct scenario_words *w, uint8_t *qos) {
    uint32_t value = 0;
    if (!word_setting(w, "qos", 2, &value)) {
        return false;
    }
    *qos = (uint8_t)value;
    return true;
}
