/* A store that a repair has made starts, whatever records it has lost. */
#include "../store/holes.h"

#include "broker/broker.h"
#include "broker/limits.h"

#define TOPIC(text) .parts = {.qos = 2, .topic = SPAN(text), .payload = SPAN("m")}

static const struct record_target first[] = {{1, 2, false}, {3, 1, false}};
static const struct record_target second[] = {{1, 1, false}, {16, 2, false}};
static const struct record_target third[] = {{24, 1, true}};

/* Two clients with all that a session can have; both sessions end, and begin again. */
static const struct record records[] = {
    {.kind = RECORD_SESSION, .session = {.client_id = SPAN("a"), .expiry_s = SESSION_NEVER_EXPIRES, .protocol = 5}},
    {.kind = RECORD_SUBSCRIBED, .subscribed = {1, SPAN("t/#"), 2, 0}},
    {.kind = RECORD_SESSION, .session = {.client_id = SPAN("b"), .expiry_s = 100, .protocol = 5}},
    {.kind = RECORD_SUBSCRIBED, .subscribed = {3, SPAN("t/+"), 1, 0}},
    {.kind = RECORD_WILL, .will = {.session_id = 1, TOPIC("t/will")}},
    {.kind = RECORD_MESSAGE,
     .message = {.origin = 3, .packet_id = 7, TOPIC("t/1"), .targets = first, .target_count = 2}},
    {.kind = RECORD_SENT, .sent = {1, 1, 6, 0}},
    {.kind = RECORD_RECEIVED, .flow = {1, 1}},
    {.kind = RECORD_SENT, .sent = {3, 1, 6, 1}},
    {.kind = RECORD_MESSAGE, .message = {.set_retained = true, TOPIC("r")}},
    {.kind = RECORD_MESSAGE, .message = {.set_retained = true, TOPIC("t/r"), .targets = first, .target_count = 1}},
    {.kind = RECORD_HELD, .flow = {1, 9}},
    {.kind = RECORD_DONE, .flow = {1, 1}},
    {.kind = RECORD_FREED, .flow = {3, 7}},
    {.kind = RECORD_SESSION_END, .end = {3}},
    {.kind = RECORD_SESSION, .session = {.client_id = SPAN("b"), .expiry_s = 100, .protocol = 4}},
    {.kind = RECORD_SUBSCRIBED, .subscribed = {16, SPAN("t/1"), 2, 0}},
    {.kind = RECORD_MESSAGE, .message = {TOPIC("t/1"), .targets = second, .target_count = 2}},
    {.kind = RECORD_DROPPED, .dropped = {1, 18, 0}},
    {.kind = RECORD_WILL_CLEARED, .end = {1}},
    {.kind = RECORD_WILL, .will = {.session_id = 16, TOPIC("t/will")}},
    {.kind = RECORD_UNSUBSCRIBED, .unsubscribed = {1, SPAN("t/#")}},
    {.kind = RECORD_SESSION_END, .end = {1}},
    {.kind = RECORD_SESSION, .session = {.client_id = SPAN("a"), .expiry_s = 100, .protocol = 5}},
    {.kind = RECORD_MESSAGE, .message = {.set_retained = true, .parts = {.topic = SPAN("r")}}},
    {.kind = RECORD_WILL, .will = {.session_id = 24, TOPIC("t/will")}},
    {.kind = RECORD_SESSION,
     .session = {.session_id = 24, .client_id = SPAN("a"), .expiry_s = 100, .disconnected_at = 1, .protocol = 5}},
    {.kind = RECORD_MESSAGE,
     .message = {.origin = 16, .clear_will = true, TOPIC("t/will"), .targets = third, .target_count = 1}},
    {.kind = RECORD_SENT, .sent = {24, 1, 28, 0}},
};

enum { RECORDS = sizeof records / sizeof records[0] };

static void reclaim_at_once(void *user, void *memory, void (*free_function)(void *memory)) {
    (void)user;
    free_function(memory);
}

static void always_the_same(void *user, void *out, size_t bytes) {
    (void)user;
    memset(out, 42, bytes);
}

/* The store's opening, and the broker's own load with two shards. */
static bool starts(struct holes *h, uint64_t *sessions) {
    struct broker_options options = broker_options_default();
    struct broker_outside outside = {.reclaim = reclaim_at_once, .random = always_the_same};
    *sessions = 0;
    if (!holes_open(h)) {
        holes_close(h);
        return false;
    }
    struct broker *broker = broker_create(&options, &outside, h->store, 2);
    bool loaded = broker_load(broker, 2, &h->error);
    *sessions = shard_counters(broker_shard(broker, 0)).sessions + shard_counters(broker_shard(broker, 1)).sessions;
    broker_destroy(broker);
    holes_close(h);
    return loaded;
}

static void whatever_is_lost_the_repaired_store_starts(void **state) {
    (void)state;
    static const size_t folds[] = {0, 8, 16, 26};
    for (size_t i = 0; i < sizeof folds / sizeof folds[0]; i++) {
        for (lsn_t one = folds[i] + 1; one <= RECORDS; one++) {
            for (lsn_t other = one; other <= RECORDS; other += folds[i] == 0 ? 1 + one % 3 : RECORDS) {
                struct holes h;
                uint64_t sessions;
                holes_make(&h, records, RECORDS, folds[i]);
                holes_repair(&h, one, other);
                if (!starts(&h, &sessions)) {
                    fail_msg("without %d and %d: %s", (int)one, (int)other, h.error.text);
                }
                assert_true(sessions <= 2);
                holes_deinit(&h);
            }
        }
    }
}

/* As the repairs of earlier versions left it: the start and the check both say so, and a repair makes it right. */
static void two_sessions_of_one_client_are_found(void **state) {
    (void)state;
    static const struct record twice[] = {
        {.kind = RECORD_SESSION, .session = {.client_id = SPAN("a"), .expiry_s = 100, .protocol = 5}},
        {.kind = RECORD_SUBSCRIBED, .subscribed = {1, SPAN("old"), 2, 0}},
        {.kind = RECORD_SESSION, .session = {.client_id = SPAN("a"), .expiry_s = 100, .protocol = 5}},
        {.kind = RECORD_SUBSCRIBED, .subscribed = {3, SPAN("new"), 2, 0}},
    };
    struct holes h;
    uint64_t sessions;
    holes_make(&h, twice, 4, 4);
    assert_false(starts(&h, &sessions));
    assert_int_equal(h.error.kind, ERROR_DAMAGED);
    assert_non_null(strstr(h.error.text, "two sessions"));
    assert_false(holes_tool(&h, store_local_check));
    assert_non_null(strstr((char *)h.said.ptr, "has a newer one: session session=1"));
    assert_true(holes_tool(&h, store_local_repair));
    assert_true(holes_tool(&h, store_local_check));
    assert_true(starts(&h, &sessions));
    assert_int_equal(sessions, 1);
    assert_true(holes_tool(&h, store_local_dump));
    assert_null(strstr((char *)h.said.ptr, "\"old\""));
    assert_non_null(strstr((char *)h.said.ptr, "\"new\""));
    holes_deinit(&h);
}

/* Rows without a checksum, and rows that strayed: nothing that the table holds is an assertion's business. Each row is
 * put beside itself under a changed key, or changed. */
static void change_row(struct holes *h, enum table_tree tree, int change) {
    struct table *table = table_memory_open(h->disk.table);
    struct table_txn *txn = table->ops->begin(table, true, &h->error);
    struct span key;
    struct span value;
    if (table->ops->seek(txn, tree, span_of(NULL, 0), &key, &value)) {
        uint8_t k[512];
        uint8_t v[512] = {0};
        size_t kn = key.len;
        size_t vn = value.len;
        memcpy(k, key.ptr, kn);
        memcpy(v, value.ptr, vn);
        bool in_key = change < 512;
        if (in_key && (size_t)change / 8 < kn) {
            k[change / 8] ^= (uint8_t)(1U << change % 8);
        } else if (in_key) {
            kn = kn > 1 ? kn - 1 : kn + 1;
        } else if ((size_t)(change - 512) / 8 < vn) {
            v[(change - 512) / 8] ^= (uint8_t)(1U << change % 8);
        } else {
            vn = vn > 1 ? vn - 1 : 0;
        }
        assert_true(table->ops->put(txn, tree, span_of(k, kn), span_of(v, vn), &h->error));
    }
    assert_true(table->ops->commit(txn, &h->error));
    table->ops->close(table);
}

static void a_changed_row_is_no_assertion(void **state) {
    (void)state;
    uint64_t refused = 0;
    for (int tree = TABLE_SESSIONS; tree < TABLE_TREES; tree++) {
        for (int change = 0; change < 1024; change += change < 160 || (change >= 512 && change < 680) ? 5 : 171) {
            struct holes h;
            uint64_t sessions;
            holes_make(&h, records, 22, 22);
            change_row(&h, (enum table_tree)tree, change);
            bool sound = holes_tool(&h, store_local_check);
            bool loads = starts(&h, &sessions);
            refused += !loads;
            if (sound && !loads) {
                fail_msg("tree %d, change %d: sound, but %s", tree, change, h.error.text);
            }
            if (!sound) {
                assert_true(holes_tool(&h, store_local_repair));
                assert_true(starts(&h, &sessions));
            }
            holes_deinit(&h);
        }
    }
    assert_true(refused > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_lost_the_repaired_store_starts),
        cmocka_unit_test(two_sessions_of_one_client_are_found),
        cmocka_unit_test(a_changed_row_is_no_assertion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
