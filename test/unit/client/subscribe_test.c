/* Subscriptions: asked for once, again when the broker has forgotten them, and what the broker may answer. */
#include "peer.h"

static void unsubscribe(const char *filter) {
    struct error error;
    assert_int_equal(client_unsubscribe(peer->client, filter, &error), QUARTET_OK);
}

static void hears_subscribed(const char *filter, uint8_t reason) {
    struct quartet_event event = app_hears(peer, QUARTET_EVENT_SUBSCRIBED);
    assert_string_equal(event.text, filter);
    assert_int_equal(event.reason, reason);
}

static void start(bool session_present) {
    peer_create(peer);
    peer_connect(peer, session_present);
    (void)app_hears(peer, QUARTET_EVENT_CONNECTED);
}

static void declared_before_the_connection_asked_for_with_it(void **state) {
    (void)state;
    peer_create(peer);
    app_subscribes(peer, "a/+", 1);
    app_subscribes(peer, "b/#", 2);
    peer_connect(peer, false);
    (void)app_hears(peer, QUARTET_EVENT_CONNECTED);
    client_says(peer, "SUBSCRIBE id=65535 \"a/+\":1 \"b/#\":2");
    broker_subacks(peer, 65535, "\1\x87", 2);
    hears_subscribed("a/+", 1);
    hears_subscribed("b/#", REASON_NOT_AUTHORIZED);
    client_is_silent(peer); /* refused is not asked again on this connection, */
    peer_cut(peer);
    peer_connect(peer, true);
    client_says(peer, "SUBSCRIBE id=65535 \"b/#\":2:handling=1"); /* but on the next */
    broker_subacks(peer, 65535, "\2", 1);
    peer_cut(peer);
    peer_connect(peer, true);
    client_is_silent(peer);
    peer_cut(peer);
    peer_connect(peer, false);
    client_says(peer, "SUBSCRIBE id=65535 \"a/+\":1 \"b/#\":2");
}

static void options_travel(void **state) {
    (void)state;
    start(false);
    struct error error;
    struct quartet_subscription s = {
        .filter = "a", .qos = 1, .no_local = true, .retain_as_published = true, .retain_handling = 2, .identifier = 17};
    assert_int_equal(client_subscribe(peer->client, &s, 1, &error), QUARTET_OK);
    client_says(peer, "SUBSCRIBE id=65535 \"a\":1:no_local:as_published:handling=2 {Subscription Identifier: 17}");
}

static void the_same_again_is_answered_without_asking(void **state) {
    (void)state;
    start(false);
    app_subscribes(peer, "a", 2);
    client_says(peer, "SUBSCRIBE id=65535 \"a\":2");
    broker_subacks(peer, 65535, "\1", 1);
    hears_subscribed("a", 1);
    app_subscribes(peer, "a", 2);
    hears_subscribed("a", 1);
    client_is_silent(peer);
    app_subscribes(peer, "a", 1); /* another wish: retained messages are wanted again */
    client_says(peer, "SUBSCRIBE id=65535 \"a\":1");
}

static void one_packet_at_a_time_in_the_order_of_the_calls(void **state) {
    (void)state;
    start(false);
    app_subscribes(peer, "a", 0);
    app_subscribes(peer, "b", 0);
    app_subscribes(peer, "c", 0);
    unsubscribe("a");
    client_says(peer, "SUBSCRIBE id=65535 \"a\":0");
    client_is_silent(peer);
    broker_subacks(peer, 65535, "\0", 1);
    client_says(peer, "SUBSCRIBE id=65535 \"b\":0 \"c\":0");
    broker_subacks(peer, 65535, "\0\0", 2);
    client_says(peer, "UNSUBSCRIBE id=65535 \"a\"");
    app_forgets_events(peer);
    broker_unsubacks(peer, 65535, "\0", 1);
    assert_string_equal(app_hears(peer, QUARTET_EVENT_UNSUBSCRIBED).text, "a");
    client_is_silent(peer);
}

/* The broker says no to what is wanted no longer. What it had granted before it may still have: only UNSUBACK ends it,
 * also when that comes on another connection. */
static void a_refusal_of_what_was_left_meanwhile_ends_nothing(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        bool granted = (kind & 1) != 0, cut = (kind & 2) != 0;
        if (kind > 0) {
            peer_init(peer);
        }
        start(false);
        if (granted) {
            app_subscribes(peer, "a", 1);
            client_says(peer, "SUBSCRIBE id=65535 \"a\":1");
            broker_subacks(peer, 65535, "\1", 1);
        }
        app_subscribes(peer, "a", 2);
        client_says(peer, "SUBSCRIBE id=65535 \"a\":2");
        unsubscribe("a");
        client_is_silent(peer);
        broker_subacks(peer, 65535, "\x97", 1);
        client_says(peer, "UNSUBSCRIBE id=65535 \"a\"");
        if (cut) {
            peer_cut(peer);
            peer_connect(peer, true);
            client_says(peer, "UNSUBSCRIBE id=65535 \"a\"");
        }
        app_forgets_events(peer);
        broker_unsubacks(peer, 65535, "\0", 1);
        assert_string_equal(app_hears(peer, QUARTET_EVENT_UNSUBSCRIBED).text, "a");
        client_is_silent(peer);
        if (kind < 3) {
            peer_deinit(peer);
        }
    }
}

static void a_cut_subscribe_is_repeated(void **state) {
    (void)state;
    start(false);
    app_subscribes(peer, "a", 2);
    client_says(peer, "SUBSCRIBE id=65535 \"a\":2");
    peer_cut(peer);
    peer_connect(peer, true);
    client_says(peer, "SUBSCRIBE id=65535 \"a\":2:handling=1"); /* retained messages have come, if it was new */
    unsubscribe("a");
    peer_cut(peer);
    peer_connect(peer, true);
    client_says(peer, "UNSUBSCRIBE id=65535 \"a\"");
}

/* CONNACK may have said that the session is gone, and nobody has read it. */
static void after_a_connack_that_was_not_seen_all_is_asked_again(void **state) {
    (void)state;
    start(false);
    app_subscribes(peer, "a", 2);
    client_says(peer, "SUBSCRIBE id=65535 \"a\":2");
    broker_subacks(peer, 65535, "\2", 1);
    peer_cut(peer);
    (void)peer_open(peer);
    peer_cut(peer);
    peer_connect(peer, true);
    client_says(peer, "SUBSCRIBE id=65535 \"a\":2:handling=1");
    broker_subacks(peer, 65535, "\2", 1);
    peer_cut(peer);
    peer_connect(peer, true);
    client_is_silent(peer);
}

static void what_the_broker_does_not_know_is_not_asked(void **state) {
    (void)state;
    peer->connack.present = PROPERTY_WILDCARD_SUBSCRIPTION_AVAILABLE | PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE;
    start(false);
    app_subscribes(peer, "a/#", 2);
    app_subscribes(peer, "$share/g/a", 2);
    hears_subscribed("a/#", REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
    hears_subscribed("$share/g/a", REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
    client_is_silent(peer);
}

static void wrong_filters_are_refused_at_once(void **state) {
    (void)state;
    start(false);
    struct error error;
    struct quartet_subscription wrong[] = {{.filter = NULL},
                                           {.filter = ""},
                                           {.filter = "a#"},
                                           {.filter = "$share/g"},
                                           {.filter = "a", .qos = 3},
                                           {.filter = "a", .retain_handling = 3},
                                           {.filter = "$share/g/a", .no_local = true}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct quartet_subscription two[] = {{.filter = "fine"}, wrong[i]};
        assert_int_equal(client_subscribe(peer->client, two, 2, &error), QUARTET_INVALID);
    }
    client_is_silent(peer); /* all or nothing */
    assert_int_equal(client_unsubscribe(peer->client, "a#", &error), QUARTET_INVALID);
}

static void many_filters_go_in_several_packets(void **state) {
    (void)state;
    start(false);
    struct quartet_subscription many[100];
    char names[100][16];
    struct error error;
    for (int i = 0; i < 100; i++) {
        (void)snprintf(names[i], sizeof names[i], "f%d", i);
        many[i] = (struct quartet_subscription){.filter = names[i]};
    }
    assert_int_equal(client_subscribe(peer->client, many, 100, &error), QUARTET_OK);
    char granted[64] = "";
    (void)peer_next(peer);
    broker_subacks(peer, 65535, granted, 64);
    (void)peer_next(peer);
    broker_subacks(peer, 65535, granted, 36);
    client_is_silent(peer);
    assert_int_equal(fake_count(&peer->fake, RECORD_SUBSCRIBED), 100);
}

/* A SUBACK that answers nothing, or not all that was asked (others read beyond its end). */
static void wrong_answers_end_the_connection(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        if (i > 0) {
            peer_init(peer);
        }
        start(false);
        if (i > 0) {
            app_subscribes(peer, "a", 0);
            client_says(peer, "SUBSCRIBE id=65535 \"a\":0");
        }
        if (i == 2) {
            broker_subacks(peer, 65535, "\0\0", 2);
        } else if (i == 3) {
            broker_unsubacks(peer, 65535, "\0", 1);
        } else {
            broker_subacks(peer, 1, "\0", 1);
        }
        assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x82", 22);
        if (i < 3) {
            peer_deinit(peer);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        PEER_TEST(declared_before_the_connection_asked_for_with_it),
        PEER_TEST(options_travel),
        PEER_TEST(the_same_again_is_answered_without_asking),
        PEER_TEST(one_packet_at_a_time_in_the_order_of_the_calls),
        PEER_TEST(a_refusal_of_what_was_left_meanwhile_ends_nothing),
        PEER_TEST(a_cut_subscribe_is_repeated),
        PEER_TEST(after_a_connack_that_was_not_seen_all_is_asked_again),
        PEER_TEST(what_the_broker_does_not_know_is_not_asked),
        PEER_TEST(wrong_filters_are_refused_at_once),
        PEER_TEST(many_filters_go_in_several_packets),
        PEER_TEST(wrong_answers_end_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
