#include "config/suggest.h"

#define WORD_MAX 48

static unsigned least(unsigned a, unsigned b) {
    return a < b ? a : b;
}

static unsigned edit_distance(struct span a, struct span b) {
    unsigned row[3][WORD_MAX + 1]; /* two rows back, the last one, this one */
    for (unsigned j = 0; j <= b.len; j++) {
        row[1][j] = j;
        row[0][j] = 0;
    }
    for (unsigned i = 1; i <= a.len; i++) {
        row[2][0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned replaced = row[1][j - 1] + (a.ptr[i - 1] == b.ptr[j - 1] ? 0 : 1);
            unsigned nearest = least(replaced, least(row[1][j], row[2][j - 1]) + 1);
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1]) {
                nearest = least(nearest, row[0][j - 2] + 1);
            }
            row[2][j] = nearest;
        }
        memcpy(row[0], row[1], sizeof row[0]);
        memcpy(row[1], row[2], sizeof row[1]);
    }
    return row[1][b.len];
}

void suggestion_consider(struct suggestion *best, struct span unknown, const char *candidate) {
    struct span word = span_str(candidate);
    if (unknown.len > WORD_MAX || word.len > WORD_MAX) {
        return;
    }
    unsigned distance = edit_distance(unknown, word);
    if (distance * 3 <= word.len && (best->word == NULL || distance < best->distance)) {
        *best = (struct suggestion){candidate, distance};
    }
}
