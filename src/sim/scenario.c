#include "sim/scenario.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "sim/scenario_inside.h"

enum { LEFT_WIDTH = 46, LINE_WIDTH = 120 };

void scenario_wrong(struct scenario *s, const char *what, const char *expected, const char *seen) {
    if (s->wrong[0] == '\0') {
        (void)snprintf(s->wrong, sizeof s->wrong, "%.400s:%u: %.400s%s%.1600s%s%.1600s", s->file, s->left_line, what,
                       expected != NULL ? "\n    expected: " : "", expected != NULL ? expected : "",
                       seen != NULL ? "\n    seen:     " : "", seen != NULL ? seen : "");
    }
}

static void trim(char *text) {
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1])) {
        text[--len] = '\0';
    }
}

/* ---- one event ---- */

/* Things that were seen, separated by "; ", in lines that are not too long. */
static void rewrite_event(struct scenario *s, const char *seen) {
    const char *bar = strlen(s->left) < LEFT_WIDTH ? "|" : " |";
    size_t width = (size_t)fprintf(s->rewrite, "%-*s%s%s", LEFT_WIDTH, s->left, bar, seen[0] != '\0' ? " " : "");
    bool first = true;
    while (*seen != '\0') {
        const char *end = strstr(seen, "; ");
        const size_t len = end != NULL ? (size_t)(end - seen) : strlen(seen);
        if (!first && width + len + 2 > LINE_WIDTH) {
            width = (size_t)fprintf(s->rewrite, "\n%-*s| ", LEFT_WIDTH, "") - 1;
        } else {
            width += (size_t)fprintf(s->rewrite, "%s", first ? "" : "; ");
        }
        width += (size_t)fprintf(s->rewrite, "%.*s", (int)len, seen);
        first = false;
        seen += len + (end != NULL ? 2 : 0);
    }
    (void)fputc('\n', s->rewrite);
}

/* The event whose last line was read happens. */
static void event_finish(struct scenario *s) {
    char *seen = NULL;
    size_t seen_bytes = 0;
    if (s->left[0] == '\0') {
        return;
    }
    s->seen = open_memstream(&seen, &seen_bytes);
    must(s->seen != NULL);
    scenario_begin(s);
    if (!scenario_event(s, s->left)) {
        scenario_wrong(s, "this line is not understood", s->left, NULL);
    }
    scenario_settle(s);
    scenario_look(s);
    must(fclose(s->seen) == 0);
    if (strcmp(seen, s->expected) != 0) {
        scenario_wrong(s, s->left, s->expected[0] != '\0' ? s->expected : "nothing",
                       seen[0] != '\0' ? seen : "nothing");
    }
    if (s->rewrite != NULL) {
        rewrite_event(s, seen);
    }
    free(seen);
    s->left[0] = s->expected[0] = '\0';
}

static void expect(struct scenario *s, const char *right) {
    const size_t len = strlen(s->expected);
    (void)snprintf(s->expected + len, sizeof s->expected - len, "%s%s", len > 0 ? "; " : "",
                   right + strspn(right, " "));
}

/* A line with nothing on its left goes on with what is expected of the event above. */
static void event_line(struct scenario *s, char *line) {
    char *right = strchr(line, '|');
    if (right != NULL) {
        *right++ = '\0';
    }
    trim(line);
    if (line[0] != '\0') {
        event_finish(s);
        memcpy(s->left, line, strlen(line) + 1);
        s->left_line = s->line;
    }
    if (right != NULL) {
        expect(s, right);
    }
}

/* ---- all of them ---- */

static void scenario_finish(struct scenario *s, FILE *out, struct scenario_counts *counts) {
    event_finish(s);
    if (s->title[0] == '\0') {
        return;
    }
    if (s->at.how != 0) {
        scenario_wrong(s, "the packet at which a connection was to break has not come", NULL, NULL);
    }
    if (s->world != NULL && s->world->failed) {
        scenario_wrong(s, s->world->failure, NULL, NULL);
    }
    if (s->wrong[0] != '\0') {
        counts->failed++;
        if (out != NULL) {
            (void)fprintf(out, "FAILED %s\n  %s\n", s->title, s->wrong);
        }
    } else {
        counts->passed++;
    }
    scenario_end(s);
}

/* A line about the whole scenario; false when it is none. */
static bool setting_line(struct scenario *s, const char *line) {
    struct {
        const char *name;
        unsigned min, max;
        unsigned *to;
    } const numbers[] = {
        {"shards ", 1, SIM_SHARDS_MAX, &s->shards},
        {"ids ", 2, UINT16_MAX, &s->ids},
        {"queue ", 1, UINT16_MAX, &s->queue},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const size_t len = strlen(numbers[i].name);
        const unsigned long number = strncmp(line, numbers[i].name, len) == 0 ? strtoul(line + len, NULL, 10) : 0;
        if (number >= numbers[i].min && number <= numbers[i].max && s->world == NULL) {
            *numbers[i].to = (unsigned)number;
            return true;
        }
    }
    bool *flag = strcmp(line, "no broker") == 0       ? &s->no_broker
                 : strcmp(line, "queue refuses") == 0 ? &s->refuses
                                                      : NULL;
    if (flag == NULL || s->world != NULL) {
        return false;
    }
    *flag = true;
    return true;
}

static void scenario_line(struct scenario *s, char *line, FILE *out, struct scenario_counts *counts) {
    trim(line);
    const bool is_title = strncmp(line, "== ", 3) == 0;
    const bool is_setting = setting_line(s, line);
    if (!is_title && !is_setting && line[0] != '#' && line[0] != '\0') {
        event_line(s, line);
        return;
    }
    event_finish(s);
    if (is_title) {
        scenario_finish(s, out, counts);
        memcpy(s->title, line + 3, strlen(line + 3) + 1);
    }
    if (s->rewrite != NULL) {
        (void)fprintf(s->rewrite, "%s\n", line);
    }
}

void scenario_run(const char *name, const char *text, struct plan_variant mutants, FILE *out, FILE *rewrite,
                  struct scenario_counts *counts) {
    struct scenario *s = mem_zero(1, sizeof *s);
    s->file = name;
    s->mutants = mutants;
    s->shards = 1;
    s->ids = UINT16_MAX;
    s->rewrite = rewrite;
    while (*text != '\0') {
        char line[SCENARIO_LINE_BYTES];
        size_t len = strcspn(text, "\n");
        size_t kept = len < SCENARIO_LINE_BYTES - 1 ? len : SCENARIO_LINE_BYTES - 1;
        memcpy(line, text, kept);
        line[kept] = '\0';
        s->line++;
        scenario_line(s, line, out, counts);
        text += len + (text[len] == '\n');
    }
    scenario_finish(s, out, counts);
    mem_free(s);
}

static char *file_read(const char *path) {
    FILE *in = fopen(path, "r");
    char *text = NULL;
    size_t bytes = 0;
    if (in == NULL) {
        return NULL;
    }
    FILE *copy = open_memstream(&text, &bytes);
    must(copy != NULL);
    for (int byte; (byte = fgetc(in)) != EOF;) {
        (void)fputc(byte, copy);
    }
    must(fclose(copy) == 0);
    (void)fclose(in);
    return text;
}

bool scenario_file(const char *path, struct plan_variant mutants, FILE *out, bool rewrite,
                   struct scenario_counts *counts) {
    char *text = file_read(path);
    if (text == NULL) {
        return false;
    }
    FILE *to = rewrite ? fopen(path, "w") : NULL;
    bool ok = !rewrite || to != NULL;
    if (ok) {
        scenario_run(path, text, mutants, out, to, counts);
    }
    ok = (to == NULL || fclose(to) == 0) && ok;
    free(text);
    return ok;
}
