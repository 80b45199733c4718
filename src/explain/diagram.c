#include "explain/diagram.h"

#include <string.h>

enum {
    SIDE_TWO = 33,    /* columns of the notes beside two actors, on each side */
    LANE_TWO = 30,    /* between their lines */
    MARGIN_THREE = 5, /* columns before the first of three lines */
    LANE_THREE = 22,
    SIDE_THREE = 46, /* of the notes at the right */
};

/* What lines are drawn with. */
struct pens {
    const char *line, *dash, *cross, *gap, *broken;
};
static const struct pens pens_utf8 = {"│", "─", "╳", "╌", "╳"};
static const struct pens pens_ascii = {"|", "-", "X", ".", "X"};

struct drawing {
    FILE *out;
    const struct story *story;
    const struct pens *pens;
    unsigned lane; /* columns between two lines */
};

static void repeat(FILE *out, const char *what, unsigned times) {
    while (times-- > 0) {
        (void)fputs(what, out);
    }
}

/* ---- words ---- */

/* The first line of `text` that fits, as its length; `*next` is where the rest begins. */
static size_t wrap(const char *text, size_t columns, const char **next) {
    size_t len = strcspn(text, "\n");
    if (len > columns) {
        len = columns;
        while (len > 0 && text[len] != ' ') {
            len--;
        }
        len = len == 0 ? columns : len;
    }
    *next = text + len;
    while (**next == ' ') {
        (*next)++;
    }
    if (**next == '\n') {
        (*next)++;
    }
    return len;
}

void diagram_text(FILE *out, const char *text) {
    while (*text != '\0') {
        const char *next;
        const size_t len = wrap(text, DIAGRAM_COLUMNS, &next);
        (void)fprintf(out, "%.*s\n", (int)len, text);
        text = next;
    }
}

/* ---- lanes ---- */

/* An arrow with the packet's name in it: "── PUBLISH 1 A ──────>", "<────── PUBREC 1 ──", "── PUBREL 1 ───X    ". */
static void arrow(const struct drawing *d, const struct story_event *e) {
    const unsigned text = (unsigned)strlen(e->text);
    const unsigned rest = d->lane > text + 5 ? d->lane - text - 5 : 0;
    const bool right = e->to > e->from;
    const bool lost = e->kind == STORY_LOST;
    const unsigned gone = lost ? rest / 2 : 0; /* columns that it does not reach */
    if (right) {
        repeat(d->out, d->pens->dash, 2);
        (void)fprintf(d->out, " %s ", e->text);
        repeat(d->out, d->pens->dash, rest - gone);
        (void)fputs(lost ? d->pens->cross : ">", d->out);
        repeat(d->out, " ", gone);
    } else {
        repeat(d->out, " ", gone);
        (void)fputs(lost ? d->pens->cross : "<", d->out);
        repeat(d->out, d->pens->dash, rest - gone);
        (void)fprintf(d->out, " %s ", e->text);
        repeat(d->out, d->pens->dash, 2);
    }
}

/* "╌╌╌╌╌╌ connection cut ╌╌╌╌╌╌" */
static void gap(const struct drawing *d, const struct story_event *e) {
    const unsigned text = (unsigned)strlen(e->text) + 2;
    const unsigned left = d->lane > text ? (d->lane - text) / 2 : 0;
    repeat(d->out, d->pens->gap, left);
    (void)fprintf(d->out, " %s ", e->text);
    repeat(d->out, d->pens->gap, d->lane > text + left ? d->lane - text - left : 0);
}

static void lane(const struct drawing *d, unsigned at, const struct story_event *e) {
    const unsigned left = e != NULL && e->to < e->from ? e->to : e != NULL ? e->from : 0;
    if (e == NULL || e->from == e->to || left != at) {
        repeat(d->out, " ", d->lane);
    } else if (e->kind == STORY_LINE) {
        gap(d, e);
    } else {
        arrow(d, e);
    }
}

/* All lines with what is between them; `e` NULL: a row in which nothing happens. */
static void lanes(const struct drawing *d, const struct story_event *e) {
    for (unsigned i = 0; i < d->story->actor_count; i++) {
        const bool crashed = e != NULL && e->kind == STORY_CRASH && e->from == i;
        (void)fputs(crashed ? d->pens->broken : d->pens->line, d->out);
        if (i + 1 < d->story->actor_count) {
            lane(d, i, e);
        }
    }
}

/* ---- rows ---- */

static void rows_two(const struct drawing *d, const struct story_event *e) {
    const char *left = e->notes[0];
    const char *right = e->notes[1];
    for (bool first = true; first || *left != '\0' || *right != '\0'; first = false) {
        const char *left_next;
        const char *right_next;
        const size_t left_len = wrap(left, SIDE_TWO, &left_next);
        const size_t right_len = wrap(right, SIDE_TWO, &right_next);
        (void)fprintf(d->out, "%*.*s ", SIDE_TWO, (int)left_len, left);
        lanes(d, first ? e : NULL);
        (void)fprintf(d->out, right_len > 0 ? " %.*s\n" : "\n", (int)right_len, right);
        left = left_next;
        right = right_next;
    }
}

static void rows_three(const struct drawing *d, const struct story_event *e) {
    bool first = true;
    for (unsigned i = 0; i < d->story->actor_count; i++) {
        char text[STORY_NOTE_BYTES + 32];
        const char *rest = text;
        if (e->notes[i][0] == '\0') {
            continue;
        }
        (void)snprintf(text, sizeof text, "%s: %s", d->story->actors[i], e->notes[i]);
        while (*rest != '\0') {
            const char *next;
            const size_t len = wrap(rest, rest == text ? SIDE_THREE : SIDE_THREE - 2, &next);
            (void)fprintf(d->out, "%*s", MARGIN_THREE, "");
            lanes(d, first ? e : NULL);
            (void)fprintf(d->out, "  %s%.*s\n", rest == text ? "" : "  ", (int)len, rest);
            rest = next;
            first = false;
        }
    }
    if (first) {
        (void)fprintf(d->out, "%*s", MARGIN_THREE, "");
        lanes(d, e);
        (void)fputc('\n', d->out);
    }
}

static void head_three(const struct drawing *d) {
    unsigned at = 0;
    for (unsigned i = 0; i < d->story->actor_count; i++) {
        const unsigned centre = MARGIN_THREE + i * (LANE_THREE + 1);
        const unsigned half = (unsigned)strlen(d->story->actors[i]) / 2;
        const unsigned begin = centre > half ? centre - half : 0;
        repeat(d->out, " ", begin - at);
        (void)fputs(d->story->actors[i], d->out);
        at = begin + (unsigned)strlen(d->story->actors[i]);
    }
    (void)fputc('\n', d->out);
}

void diagram_print(FILE *out, const struct story *s, bool ascii) {
    const bool two = s->actor_count == 2;
    const struct drawing d = {out, s, ascii ? &pens_ascii : &pens_utf8, two ? LANE_TWO : LANE_THREE};
    if (two) {
        (void)fprintf(out, "%*s%*s%s\n", SIDE_TWO + 2, s->actors[0], LANE_TWO, "", s->actors[1]);
    } else {
        head_three(&d);
    }
    for (size_t i = 0; i < s->count; i++) {
        if (two) {
            rows_two(&d, &s->events[i]);
        } else {
            rows_three(&d, &s->events[i]);
        }
    }
}

/* ---- JSON ---- */

void diagram_json_text(FILE *out, const char *text) {
    (void)fputc('"', out);
    for (; *text != '\0'; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') {
            (void)fprintf(out, "\\%c", byte);
        } else if (byte == '\n') {
            (void)fputs("\\n", out);
        } else if (byte < 0x20) {
            (void)fprintf(out, "\\u%04x", byte);
        } else {
            (void)fputc(byte, out);
        }
    }
    (void)fputc('"', out);
}

static void json_event(FILE *out, const struct story *s, const struct story_event *e) {
    static const char *const kinds[] = {"", "packet", "packet-lost", "connection", "crash", "note", "call"};
    (void)fprintf(out, "{\"kind\": \"%s\", \"from\": \"%s\", \"to\": \"%s\", \"what\": ", kinds[e->kind],
                  s->actors[e->from], s->actors[e->to]);
    diagram_json_text(out, e->text);
    (void)fputs(", \"notes\": {", out);
    bool first = true;
    for (unsigned i = 0; i < s->actor_count; i++) {
        if (e->notes[i][0] != '\0') {
            (void)fprintf(out, "%s\"%s\": ", first ? "" : ", ", s->actors[i]);
            diagram_json_text(out, e->notes[i]);
            first = false;
        }
    }
    (void)fputs("}}", out);
}

void diagram_json(FILE *out, const struct story *s) {
    (void)fputs("{\"actors\": [", out);
    for (unsigned i = 0; i < s->actor_count; i++) {
        (void)fprintf(out, "%s\"%s\"", i > 0 ? ", " : "", s->actors[i]);
    }
    (void)fputs("], \"events\": [", out);
    for (size_t i = 0; i < s->count; i++) {
        (void)fputs(i > 0 ? ", " : "", out);
        json_event(out, s, &s->events[i]);
    }
    (void)fputs("]}", out);
}
