/* Connections: CONNECT, refusals, the pauses between attempts, keep-alive, and their ends. */
#include "peer.h"

static void closed_as_wished(void) {
    assert_int_equal(peer_wish(peer), CLIENT_CLOSE);
    client_closed(peer->client, QUARTET_OK, NULL);
}

static void options_show_in_connect(void **state) {
    (void)state;
    struct quartet_options *o = &peer->options;
    o->username = "u";
    o->password = "secret";
    o->password_bytes = 6;
    o->keep_alive_s = 5;
    o->session_expiry_s = 100;
    o->receive_maximum = 7;
    o->packet_bytes_max = 1000;
    o->clean_start = true;
    o->will = (struct quartet_will){.topic = "w",
                                    .payload = "gone",
                                    .payload_bytes = 4,
                                    .qos = 2,
                                    .retain = true,
                                    .delay_s = 3,
                                    .properties = {.content_type = "text"}};
    peer_create(peer);
    assert_string_equal(
        peer_open(peer),
        "CONNECT 5.0 clean keep_alive=5 client=\"c\" user=\"u\" password {Session Expiry Interval: 100, Receive "
        "Maximum: 7, Maximum Packet Size: 1000} will=\"w\" will_qos=2 will_retain will_bytes=4 {Content Type: "
        "\"text\", Will Delay Interval: 3}");
    broker_connack(peer, false, 0);
    peer_cut(peer);
    assert_non_null(strstr(peer_open(peer), "CONNECT 5.0 keep_alive")); /* the session is forgotten once */
}

static void connect_waits_for_its_record(void **state) {
    (void)state;
    peer->disk_is_slow = true;
    peer_create(peer);
    peer_await_wish(peer);
    client_opened(peer->client);
    client_is_silent(peer);
    peer_durable(peer);
    assert_memory_equal(peer_next(peer), "CONNECT", 7);
}

static void version_3_1_1_when_asked_for(void **state) {
    (void)state;
    peer->options.protocol = 4;
    peer->options.keep_alive_s = QUARTET_NO_KEEP_ALIVE;
    peer_create(peer);
    assert_string_equal(peer_open(peer), "CONNECT 3.1.1 keep_alive=0 client=\"c\"");
    broker_connack(peer, false, 0);
    assert_int_equal(app_hears(peer, QUARTET_EVENT_CONNECTED).protocol, 4);
    assert_int_equal(client_deadline(peer->client), -1);
}

static void falls_back_to_3_1_1_when_nobody_said_which(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        if (i > 0) {
            peer_init(peer);
        }
        peer_create(peer);
        (void)peer_open(peer);
        if (i == 0) {
            broker_connack(peer, false, REASON_UNSUPPORTED_PROTOCOL_VERSION);
        } else {
            client_received(peer->client, SPAN("\x20\x02\x00\x01")); /* in the old format */
        }
        closed_as_wished();
        struct quartet_event event = app_hears(peer, QUARTET_EVENT_DISCONNECTED);
        assert_int_equal(event.error, QUARTET_REFUSED);
        assert_int_equal(event.reason, i == 0 ? 0x84 : 1);
        assert_int_equal(event.protocol, i == 0 ? 5 : 4);
        client_time(peer->client, peer->now, peer->wall);
        assert_string_equal(peer_open(peer), "CONNECT 3.1.1 keep_alive=60 client=\"c\"");
        broker_connack(peer, false, 0);
        if (i == 0) {
            peer_deinit(peer);
        }
    }
}

static void refusals_are_told_and_tried_again(void **state) {
    (void)state;
    peer->options.protocol = 5;
    peer_create(peer);
    (void)peer_open(peer);
    broker_connack(peer, false, REASON_UNSUPPORTED_PROTOCOL_VERSION);
    closed_as_wished();
    struct quartet_event event = app_hears(peer, QUARTET_EVENT_DISCONNECTED);
    assert_int_equal(event.reason, 0x84);
    assert_false(event.final);
    assert_non_null(strstr(peer_open(peer), "CONNECT 5.0"));
}

static void no_retry_makes_the_first_failure_final(void **state) {
    (void)state;
    peer->options.no_retry = true;
    peer_create(peer);
    peer_await_wish(peer);
    client_closed(peer->client, QUARTET_NETWORK, "refused");
    struct quartet_event event = app_hears(peer, QUARTET_EVENT_DISCONNECTED);
    assert_true(event.final);
    assert_string_equal(event.text, "refused");
    peer_advance(peer, 100000);
    assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
    assert_int_equal(client_deadline(peer->client), -1);
    struct quartet_status status;
    client_status(peer->client, &status);
    assert_true(status.final && !status.connected);
    assert_int_equal(status.error, QUARTET_NETWORK);
}

static void pauses_grow_within_their_bounds_and_servers_take_turns(void **state) {
    (void)state;
    peer->options.servers = "mqtt://one mqtt://two  mqtt://three";
    peer->options.retry_min_ms = 100;
    peer->options.retry_max_ms = 1000;
    peer_create(peer);
    assert_int_equal(client_server_count(peer->client), 3);
    assert_string_equal(client_server(peer->client, 1), "mqtt://two");
    int64_t longest = 0;
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t server;
        mono_ms_t before = peer->now;
        peer_await_wish(peer);
        assert_int_equal(client_wish(peer->client, &server), CLIENT_CONNECT);
        assert_int_equal(server, i % 3);
        int64_t pause = peer->now - before;
        assert_true(i % 3 != 0 ? pause == 0 : i == 0 || (pause >= 100 && pause <= 1000));
        longest = pause > longest ? pause : longest;
        client_closed(peer->client, QUARTET_NETWORK, "");
    }
    assert_true(longest > 500);
    peer_connect(peer, false); /* a connection that has worked: back to short pauses, same server first */
    uint32_t server;
    (void)client_wish(peer->client, &server);
    peer_advance(peer, 5000);
    peer_cut(peer);
    mono_ms_t before = peer->now;
    peer_await_wish(peer);
    assert_true(peer->now - before <= 301);
    uint32_t again;
    (void)client_wish(peer->client, &again);
    assert_int_equal(again, server);
}

static void no_answer_to_connect_ends_the_attempt(void **state) {
    (void)state;
    peer->options.connect_timeout_ms = 500;
    peer_create(peer);
    peer_await_wish(peer);
    peer_advance(peer, 500);
    closed_as_wished();
    (void)peer_open(peer);
    peer_advance(peer, 499);
    assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
    peer_advance(peer, 1);
    closed_as_wished();
}

static void keep_alive_pings_and_gives_up(void **state) {
    (void)state;
    peer->connack.present = PROPERTY_SERVER_KEEP_ALIVE;
    peer->connack.server_keep_alive_s = 20;
    peer_create(peer);
    peer_connect(peer, false);
    peer_hear(peer);
    for (int i = 0; i < 3; i++) {
        mono_ms_t due = client_deadline(peer->client);
        assert_int_equal(due - peer->now, 15000);
        peer_advance(peer, due - peer->now);
        client_says(peer, "PINGREQ");
        client_is_silent(peer);
        client_received(peer->client, SPAN("\xd0\0"));
    }
    peer_advance(peer, 15000);
    client_says(peer, "PINGREQ");
    peer_advance(peer, 19999);
    assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
    peer_advance(peer, 1);
    closed_as_wished();
}

static void a_session_that_was_taken_over_is_not_fought_for(void **state) {
    (void)state;
    peer->options.retry_min_ms = 10;
    peer->options.retry_max_ms = 20000;
    peer_create(peer);
    peer_connect(peer, false);
    peer_advance(peer, 5000);
    broker_disconnects(peer, REASON_SESSION_TAKEN_OVER);
    closed_as_wished();
    mono_ms_t before = peer->now;
    peer_await_wish(peer);
    assert_true(peer->now - before >= 10000);
}

static void disconnect_says_so_and_is_final(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    app_forgets_events(peer);
    peer_hear(peer);
    peer->disk_is_slow = true;
    (void)app_publishes(peer, 1, "m");
    client_disconnect(peer->client, 4);
    assert_int_equal(peer_wish(peer),
                     CLIENT_NOTHING); /* the publication waits for the disk, and DISCONNECT behind it */
    peer_durable(peer);
    client_says(peer, "PUBLISH qos=1 id=1 topic=\"t\" bytes=1");
    client_says(peer, "DISCONNECT reason=0x04");
    closed_as_wished();
    assert_true(app_hears(peer, QUARTET_EVENT_DISCONNECTED).final);
    peer_advance(peer, 100000);
    assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
}

static void a_disk_that_hangs_does_not_hold_the_last_packet_for_ever(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    peer_hear(peer);
    peer->disk_is_slow = true;
    (void)app_publishes(peer, 1, "m");
    client_disconnect(peer->client, 0);
    assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
    peer_advance(peer, client_deadline(peer->client) - peer->now);
    closed_as_wished();
}

static void a_failed_store_ends_it_all(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    app_forgets_events(peer);
    (void)error_set(&peer->store->error, ERROR_IO, 0, "the disk is gone");
    atomic_store(&peer->store->failed, true);
    client_stored(peer->client);
    client_stored(peer->client);
    assert_string_equal(app_hears(peer, QUARTET_EVENT_STORE_FAILED).text, "the disk is gone");
    closed_as_wished();
    assert_true(app_hears(peer, QUARTET_EVENT_DISCONNECTED).final);
    struct quartet_publication p = {.topic = "t", .qos = 1};
    uint64_t id;
    struct error error;
    assert_int_equal(client_publish(peer->client, &p, &id, &error), QUARTET_STORE_FAILED);
}

static void an_assigned_client_id_is_kept(void **state) {
    (void)state;
    peer->options.client_id = NULL;
    peer->connack.present = PROPERTY_ASSIGNED_CLIENT_IDENTIFIER;
    peer->connack.assigned_client_identifier = SPAN("given");
    peer_create(peer);
    assert_non_null(strstr(peer_open(peer), "client=\"\""));
    broker_connack(peer, false, 0);
    assert_string_equal(app_hears(peer, QUARTET_EVENT_CONNECTED).client_id, "given");
    peer_cut(peer);
    assert_non_null(strstr(peer_open(peer), "client=\"given\""));
}

static void a_clean_start_cannot_find_a_session(void **state) {
    (void)state;
    peer->options.clean_start = true;
    peer_create(peer);
    (void)peer_open(peer);
    broker_connack(peer, true, 0);
    closed_as_wished();
    struct quartet_event event = app_hears(peer, QUARTET_EVENT_DISCONNECTED);
    assert_int_equal(event.error, QUARTET_PROTOCOL);
    assert_non_null(strstr(event.text, "MQTT-3.2.2-2"));
}

static void packets_are_told_when_they_are_traced(void **state) {
    (void)state;
    peer->options.trace = true;
    peer_create(peer);
    peer_connect(peer, false);
    struct quartet_event event = app_hears(peer, QUARTET_EVENT_PACKET);
    assert_true(event.outgoing);
    assert_memory_equal(event.text, "CONNECT", 7);
    event = app_hears(peer, QUARTET_EVENT_PACKET);
    assert_false(event.outgoing);
    assert_string_equal(event.text, "CONNACK new reason=0x00");
    (void)app_hears(peer, QUARTET_EVENT_CONNECTED);
    peer->disk_is_slow = true;
    (void)app_publishes(peer, 2, "m");
    assert_false(client_event(peer->client, &event)); /* it has not left */
    peer_durable(peer);
    peer_hear(peer);
    event = app_hears(peer, QUARTET_EVENT_PACKET);
    assert_string_equal(event.text, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    assert_int_equal(event.bytes, 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        PEER_TEST(options_show_in_connect),
        PEER_TEST(connect_waits_for_its_record),
        PEER_TEST(version_3_1_1_when_asked_for),
        PEER_TEST(falls_back_to_3_1_1_when_nobody_said_which),
        PEER_TEST(refusals_are_told_and_tried_again),
        PEER_TEST(no_retry_makes_the_first_failure_final),
        PEER_TEST(pauses_grow_within_their_bounds_and_servers_take_turns),
        PEER_TEST(no_answer_to_connect_ends_the_attempt),
        PEER_TEST(keep_alive_pings_and_gives_up),
        PEER_TEST(a_session_that_was_taken_over_is_not_fought_for),
        PEER_TEST(disconnect_says_so_and_is_final),
        PEER_TEST(a_disk_that_hangs_does_not_hold_the_last_packet_for_ever),
        PEER_TEST(a_failed_store_ends_it_all),
        PEER_TEST(an_assigned_client_id_is_kept),
        PEER_TEST(a_clean_start_cannot_find_a_session),
        PEER_TEST(packets_are_told_when_they_are_traced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
