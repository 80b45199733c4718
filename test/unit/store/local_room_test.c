/* Room is made in a store that no broker has open: sessions end, retained messages are cleared. */
#include "holes.h"

#define BODY(name) .parts = {.topic = SPAN(name), .payload = SPAN("m")}

static const struct record_target both[] = {{1, 1, false}, {2, 2, false}};
static const struct record records[] = {
    {.kind = RECORD_SESSION, .session = {.client_id = SPAN("small"), .expiry_s = 100}},
    {.kind = RECORD_SESSION, .session = {.client_id = SPAN("large"), .expiry_s = 100}},
    {.kind = RECORD_SUBSCRIBED, .subscribed = {2, SPAN("#"), 2, 0}},
    {.kind = RECORD_MESSAGE, .message = {BODY("a"), .targets = both, .target_count = 2}},
    {.kind = RECORD_MESSAGE, .message = {BODY("b"), .targets = both + 1, .target_count = 1}},
    {.kind = RECORD_MESSAGE, .message = {.set_retained = true, BODY("r/1")}},
    {.kind = RECORD_MESSAGE, .message = {.set_retained = true, BODY("r/2")}},
    {.kind = RECORD_MESSAGE, .message = {.set_retained = true, BODY("s")}},
};

enum { RECORDS = sizeof records / sizeof records[0] };

static bool matches(void *user, struct span topic) {
    struct span begins = span_str(user);
    return topic.len >= begins.len && memcmp(topic.ptr, begins.ptr, begins.len) == 0;
}

static const char *client; /* for end() */

static bool end(const struct disk *disk, struct table *table, struct buf *out, struct error *error) {
    return store_local_end_session(disk, table, span_str(client), out, error);
}

static bool clear(const struct disk *disk, struct table *table, struct buf *out, struct error *error) {
    return store_local_clear_retained(disk, table, matches, (void *)(uintptr_t) "r/", out, error);
}

static const char *said(const struct holes *h, const char *what) {
    return strstr((const char *)h->said.ptr, what);
}

static void room_is_made(size_t folded, uint64_t full) {
    struct holes h;
    holes_make(&h, records, RECORDS, folded);
    h.disk.full = full != 0;
    h.disk.table_room = true;
    assert_true(holes_tool(&h, store_local_list));
    assert_non_null(said(&h, "large"));
    assert_true(said(&h, "large") < said(&h, "small")); /* by what waits */
    assert_non_null(said(&h, "2 sessions; 3 retained messages"));
    client = "nobody";
    assert_false(holes_tool(&h, end));
    assert_int_equal(h.error.kind, ERROR_INVALID);
    client = "large";
    assert_true(holes_tool(&h, end));
    assert_non_null(said(&h, "ended: 2 messages"));
    assert_false(holes_tool(&h, end));
    assert_true(holes_tool(&h, clear));
    assert_non_null(said(&h, "cleared: 2 of 3"));
    assert_true(holes_tool(&h, store_local_check));
    assert_true(holes_tool(&h, store_local_dump));
    assert_null(said(&h, "\"large\""));
    assert_null(said(&h, "r/1"));
    assert_null(said(&h, "topic=\"b\"")); /* its only receiver is gone */
    assert_non_null(said(&h, "\"small\""));
    assert_non_null(said(&h, "topic=\"a\""));
    assert_non_null(said(&h, "topic=\"s\""));
    holes_deinit(&h);
}

static void sessions_end_and_retained_messages_go(void **state) {
    (void)state;
    for (size_t folded = 0; folded <= RECORDS; folded += 4) {
        room_is_made(folded, 0);
        room_is_made(folded, 1); /* also on a disk that is full */
    }
}

/* A crash on the way leaves the session whole or gone. */
static void a_crash_at_every_call(void **state) {
    (void)state;
    bool done = false;
    for (uint64_t at = 1; !done; at++) {
        struct holes h;
        holes_make(&h, records, RECORDS, 0);
        h.disk.fault = FAULT_CRASH;
        h.disk.fault_at = h.disk.calls + at;
        client = "large";
        done = holes_tool(&h, end);
        fault_disk_restart(&h.disk, true);
        assert_true(holes_tool(&h, store_local_check));
        assert_true(holes_tool(&h, store_local_list));
        assert_true(said(&h, "2 sessions") != NULL || said(&h, "1 sessions") != NULL);
        assert_true(!done || said(&h, "1 sessions") != NULL);
        holes_deinit(&h);
    }
}

/* A crash has left a file that was not made to its end: it says nothing about how long the others are. */
static void a_file_that_was_being_made_bounds_nothing(void **state) {
    (void)state;
    enum { LONG = 60000 };
    static char topic[LONG];
    memset(topic, 't', LONG);
    memcpy(topic, "r/", 2);
    const struct record long_one[] = {
        {.kind = RECORD_MESSAGE,
         .message = {.set_retained = true, .parts = {.topic = span_of(topic, LONG), .payload = SPAN("m")}}}};
    for (uint64_t bytes = 0; bytes < 1 << 18; bytes += 5000) {
        struct holes h;
        holes_make(&h, long_one, 1, 0);
        struct disk_file *next = fault_open(&h.disk, "journal-0001", true, &h.error);
        assert_non_null(next);
        next->now_bytes = 0;
        fault_extend(&next->now, &next->now_bytes, BLOCK_BYTES + bytes);
        if (!holes_tool(&h, clear)) {
            print_error("%d bytes: %s\n", (int)bytes, h.error.text);
            fail();
        }
        assert_non_null(said(&h, "cleared: 1 of 1"));
        holes_deinit(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_end_and_retained_messages_go),
        cmocka_unit_test(a_crash_at_every_call),
        cmocka_unit_test(a_file_that_was_being_made_bounds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
