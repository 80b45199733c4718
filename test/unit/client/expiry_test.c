/* A session that expires: when the client takes "session present" for the session that it knows. */
#include "peer.h"

static const char begins_anew[] = "CONNECT 5.0 clean";
static const char goes_on[] = "CONNECT 5.0 keep_alive";

static void client_connects(const char *how) {
    const char *line = peer_open(peer);
    if (strncmp(line, how, strlen(how)) != 0) {
        fail_msg("\"%s\" instead of \"%s\"", line, how);
    }
}

/* A session with this expiry exists; id 9 is held; and the connection has ended. */
static void session_with_held_id(uint32_t expiry_s) {
    peer->options.session_expiry_s = expiry_s;
    peer_create(peer);
    peer_connect(peer, false);
    broker_publishes(peer, 2, 9, false, "old");
    client_says(peer, "PUBREC id=9 reason=0x00");
    (void)app_takes(peer, "old");
    peer_cut(peer);
}

/* It connects, and nobody hears the answer. */
static void connack_is_lost(void) {
    client_connects(goes_on);
    peer_cut(peer);
}

static void a_session_that_was_replaced_unseen_is_begun_anew(void **state) {
    (void)state;
    session_with_held_id(100);
    peer_advance(peer, 100000);
    connack_is_lost();
    client_connects(begins_anew);
    peer_cut(peer);
    client_connects(begins_anew); /* until it is answered */
    broker_connack(peer, false, 0);
    broker_publishes(peer, 2, 9, false, "new");
    client_says(peer, "PUBREC id=9 reason=0x00");
    (void)app_takes(peer, "new");
    peer_cut(peer);
    client_connects(goes_on);
    broker_connack(peer, true, 0);
    broker_publishes(peer, 2, 9, true, "new");
    client_says(peer, "PUBREC id=9 reason=0x00");
    app_takes_nothing(peer);
}

static void a_session_that_cannot_have_expired_goes_on(void **state) {
    (void)state;
    session_with_held_id(100);
    peer_advance(peer, 90000);
    connack_is_lost();
    client_connects(goes_on);
    broker_connack(peer, true, 0);
    broker_publishes(peer, 2, 9, true, "old");
    client_says(peer, "PUBREC id=9 reason=0x00");
    app_takes_nothing(peer);
}

static void an_answer_that_is_heard_needs_no_new_beginning(void **state) {
    (void)state;
    session_with_held_id(100);
    peer_advance(peer, 1000000);
    client_connects(goes_on);
    broker_connack(peer, true, 0);
    peer_cut(peer);
    client_connects(goes_on);
}

static void a_session_that_never_expires_goes_on(void **state) {
    (void)state;
    session_with_held_id(0);
    peer_advance(peer, 10LL * 365 * 86400 * 1000);
    connack_is_lost();
    client_connects(goes_on);
}

static void the_broker_may_choose_the_expiry(void **state) {
    (void)state;
    peer->connack.present = PROPERTY_SESSION_EXPIRY_INTERVAL;
    peer->connack.session_expiry_interval_s = 50;
    session_with_held_id(0);
    peer_advance(peer, 50000);
    connack_is_lost();
    client_connects(begins_anew);
}

static void a_clock_that_was_put_back_proves_nothing(void **state) {
    (void)state;
    session_with_held_id(100);
    peer->wall -= 5000;
    connack_is_lost();
    client_connects(begins_anew);
}

/* The first CONNECT may have made a new session; what the clock says later changes nothing. */
static void a_clock_that_is_put_right_takes_nothing_back(void **state) {
    (void)state;
    session_with_held_id(100);
    peer->wall += 1000000;
    connack_is_lost();
    peer->wall -= 990000;
    client_connects(begins_anew);
}

static void a_refusal_leaves_the_session_alone(void **state) {
    (void)state;
    session_with_held_id(100);
    peer_advance(peer, 100000);
    client_connects(goes_on);
    broker_connack(peer, false, REASON_SERVER_BUSY);
    peer_cut(peer);
    client_connects(goes_on);
}

static void pings_tell_how_long_the_broker_had_the_connection(void **state) {
    (void)state;
    peer->options.session_expiry_s = 100;
    peer->options.keep_alive_s = 1000;
    peer_create(peer);
    peer_connect(peer, false);
    for (int i = 0; i < 10; i++) {
        peer_advance(peer, client_deadline(peer->client) - peer->now);
        client_says(peer, "PINGREQ");
        client_received(peer->client, SPAN("\xd0\x00"));
    }
    assert_int_equal(peer->wall, 1700000000000 + 10 * 25000); /* a quarter of the expiry each */
    peer_cut(peer);
    peer_advance(peer, 90000);
    connack_is_lost();
    client_connects(goes_on);
    peer_cut(peer);
    peer_advance(peer, 10000);
    client_connects(begins_anew);
}

static void traffic_does_not_replace_the_pings(void **state) {
    (void)state;
    peer->options.session_expiry_s = 100;
    peer_create(peer);
    peer_connect(peer, false);
    for (int i = 0; i < 24; i++) {
        peer_advance(peer, 1000);
        (void)app_publishes(peer, 0, "out");
        client_says(peer, "PUBLISH qos=0 topic=\"t\" bytes=3");
        broker_publishes(peer, 0, 0, false, "in");
        client_is_silent(peer);
    }
    peer_advance(peer, 1000);
    client_says(peer, "PINGREQ");
}

static void flows_of_a_session_that_was_replaced_wait_for_the_decision(void **state) {
    (void)state;
    peer->options.session_expiry_s = 100;
    peer_create(peer);
    peer_connect(peer, false);
    (void)app_publishes(peer, 2, "m");
    client_says(peer, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    peer_cut(peer);
    peer_advance(peer, 100000);
    connack_is_lost();
    app_forgets_events(peer);
    client_connects(begins_anew);
    broker_connack(peer, false, 0);
    client_is_silent(peer);
    (void)app_hears(peer, QUARTET_EVENT_CONNECTED);
    assert_int_equal(app_hears(peer, QUARTET_EVENT_SESSION_LOST).count, 1);
    assert_int_equal(client_session_lost(peer->client, QUARTET_LOST_RESEND), QUARTET_OK);
    client_says(peer, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
}

static void without_the_rule_a_message_is_taken_for_a_repeat(void **state) {
    (void)state;
    peer->mutant = MUTANT_TRUST;
    session_with_held_id(100);
    peer_advance(peer, 100000);
    connack_is_lost();
    client_connects(goes_on);
    broker_connack(peer, true, 0);
    broker_publishes(peer, 2, 9, false, "new");
    client_says(peer, "PUBREC id=9 reason=0x00");
    app_takes_nothing(peer);
}

static void a_publish_that_was_acknowledged_shows_the_session(void **state) {
    (void)state;
    peer->options.session_expiry_s = 5;
    peer_create(peer);
    peer_connect(peer, false);
    peer_advance(peer, 1200);
    (void)app_publishes(peer, 1, "m");
    client_says(peer, "PUBLISH qos=1 id=1 topic=\"t\" bytes=1");
    broker_acks(peer, PACKET_PUBACK, 1, 0);
    peer_cut(peer);
    peer_advance(peer, 3700);
    connack_is_lost(); /* 4.9 s after CONNECT */
    client_connects(goes_on);
    peer_cut(peer);
    peer_advance(peer, 1300);
    client_connects(begins_anew);
}

/* Whose answer comes late must not count as an answer to what was asked later. */
static void an_answer_counts_for_its_own_question(void **state) {
    (void)state;
    peer->options.session_expiry_s = 8;
    peer_create(peer);
    peer_connect(peer, false);
    (void)app_publishes(peer, 1, "first");
    client_says(peer, "PUBLISH qos=1 id=1 topic=\"t\" bytes=5");
    peer_advance(peer, 1900);
    (void)app_publishes(peer, 1, "second");
    client_says(peer, "PUBLISH qos=1 id=2 topic=\"t\" bytes=6");
    broker_acks(peer, PACKET_PUBACK, 2, 0); /* nothing was asked with this one */
    broker_acks(peer, PACKET_PUBACK, 1, 0);
    peer_cut(peer);
    peer_advance(peer, 6000);
    connack_is_lost();
    client_connects(begins_anew);
}

static void without_keep_alive_a_long_connection_keeps_its_session(void **state) {
    (void)state;
    peer->options.session_expiry_s = 3600;
    peer->options.keep_alive_s = QUARTET_NO_KEEP_ALIVE;
    peer_create(peer);
    peer_connect(peer, false);
    for (int i = 0; i < 4000; i++) {
        peer_advance(peer, 1000);
        (void)app_publishes(peer, 1, "m");
        assert_memory_equal(peer_next(peer), "PUBLISH", 7);
        broker_acks(peer, PACKET_PUBACK, (packet_id_t)(i + 1), 0);
    }
    peer_cut(peer);
    connack_is_lost();
    client_connects(goes_on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        PEER_TEST(a_session_that_was_replaced_unseen_is_begun_anew),
        PEER_TEST(a_session_that_cannot_have_expired_goes_on),
        PEER_TEST(an_answer_that_is_heard_needs_no_new_beginning),
        PEER_TEST(a_session_that_never_expires_goes_on),
        PEER_TEST(the_broker_may_choose_the_expiry),
        PEER_TEST(a_clock_that_was_put_back_proves_nothing),
        PEER_TEST(a_clock_that_is_put_right_takes_nothing_back),
        PEER_TEST(a_refusal_leaves_the_session_alone),
        PEER_TEST(pings_tell_how_long_the_broker_had_the_connection),
        PEER_TEST(traffic_does_not_replace_the_pings),
        PEER_TEST(flows_of_a_session_that_was_replaced_wait_for_the_decision),
        PEER_TEST(without_the_rule_a_message_is_taken_for_a_repeat),
        PEER_TEST(a_publish_that_was_acknowledged_shows_the_session),
        PEER_TEST(an_answer_counts_for_its_own_question),
        PEER_TEST(without_keep_alive_a_long_connection_keeps_its_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
