/* Draws a story as a sequence diagram, with box-drawing characters in UTF-8 or in ASCII, at most 100 columns wide; and
 * writes it as JSON.
 *
 *     two actors: what each of them does stands beside its own line       three: all of it stands at the right, by name
 *
 *      stores: 1 is A │── PUBLISH 1 A ──>│ stores 1, passes A on
 *                     │<───── PUBREC 1 ──│                                                                          */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "explain/story.h"

#define DIAGRAM_COLUMNS 100

void diagram_print(FILE *out, const struct story *s, bool ascii);
/* One object, without newline. */
void diagram_json(FILE *out, const struct story *s);
/* A text as a JSON string, with its quotes. */
void diagram_json_text(FILE *out, const char *text);
/* A paragraph: words wrapped at DIAGRAM_COLUMNS. */
void diagram_text(FILE *out, const char *text);
