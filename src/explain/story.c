#include "explain/story.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"

void story_deinit(struct story *s) {
    mem_free(s->events);
    s->events = NULL;
    s->count = s->capacity = 0;
}

struct story_event *story_add(struct story *s, enum story_kind kind, unsigned from, unsigned to, const char *format,
                              ...) {
    must(from < s->actor_count && to < s->actor_count);
    if (s->count == s->capacity) {
        s->capacity = s->capacity * 2 + 16;
        s->events = mem_resize(s->events, s->capacity * sizeof *s->events);
    }
    struct story_event *e = &s->events[s->count++];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    e->from = from;
    e->to = to;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return e;
}

void story_note(struct story_event *e, unsigned actor, const char *format, ...) {
    char *note = e->notes[actor];
    size_t used = strlen(note);
    if (used > 0 && used + 1 < STORY_NOTE_BYTES) {
        note[used++] = '\n';
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(note + used, STORY_NOTE_BYTES - used, format, args);
    va_end(args);
}
