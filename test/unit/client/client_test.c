/* The plain way of things, and each packet's barrier. */
#include "peer.h"

#define CONNECT_LINE                                                                                                   \
    "CONNECT 5.0 keep_alive=60 client=\"c\" {Session Expiry Interval: 4294967295, Receive Maximum: 1000, Maximum "     \
    "Packet Size: 4194304}"

static void a_publication_goes_out_and_is_acknowledged(void **state) {
    (void)state;
    struct peer p;
    peer_init(&p);
    peer_create(&p);
    assert_string_equal(peer_open(&p), CONNECT_LINE);
    broker_connack(&p, false, 0);
    assert_true(app_hears(&p, QUARTET_EVENT_CONNECTED).protocol == 5);
    uint64_t one = app_publishes(&p, 1, "one");
    client_says(&p, "PUBLISH qos=1 id=1 topic=\"t\" bytes=3");
    uint64_t two = app_publishes(&p, 2, "two");
    client_says(&p, "PUBLISH qos=2 id=2 topic=\"t\" bytes=3");
    assert_int_equal(app_publishes(&p, 0, "nought"), 0);
    client_says(&p, "PUBLISH qos=0 topic=\"t\" bytes=6");
    assert_int_equal(client_volatile_left(p.client), 1);
    assert_int_equal(client_oldest(p.client), one);
    broker_acks(&p, PACKET_PUBACK, 1, 0);
    assert_int_equal(client_oldest(p.client), two);
    assert_false(client_pending(p.client, one));
    assert_true(client_pending(p.client, two));
    assert_int_equal(app_hears(&p, QUARTET_EVENT_PUBLISHED).id, one);
    broker_acks(&p, PACKET_PUBREC, 2, 0);
    client_says(&p, "PUBREL id=2 reason=0x00");
    broker_acks(&p, PACKET_PUBCOMP, 2, 0);
    assert_int_equal(client_oldest(p.client), UINT64_MAX);
    assert_int_equal(app_hears(&p, QUARTET_EVENT_PUBLISHED).id, two);
    client_is_silent(&p);
    peer_deinit(&p);
}

static void messages_come_in_once_and_in_order(void **state) {
    (void)state;
    struct peer p;
    peer_init(&p);
    peer_create(&p);
    peer_connect(&p, false);
    app_subscribes(&p, "t", 2);
    client_says(&p, "SUBSCRIBE id=65535 \"t\":2");
    broker_subacks(&p, 65535, "\2", 1);
    broker_publishes(&p, 0, 0, false, "a");
    broker_publishes(&p, 1, 9, false, "b");
    broker_publishes(&p, 2, 10, false, "c");
    broker_publishes(&p, 0, 0, false, "d");
    client_says(&p, "PUBACK id=9 reason=0x00");
    client_says(&p, "PUBREC id=10 reason=0x00");
    (void)app_takes(&p, "a");
    uint64_t b = app_takes(&p, "b");
    uint64_t c = app_takes(&p, "c");
    (void)app_takes(&p, "d");
    app_takes_nothing(&p);
    assert_true(b > 0 && c > b);
    broker_acks(&p, PACKET_PUBREL, 10, 0);
    client_says(&p, "PUBCOMP id=10 reason=0x00");
    assert_true(client_done(p.client, c));
    assert_true(client_done(p.client, b));
    assert_false(client_done(p.client, b));
    peer_deinit(&p);
}

static void nothing_leaves_before_its_record_is_durable(void **state) {
    (void)state;
    struct peer p;
    peer_init(&p);
    peer_create(&p);
    peer_connect(&p, false);
    peer_hear(&p);
    p.disk_is_slow = true;
    uint64_t id = app_publishes(&p, 2, "x");
    assert_false(client_publish_stored(p.client, id)); /* B0 */
    client_is_silent(&p);                              /* B1 */
    peer_durable(&p);
    assert_true(client_publish_stored(p.client, id));
    client_says(&p, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    broker_acks(&p, PACKET_PUBREC, 1, 0);
    client_is_silent(&p); /* B3 */
    peer_durable(&p);
    client_says(&p, "PUBREL id=1 reason=0x00");
    broker_publishes(&p, 2, 5, false, "y");
    client_is_silent(&p); /* B2 */
    app_takes_nothing(&p);
    broker_publishes(&p, 2, 5, true, "y");
    client_is_silent(&p);
    peer_durable(&p);
    client_says(&p, "PUBREC id=5 reason=0x00");
    client_says(&p, "PUBREC id=5 reason=0x00");
    (void)app_takes(&p, "y");
    app_takes_nothing(&p);
    broker_acks(&p, PACKET_PUBREL, 5, 0);
    client_is_silent(&p); /* B4 */
    broker_acks(&p, PACKET_PUBREL, 5, 0);
    client_is_silent(&p);
    peer_durable(&p);
    client_says(&p, "PUBCOMP id=5 reason=0x00");
    client_says(&p, "PUBCOMP id=5 reason=0x92");
    peer_deinit(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_publication_goes_out_and_is_acknowledged),
        cmocka_unit_test(messages_come_in_once_and_in_order),
        cmocka_unit_test(nothing_leaves_before_its_record_is_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
