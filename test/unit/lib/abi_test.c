/* What programs were compiled with: structs that others contain keep their size, and what is added to the others lies
 * behind all that was there, their last bytes of padding included. A change here breaks programs: it needs a new
 * soname.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/lib.h"
#include <quartet/core.h>

static void structs_inside_of_others_keep_their_size(void **state) {
    (void)state;
#if UINTPTR_MAX == UINT64_MAX
    assert_int_equal(sizeof(struct quartet_properties), 80);
    assert_int_equal(sizeof(struct quartet_will), 120);
    assert_int_equal(sizeof(struct quartet_position), 24);
    assert_int_equal(sizeof(struct quartet_user_property), 16);
    assert_int_equal(sizeof(struct quartet_core_bytes), 16);
#endif
}

static void what_is_added_lies_behind(void **state) {
    (void)state;
#if UINTPTR_MAX == UINT64_MAX
    assert_int_equal(offsetof(struct quartet_options, will), 64);
    assert_int_equal(offsetof(struct quartet_options, store), 184);
    assert_int_equal(offsetof(struct quartet_options, store_timeout_ms), 284);
    assert_int_equal(offsetof(struct quartet_publication, properties), 48);
    assert_int_equal(offsetof(struct quartet_subscription, identifier), 20);
    assert_int_equal(offsetof(struct quartet_status, repeated), 80);
    assert_int_equal(offsetof(struct quartet_event, client_id), 64);
    assert_int_equal(offsetof(struct quartet_message, properties), 64);
#endif
}

/* A program of before knows fewer fields; one of after sets none that we do not know, or is refused. */
static void other_sizes_are_understood(void **state) {
    (void)state;
    struct {
        struct quartet_options known;
        uint64_t later;
    } newer = {.known = {.servers = "mqtt://127.0.0.1:1", .client_id = "abi"}};
    struct quartet *client;
    assert_int_equal(quartet_open_sized(&client, &newer.known, sizeof newer), QUARTET_OK);
    quartet_close(client);
    assert_int_equal(quartet_open_sized(&client, &newer.known, offsetof(struct quartet_options, store)), QUARTET_OK);
    struct quartet_publication p = {.topic = "n", .qos = 1};
    uint64_t id = 0;
    assert_int_equal(quartet_publish_sized(client, &p, offsetof(struct quartet_publication, sequence), &id),
                     QUARTET_OK);
    assert_true(id != 0);
    quartet_close(client);
    newer.later = 1;
    assert_int_equal(quartet_open_sized(&client, &newer.known, sizeof newer), QUARTET_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structs_inside_of_others_keep_their_size),
        cmocka_unit_test(what_is_added_lies_behind),
        cmocka_unit_test(other_sizes_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
