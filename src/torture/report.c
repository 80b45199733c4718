#include "torture/report.h"

#include <stdlib.h>

/* The columns as words for programs. */
static const char *const keys[] = {"lost", "duplicated", "out_of_order", "stuck", "forgotten", "violations"};

void torture_catalogue(FILE *out, const char *only) {
    struct fault_table table;
    fault_table_init(&table, only);
    for (size_t i = 0; i < table.count; i++) {
        char name[64];
        char text[80];
        const struct fault_row *row = &table.rows[i];
        (void)fprintf(out, "%-34s %-12s %-18s %s\n", fault_name(row, name, sizeof(name)), fault_point_text(row),
                      fault_hop_text(row), fault_text(row, text, sizeof(text)));
    }
}

static bool row_clean(const struct row_stats *s) {
    uint64_t sum = 0;
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        sum += s->counts[column];
    }
    return sum == 0;
}

/* ---- for people ---- */

static const char *const heads[] = {"lost", "dupl.", "order", "stuck", "forgot.", "violat."};

/* Rows that differ in what happens to the connection alone are one line when nothing was found in any of them. */
static bool joins(const struct row_stats *a, const struct row_stats *b) {
    return row_clean(a) && row_clean(b) && a->missed == 0 && b->missed == 0 && a->row.family == b->row.family &&
           a->row.hop == b->row.hop && a->row.point == b->row.point && a->row.loss == b->row.loss && a->row.point != 0;
}

static void print_row(FILE *out, const struct row_stats *s, const char *kinds, uint64_t runs) {
    char text[160];
    (void)fault_text(&s->row, text, sizeof(text));
    (void)fprintf(out, "%-12s %-18s %-46s %7llu", fault_point_text(&s->row), fault_hop_text(&s->row),
                  kinds != NULL ? kinds : text, (unsigned long long)runs);
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        (void)fprintf(out, " %7llu", (unsigned long long)s->counts[column]);
    }
    (void)fputs(s->missed > 0 ? "   not reached: " : "\n", out);
    if (s->missed > 0) {
        (void)fprintf(out, "%llu\n", (unsigned long long)s->missed);
    }
}

static void print_table(FILE *out, const struct torture *t) {
    (void)fprintf(out, "%-12s %-18s %-46s %7s", "break point", "hop", "fault", "runs");
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        (void)fprintf(out, " %7s", heads[column]);
    }
    (void)fputs("\n", out);
    for (size_t i = 0; i < t->stats_count; i++) {
        const struct row_stats *s = &t->stats[i];
        uint64_t runs = s->runs;
        char text[160];
        size_t joined = 0;
        if (s->runs + s->missed == 0) {
            continue;
        }
        (void)fault_text(&s->row, text, sizeof(text));
        while (i + 1 < t->stats_count && joins(s, &t->stats[i + 1]) && t->stats[i + 1].runs > 0) {
            size_t length = strlen(text);
            i++;
            joined++;
            runs += t->stats[i].runs;
            (void)snprintf(text + length, sizeof(text) - length, ", %s", fault_kind_text(t->stats[i].row.kind));
        }
        print_row(out, s, joined > 0 ? text : NULL, runs);
    }
}

static int by_length(const void *a, const void *b) {
    const struct story *one = a;
    const struct story *two = b;
    if (one->lines != two->lines) {
        return one->lines > two->lines ? 1 : -1;
    }
    return one->row != two->row
               ? (one->row > two->row ? 1 : -1)
               : (one->finding.column > two->finding.column) - (one->finding.column < two->finding.column);
}

static void print_story(FILE *out, const struct torture *t, const struct story *s) {
    char name[64];
    const struct judge_finding *f = &s->finding;
    (void)fprintf(out, "\n%s", judge_column_text(f->column));
    if (f->message != WIRE_NO_MESSAGE) {
        (void)fprintf(out, ": message %u", (unsigned)f->message);
    }
    if (f->other != WIRE_NO_MESSAGE) {
        (void)fprintf(out, " (because of message %u)", (unsigned)f->other);
    }
    (void)fprintf(out, ": %s", f->text);
    if (f->statement != NULL) {
        (void)fprintf(out, " [%s]", f->statement);
    }
    (void)fprintf(out, "\n    MQTT %s, run %llu, fault %s\n", s->protocol == PROTOCOL_5 ? "5.0" : "3.1.1",
                  (unsigned long long)s->run, fault_name(&t->stats[s->row].row, name, sizeof(name)));
    if (s->places.len > 0) {
        (void)fprintf(out, "    all messages: %.*s", (int)s->places.len, (const char *)s->places.ptr);
        if (s->places_left_out > 0) {
            (void)fprintf(out, " and %llu more", (unsigned long long)s->places_left_out);
        }
        (void)fputs("\n", out);
    }
    (void)fwrite(s->text.ptr, 1, s->text.len, out);
}

/* The line that scripts read. */
static void print_summary(FILE *out, const struct torture *t) {
    (void)fprintf(out,
                  "summary: torture_runs=%llu torture_messages=%llu torture_cuts=%llu sigkills=%llu power_cuts=%llu",
                  (unsigned long long)t->runs, (unsigned long long)t->messages, (unsigned long long)t->cuts,
                  (unsigned long long)t->kills, (unsigned long long)t->power_cuts);
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        (void)fprintf(out, " %s=%llu", keys[column], (unsigned long long)torture_count(t, (enum judge_column)column));
    }
    (void)fputs("\n", out);
}

static void print_people(FILE *out, const struct torture *t) {
    bool shown[JUDGE_COLUMNS] = {false};
    print_table(out, t);
    if (t->story_count > 0) {
        (void)fprintf(out, "\nWhat led there, the shortest first%s\n",
                      t->options->trace ? "" : "; one of each column, --trace prints more");
    }
    for (size_t i = 0; i < t->story_count; i++) {
        if (t->options->trace || !shown[t->stories[i].finding.column]) {
            print_story(out, t, &t->stories[i]);
        }
        shown[t->stories[i].finding.column] = true;
    }
    (void)fprintf(out, "\n%s: %llu messages, %llu deliveries, %llu runs, %llu cuts, %llu SIGKILLs, %llu power cuts",
                  t->failed          ? "UNFINISHED"
                  : torture_clean(t) ? "clean"
                                     : "BROKEN",
                  (unsigned long long)t->messages, (unsigned long long)t->deliveries, (unsigned long long)t->runs,
                  (unsigned long long)t->cuts, (unsigned long long)t->kills, (unsigned long long)t->power_cuts);
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        (void)fprintf(out, ", %llu %s", (unsigned long long)torture_count(t, (enum judge_column)column),
                      judge_column_text((enum judge_column)column));
    }
    (void)fprintf(out, "; %.1f s, seed %llu\n", (double)(clock_ns() - t->started_ns) / 1e9,
                  (unsigned long long)t->options->seed);
    print_summary(out, t);
}

/* ---- JSON ---- */

static void json_char(FILE *out, uint8_t c) {
    if (c == '"' || c == '\\') {
        (void)fprintf(out, "\\%c", c);
    } else if (c < 0x20 || c >= 0x7F) {
        (void)fprintf(out, "\\u%04x", c);
    } else {
        (void)fputc(c, out);
    }
}

/* The lines of a text as strings. */
static void json_lines(FILE *out, struct span text) {
    const char *separator = "\"";
    for (size_t i = 0; i < text.len; i++) {
        (void)fputs(separator, out);
        separator = "";
        if (text.ptr[i] == '\n') {
            separator = i + 1 < text.len ? "\", \"" : "";
        } else {
            json_char(out, text.ptr[i]);
        }
    }
    (void)fputs(text.len > 0 ? "\"" : "", out);
}

static void json_rows(FILE *out, const struct torture *t) {
    const char *separator = "";
    for (size_t i = 0; i < t->stats_count; i++) {
        const struct row_stats *s = &t->stats[i];
        char name[64];
        char text[160];
        if (s->runs + s->missed == 0) {
            continue;
        }
        (void)fprintf(
            out,
            "%s\n    {\"name\": \"%s\", \"break_point\": \"%s\", \"hop\": \"%s\", \"fault\": \"%s\", \"runs\": "
            "%llu, \"not_reached\": %llu",
            separator, fault_name(&s->row, name, sizeof(name)), fault_point_text(&s->row), fault_hop_text(&s->row),
            fault_text(&s->row, text, sizeof(text)), (unsigned long long)s->runs, (unsigned long long)s->missed);
        for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
            (void)fprintf(out, ", \"%s\": %llu", keys[column], (unsigned long long)s->counts[column]);
        }
        (void)fputs("}", out);
        separator = ",";
    }
}

static void json_stories(FILE *out, const struct torture *t) {
    for (size_t i = 0; i < t->story_count; i++) {
        const struct story *s = &t->stories[i];
        char name[64];
        (void)fprintf(out, "%s\n    {\"fault\": \"%s\", \"run\": %llu, \"kind\": \"%s\", \"what\": \"%s\"",
                      i > 0 ? "," : "", fault_name(&t->stats[s->row].row, name, sizeof(name)),
                      (unsigned long long)s->run, keys[s->finding.column], s->finding.text);
        if (s->finding.message != WIRE_NO_MESSAGE) {
            (void)fprintf(out, ", \"message\": %u", (unsigned)s->finding.message);
        }
        if (s->finding.statement != NULL) {
            (void)fprintf(out, ", \"statement\": \"%s\"", s->finding.statement);
        }
        (void)fprintf(out, ", \"places\": \"%.*s\", \"wire\": [", (int)s->places.len,
                      s->places.len > 0 ? (const char *)s->places.ptr : "");
        json_lines(out, buf_span(&s->text));
        (void)fputs("]}", out);
    }
}

static void print_json(FILE *out, const struct torture *t) {
    (void)fprintf(out,
                  "{\n  \"clean\": %s, \"finished\": %s, \"seed\": %llu, \"messages\": %llu, \"deliveries\": %llu, "
                  "\"runs\": %llu, \"cuts\": %llu, \"kills\": %llu, \"power_cuts\": %llu, \"seconds\": %.3f",
                  torture_clean(t) && !t->failed ? "true" : "false", t->failed ? "false" : "true",
                  (unsigned long long)t->options->seed, (unsigned long long)t->messages,
                  (unsigned long long)t->deliveries, (unsigned long long)t->runs, (unsigned long long)t->cuts,
                  (unsigned long long)t->kills, (unsigned long long)t->power_cuts,
                  (double)(clock_ns() - t->started_ns) / 1e9);
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        (void)fprintf(out, ", \"%s\": %llu", keys[column],
                      (unsigned long long)torture_count(t, (enum judge_column)column));
    }
    if (t->failed) {
        (void)fputs(",\n  \"failure\": ", out);
        json_lines(out, span_str(t->failure));
    }
    (void)fputs(",\n  \"rows\": [", out);
    json_rows(out, t);
    (void)fputs("],\n  \"traces\": [", out);
    json_stories(out, t);
    (void)fputs("]\n}\n", out);
}

void torture_report(FILE *out, struct torture *t) {
    qsort(t->stories, t->story_count, sizeof(t->stories[0]), by_length);
    if (t->options->json) {
        print_json(out, t);
    } else {
        print_people(out, t);
    }
}
