#include "explain/page.h"

#include <stdarg.h>
#include <string.h>

#include "base/must.h"
#include "explain/diagram.h"

static void json_field(FILE *out, const char *name, const char *text) {
    if (text != NULL) {
        (void)fprintf(out, ", \"%s\": ", name);
        diagram_json_text(out, text);
    }
}

static void section_json(struct page *p, const struct section *s) {
    (void)fputs(p->sections == 1 ? "[\n{\"title\": " : ",\n{\"title\": ", p->out);
    diagram_json_text(p->out, s->title);
    json_field(p->out, "before", s->before);
    if (s->story != NULL) {
        (void)fputs(", \"story\": ", p->out);
        diagram_json(p->out, s->story);
    }
    json_field(p->out, "after", s->after);
    json_field(p->out, "outcome", s->outcome);
    (void)fputc('}', p->out);
}

static void section_text(struct page *p, const struct section *s) {
    (void)fprintf(p->out, "== %s\n\n", s->title);
    if (s->before != NULL) {
        diagram_text(p->out, s->before);
        (void)fputs(s->story != NULL || s->after != NULL ? "\n" : "", p->out);
    }
    if (s->story != NULL) {
        diagram_print(p->out, s->story, p->ascii);
        (void)fputs(s->after != NULL ? "\n" : "", p->out);
    }
    if (s->after != NULL) {
        diagram_text(p->out, s->after);
    }
}

static void section_bare(struct page *p, const struct section *s) {
    if (s->story != NULL) {
        diagram_print(p->out, s->story, p->ascii);
    } else if (s->after != NULL) {
        diagram_text(p->out, s->after);
    }
}

void page_section(struct page *p, const struct section *s) {
    p->sections++;
    if (p->json) {
        section_json(p, s);
        return;
    }
    if (p->sections > 1) {
        (void)fputc('\n', p->out);
    }
    if (p->bare) {
        section_bare(p, s);
    } else {
        section_text(p, s);
    }
}

void page_end(struct page *p) {
    if (p->json) {
        (void)fputs(p->sections > 0 ? "\n]\n" : "[]\n", p->out);
    }
}

void page_add(struct buf *text, const char *format, ...) {
    char piece[512];
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    must(length >= 0 && (size_t)length < sizeof piece);
    buf_bytes(text, span_of(piece, (size_t)length));
}

const char *page_text(struct buf *text) {
    *buf_reserve(text, 1) = '\0';
    return (const char *)text->ptr;
}

struct page_number page_number(unsigned long long value) {
    struct page_number n;
    char plain[24];
    const size_t digits = (size_t)snprintf(plain, sizeof plain, "%llu", value);
    size_t at = 0;
    for (size_t i = 0; i < digits; i++) {
        n.text[at++] = plain[i];
        if ((digits - i) % 3 == 1 && i + 1 < digits) {
            n.text[at++] = ',';
        }
    }
    n.text[at] = '\0';
    return n;
}
