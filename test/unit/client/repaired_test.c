/* A client's store that a repair has made opens, whatever records it has lost. */
#include "../store/holes.h"
#include "peer.h"

#define BODY .parts = {.qos = 2, .topic = SPAN("t"), .payload = SPAN("m")}

static const struct record_target out[] = {{1, 2, false}};
static const struct record_target in[] = {{2, 2, false}};

/* A client that has published and received. */
static const struct record records[] = {
    {.kind = RECORD_SESSION, .session = {.client_id = SPAN("out:c"), .expiry_s = SESSION_NEVER_EXPIRES}},
    {.kind = RECORD_SESSION, .session = {.client_id = SPAN("in:c"), .expiry_s = SESSION_NEVER_EXPIRES}},
    {.kind = RECORD_SESSION, .session = {.session_id = 1, .client_id = SPAN("out:c"), .expiry_s = 9, .protocol = 5}},
    {.kind = RECORD_SESSION, .session = {.session_id = 2, .client_id = SPAN("in:c"), .expiry_s = 9, .protocol = 5}},
    {.kind = RECORD_SUBSCRIBED, .subscribed = {2, SPAN("t"), 2, 0}},
    {.kind = RECORD_MESSAGE, .message = {.origin = 1, .sequence = 1, BODY, .targets = out, .target_count = 1}},
    {.kind = RECORD_SENT, .sent = {1, 1, 6, 0}},
    {.kind = RECORD_MESSAGE, .message = {.origin = 1, .sequence = 2, BODY, .targets = out, .target_count = 1}},
    {.kind = RECORD_RECEIVED, .flow = {1, 1}},
    {.kind = RECORD_MESSAGE, .message = {.origin = 2, .packet_id = 4, BODY, .targets = in, .target_count = 1}},
    {.kind = RECORD_DONE, .flow = {1, 1}},
    {.kind = RECORD_SENT, .sent = {1, 1, 8, 0}},
    {.kind = RECORD_DROPPED, .dropped = {2, 10, 0}},
    {.kind = RECORD_FREED, .flow = {2, 4}},
    {.kind = RECORD_MESSAGE, .message = {.origin = 2, .packet_id = 4, BODY, .targets = in, .target_count = 1}},
    {.kind = RECORD_UNSUBSCRIBED, .unsubscribed = {2, SPAN("t")}},
    {.kind = RECORD_MESSAGE, .message = {.origin = 1, .sequence = 3, BODY, .targets = out, .target_count = 1}},
};

enum { RECORDS = sizeof records / sizeof records[0] };

static void whatever_is_lost_the_repaired_store_opens(void **state) {
    (void)state;
    for (lsn_t one = 1; one <= RECORDS; one++) {
        for (lsn_t other = one; other <= RECORDS; other++) {
            struct holes h;
            struct peer p;
            holes_make(&h, records, RECORDS, 0);
            holes_repair(&h, one, other);
            assert_true(holes_open(&h));
            peer_prepare(&p);
            p.store = h.store;
            peer_create(&p);
            client_destroy(p.client);
            holes_close(&h);
            holes_deinit(&h);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_lost_the_repaired_store_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
