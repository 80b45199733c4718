/* What happened, as a list of events between two or three actors: the matter of a sequence diagram.
 *
 * The actors stand side by side, from left to right; packets go between neighbours. Knows nothing of MQTT and of how
 * it is drawn. All text is ASCII. Memory: one event for each thing told; bounded by the length of a run. */
#pragma once

#include <stddef.h>

#define STORY_ACTORS_MAX 3
#define STORY_TEXT_BYTES 96
#define STORY_NOTE_BYTES 320

enum story_kind {
    STORY_PACKET = 1, /* a packet goes from one actor to its neighbour and arrives */
    STORY_LOST,       /* it was sent and does not arrive */
    STORY_LINE,       /* something happens to the connection between two neighbours */
    STORY_CRASH,      /* an actor is gone for a moment, and with it what it had not kept */
    STORY_NOTE,       /* an actor does something on its own */
    STORY_CALL,       /* one actor calls its neighbour, or is answered: nothing of it can be lost */
};

struct story_event {
    enum story_kind kind;
    unsigned from, to;                              /* actors; CRASH and NOTE: both the same */
    char text[STORY_TEXT_BYTES];                    /* the packet; what happens to the connection */
    char notes[STORY_ACTORS_MAX][STORY_NOTE_BYTES]; /* what each actor does or knows about it; may be empty */
};

struct story {
    const char *actors[STORY_ACTORS_MAX];
    unsigned actor_count;
    struct story_event *events;
    size_t count, capacity;
};

/* Frees the events; the story is empty and usable again. */
void story_deinit(struct story *s);
/* Adds an event; its notes are empty. The pointer is good until the next event is added. */
struct story_event *story_add(struct story *s, enum story_kind kind, unsigned from, unsigned to, const char *format,
                              ...) __attribute__((format(printf, 5, 6)));
/* Adds to what an actor notes, on a line of its own. */
void story_note(struct story_event *e, unsigned actor, const char *format, ...) __attribute__((format(printf, 3, 4)));
