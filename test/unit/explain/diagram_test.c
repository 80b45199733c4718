/* Diagrams: arrows, what is lost, notes that are longer than their columns, three actors, JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "explain/diagram.h"

static void expect(const struct story *s, void (*print)(FILE *out, const struct story *s), const char *expected) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    print(out, s);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void print_ascii(FILE *out, const struct story *s) {
    diagram_print(out, s, true);
}

static void print_utf8(FILE *out, const struct story *s) {
    diagram_print(out, s, false);
}

static void two_actors_stand_between_their_notes(void **state) {
    (void)state;
    struct story s = {.actors = {"left", "right"}, .actor_count = 2};
    struct story_event *e = story_add(&s, STORY_PACKET, 0, 1, "HELLO %d", 1);
    story_note(e, 0, "says it");
    story_note(e, 1, "hears it, and writes down more than fits into one line");
    story_note(e, 1, "again");
    (void)story_add(&s, STORY_LOST, 1, 0, "BYE");
    (void)story_add(&s, STORY_LINE, 0, 1, "cut");
    (void)story_add(&s, STORY_CRASH, 1, 1, "crash");
    expect(&s, print_ascii,
           "                               left                              right\n"
           "                          says it |-- HELLO 1 ------------------>| hears it, and writes down more\n"
           "                                  |                              | than fits into one line\n"
           "                                  |                              | again\n"
           "                                  |           X----------- BYE --|\n"
           "                                  |............ cut .............|\n"
           "                                  |                              X\n");
    story_deinit(&s);
}

static void three_actors_share_the_notes_at_the_right(void **state) {
    (void)state;
    struct story s = {.actors = {"a", "b", "c"}, .actor_count = 3};
    struct story_event *e = story_add(&s, STORY_PACKET, 2, 1, "X");
    story_note(e, 1, "one");
    story_note(e, 2, "two");
    expect(&s, print_utf8,
           "     a                      b                      c\n"
           "     │                      │<──────────────── X ──│  b: one\n"
           "     │                      │                      │  c: two\n");
    story_deinit(&s);
}

static void json_holds_the_same(void **state) {
    (void)state;
    struct story s = {.actors = {"a", "b"}, .actor_count = 2};
    struct story_event *e = story_add(&s, STORY_LOST, 0, 1, "X");
    story_note(e, 0, "\"1\"");
    story_note(e, 0, "2");
    expect(&s, diagram_json,
           "{\"actors\": [\"a\", \"b\"], \"events\": [{\"kind\": \"packet-lost\", \"from\": \"a\", \"to\": \"b\", "
           "\"what\": \"X\", \"notes\": {\"a\": \"\\\"1\\\"\\n2\"}}]}");
    story_deinit(&s);
}

static void nothing_is_wider_than_it_may_be(void **state) {
    (void)state;
    struct story s = {.actors = {"publisher", "server", "subscriber"}, .actor_count = 3};
    struct story_event *e = story_add(&s, STORY_PACKET, 0, 1, "PUBLISH");
    char word[STORY_NOTE_BYTES - 1];
    memset(word, 'w', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    story_note(e, 1, "%s", word);
    for (unsigned actors = 2; actors <= 3; actors++) {
        char *text = NULL;
        size_t bytes = 0;
        FILE *out = open_memstream(&text, &bytes);
        s.actor_count = actors;
        diagram_print(out, &s, true);
        assert_int_equal(fclose(out), 0);
        for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1) {
            assert_in_range(strcspn(line, "\n"), 1, DIAGRAM_COLUMNS);
        }
        free(text);
    }
    story_deinit(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_actors_stand_between_their_notes),
        cmocka_unit_test(three_actors_share_the_notes_at_the_right),
        cmocka_unit_test(json_holds_the_same),
        cmocka_unit_test(nothing_is_wider_than_it_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
