/* What `quartet explain` says, as sections: for a person with diagrams, or as a JSON array of objects. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"
#include "explain/story.h"

struct page {
    FILE *out;
    bool json;
    bool ascii;
    bool bare;         /* diagrams alone, where there are any */
    unsigned sections; /* printed so far */
};

struct section {
    const char *title;
    const char *before;        /* a paragraph; NULL: none */
    const struct story *story; /* NULL: none */
    const char *after;         /* a paragraph; NULL: none */
    const char *outcome;       /* one word, for JSON; NULL: none was asked for */
};

void page_section(struct page *p, const struct section *s);
/* Ends the array of a JSON page. */
void page_end(struct page *p);

/* Appends to a text that is built piece by piece; page_text() ends it with a zero. */
void page_add(struct buf *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *page_text(struct buf *text);
/* The number with commas between its thousands. */
struct page_number {
    char text[32];
};
struct page_number page_number(unsigned long long value);
