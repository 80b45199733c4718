/* The barriers: no packet leaves before its record is durable, each leaves right after. The store is durable up to what
 * the test says, record by record where that matters. */
#include "world.h"

/* ---- B1, B2: the way of a message ---- */

struct way {
    struct world *w;
    struct peer from, to;
};

static struct way way_of(bool durable_from, bool durable_to_, uint8_t qos) {
    struct way way = {.w = world_of(1)};
    joined(&way.from, way.w, PROTOCOL_5, "from", durable_from);
    joined(&way.to, way.w, PROTOCOL_5, "to", durable_to_);
    subscribed(&way.to, "t", qos);
    return way;
}

static void way_end(struct way *way) {
    peer_close(&way->from);
    peer_close(&way->to);
    world_close(way->w);
}

static void b1_publish_waits_for_its_packet_id(void **state) {
    (void)state;
    struct way way = way_of(true, true, 2);
    say_publish(&way.from, &(struct publishing){.qos = 2, .id = 1, .topic = "t"});
    lsn_t message = fake_newest(&way.w->store, RECORD_MESSAGE);
    lsn_t sent = fake_newest(&way.w->store, RECORD_SENT);
    assert_true(message > 0 && sent > message);
    durable_to(way.w, sent - 1);
    turn(way.w);
    expect_silence(&way.to);
    durable_to(way.w, sent);
    turn(way.w);
    expect(&way.to, "PUBLISH qos=2 id=1");
    way_end(&way);
}

static void b2_pubrec_waits_for_the_one_record_of_the_message(void **state) {
    (void)state;
    struct way way = way_of(true, true, 2);
    say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t", .payload = "body"});
    struct record record = fake_record_of(&way.w->store, fake_newest(&way.w->store, RECORD_MESSAGE));
    assert_int_equal(record.message.packet_id, 7);
    assert_int_equal(record.message.target_count, 1);
    assert_true(span_equal(record.message.parts.payload, SPAN("body")));
    assert_int_equal(fake_count(&way.w->store, RECORD_HELD), 0);
    durable_to(way.w, fake_newest(&way.w->store, RECORD_MESSAGE) - 1);
    turn(way.w);
    expect_silence(&way.from);
    durable_to(way.w, fake_newest(&way.w->store, RECORD_MESSAGE));
    turn(way.w);
    expect(&way.from, "PUBREC id=7 reason=0x00");
    way_end(&way);
}

/* A repeat that comes before the record is durable is not answered before it either. */
static void b2_repeated_publish_waits_for_the_first(void **state) {
    (void)state;
    struct way way = way_of(true, true, 2);
    say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t"});
    say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t", .dup = true});
    expect_silence(&way.from);
    durable_all(way.w);
    expect(&way.from, "PUBREC id=7");
    expect(&way.from, "PUBREC id=7");
    assert_int_equal(fake_count(&way.w->store, RECORD_MESSAGE), 1);
    way_end(&way);
}

/* The id alone is recorded when nobody durable gets the message. */
static void b2_pubrec_waits_for_the_held_id(void **state) {
    (void)state;
    struct way way = way_of(true, false, 2);
    say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t"});
    assert_int_equal(fake_count(&way.w->store, RECORD_HELD), 1);
    expect_silence(&way.from);
    expect_silence(&way.to);
    durable_all(way.w);
    expect(&way.from, "PUBREC id=7");
    expect(&way.to, "PUBLISH qos=2");
    way_end(&way);
}

static void b2_puback_waits(void **state) {
    (void)state;
    struct way way = way_of(false, true, 1);
    say_publish(&way.from, &(struct publishing){.qos = 1, .id = 7, .topic = "t"});
    expect_silence(&way.from);
    durable_all(way.w);
    expect(&way.from, "PUBACK id=7");
    way_end(&way);
}

/* Nothing leaves that a crash could take back: also not towards a session that is not durable, when another one is. */
static void b2_onward_waits_whatever_the_receiver(void **state) {
    (void)state;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        struct way way = way_of(true, false, qos);
        struct peer durable;
        joined(&durable, way.w, PROTOCOL_311, "durable", true);
        subscribed(&durable, "t", 2);
        say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t"});
        expect_silence(&way.to);
        durable_to(way.w, fake_newest(&way.w->store, RECORD_MESSAGE));
        turn(way.w);
        expect(&way.to, "PUBLISH");
        peer_close(&durable);
        way_end(&way);
    }
}

/* Who subscribes meanwhile gets the retained message no earlier than those who had subscribed. */
static void b2_retained_message_waits_for_its_record(void **state) {
    (void)state;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        struct way way = way_of(false, false, 0);
        say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "r", .payload = "x", .retain = true});
        say_subscribe(&way.to, 2, "r", qos);
        expect(&way.to, "SUBACK id=2");
        expect_silence(&way.to);
        durable_all(way.w);
        expect(&way.to, "PUBLISH");
        way_end(&way);
    }
}

static void without_durable_sessions_nothing_waits_or_is_recorded(void **state) {
    (void)state;
    struct way way = way_of(false, false, 2);
    say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t"});
    expect(&way.from, "PUBREC id=7");
    expect(&way.to, "PUBLISH qos=2 id=1");
    say_ack(&way.to, PACKET_PUBREC, 1, 0);
    expect(&way.to, "PUBREL id=1");
    say_ack(&way.from, PACKET_PUBREL, 7, 0);
    expect(&way.from, "PUBCOMP id=7");
    assert_int_equal(way.w->store.last, 0);
    way_end(&way);
}

/* ---- B3, B4 ---- */

static void b3_pubrel_waits_for_received(void **state) {
    (void)state;
    struct way way = way_of(false, true, 2);
    say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t"});
    durable_all(way.w);
    expect(&way.to, "PUBLISH qos=2 id=1");
    say_ack(&way.to, PACKET_PUBREC, 1, 0);
    say_ack(&way.to, PACKET_PUBREC, 1, 0);
    assert_int_equal(fake_count(&way.w->store, RECORD_RECEIVED), 1);
    expect_silence(&way.to);
    durable_all(way.w);
    expect(&way.to, "PUBREL id=1 reason=0x00");
    expect(&way.to, "PUBREL id=1 reason=0x00");
    way_end(&way);
}

/* The flow has ended, but that is not durable: a late PUBREC is told "unknown" no earlier. */
static void b5_unknown_pubrec_waits_for_the_end_of_the_flow(void **state) {
    (void)state;
    struct way way = way_of(false, true, 2);
    say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t"});
    durable_all(way.w);
    expect(&way.to, "PUBLISH qos=2 id=1");
    say_ack(&way.to, PACKET_PUBREC, 1, 0);
    durable_all(way.w);
    expect(&way.to, "PUBREL id=1");
    say_ack(&way.to, PACKET_PUBCOMP, 1, 0);
    say_ack(&way.to, PACKET_PUBREC, 1, 0);
    expect_silence(&way.to);
    durable_all(way.w);
    expect(&way.to, "PUBREL id=1 reason=0x92");
    way_end(&way);
}

static void b4_pubcomp_waits_for_freed(void **state) {
    (void)state;
    struct way way = way_of(true, true, 2);
    say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t"});
    durable_all(way.w);
    expect(&way.from, "PUBREC id=7");
    say_ack(&way.from, PACKET_PUBREL, 7, 0);
    say_ack(&way.from, PACKET_PUBREL, 7, 0); /* the id is unknown by now, for as long as the record lasts */
    expect_silence(&way.from);
    durable_all(way.w);
    expect(&way.from, "PUBCOMP id=7 reason=0x00");
    expect(&way.from, "PUBCOMP id=7 reason=0x92");
    way_end(&way);
}

/* ---- B7, B8, B9 ---- */

static void b7_connack_and_suback_wait(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    join(&p, w, PROTOCOL_311, "p", true);
    expect_silence(&p);
    durable_all(w);
    expect(&p, "CONNACK new");
    say_subscribe(&p, 1, "t", 2);
    expect_silence(&p);
    durable_all(w);
    expect(&p, "SUBACK id=1 0x02");
    say_unsubscribe(&p, 2, "t");
    expect_silence(&p);
    durable_all(w);
    expect(&p, "UNSUBACK id=2");
    say_unsubscribe(&p, 3, "t");
    expect(&p, "UNSUBACK id=3");
    peer_close(&p);
    world_close(w);
}

static void b8_clean_start_waits_for_the_discard(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p, again;
    joined(&p, w, PROTOCOL_311, "p", true);
    peer_close(&p);
    durable_all(w);
    join(&p, w, PROTOCOL_311, "p", false);
    expect_silence(&p);
    peer_close(&p); /* cut before CONNACK: the discard is still not durable */
    join(&again, w, PROTOCOL_311, "p", false);
    expect_silence(&again);
    durable_all(w);
    expect(&again, "CONNACK new");
    peer_close(&again);
    world_close(w);
}

static void b8_expiry_waits_for_the_discard(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    peer_open(&p, w, PROTOCOL_5);
    say_connect(&p, &(struct connecting){.id = "p", .expiry_s = 2});
    durable_all(w);
    expect(&p, "CONNACK new");
    peer_close(&p);
    durable_all(w);
    tick(w, 1000);
    tick(w, 1000);
    tick(w, 1000);
    assert_int_equal(fake_count(&w->store, RECORD_SESSION_END), 1);
    join(&p, w, PROTOCOL_5, "p", false);
    expect_silence(&p);
    durable_all(w);
    expect(&p, "CONNACK new");
    peer_close(&p);
    world_close(w);
}

/* What the old connection was still to send dies with it, whether it is open or is being closed. */
static void b9_the_old_connection_is_silent(void **state) {
    (void)state;
    for (int closing = 0; closing <= 1; closing++) {
        struct way way = way_of(false, true, 2);
        struct peer new;
        say_publish(&way.from, &(struct publishing){.qos = 2, .id = 7, .topic = "t"});
        if (closing) {
            say_bytes(&way.to, SPAN("\xf0\x00")); /* AUTH: wrong here */
        }
        join(&new, way.w, PROTOCOL_5, "to", true);
        turn(way.w);
        if (!closing) {
            expect(&way.to, "DISCONNECT reason=0x8e");
        }
        expect(&way.to, "closed");
        durable_all(way.w);
        expect(&new, "CONNACK present");
        expect(&new, "PUBLISH qos=2 dup id=1");
        peer_close(&new);
        way_end(&way);
    }
}

static void b9_the_old_connection_learns_why(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer old, new;
    joined(&old, w, PROTOCOL_5, "p", true);
    join(&new, w, PROTOCOL_5, "p", true);
    turn(w);
    expect(&old, "DISCONNECT reason=0x8e");
    expect(&old, "closed");
    peer_close(&old);
    peer_close(&new);
    world_close(w);
}

/* ---- B10 ---- */

static void b10_retained_message_waits(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    joined(&p, w, PROTOCOL_311, "p", false);
    say_publish(&p, &(struct publishing){.qos = 1, .id = 1, .topic = "r", .payload = "x", .retain = true});
    expect_silence(&p);
    durable_all(w);
    expect(&p, "PUBACK id=1");
    peer_close(&p);
    world_close(w);
}

/* Two clients clear the same topic: the second finds it clear, but a crash could still bring the message back. */
static void b10_a_topic_that_is_clear_already_waits_for_what_cleared_it(void **state) {
    (void)state;
    for (uint8_t qos = 1; qos <= 2; qos++) {
        struct world *w = world_of(1);
        struct peer a, b;
        joined(&a, w, PROTOCOL_311, "a", false);
        joined(&b, w, PROTOCOL_311, "b", false);
        say_publish(&a, &(struct publishing){.qos = 1, .id = 1, .topic = "r", .payload = "x", .retain = true});
        durable_all(w);
        expect(&a, "PUBACK id=1");
        say_publish(&a, &(struct publishing){.qos = 1, .id = 2, .topic = "r", .retain = true});
        say_publish(&b, &(struct publishing){.qos = qos, .id = 9, .topic = "r", .retain = true});
        expect_silence(&a);
        expect_silence(&b);
        durable_all(w);
        expect(&a, "PUBACK id=2");
        expect(&b, qos == 1 ? "PUBACK id=9" : "PUBREC id=9");
        peer_close(&a);
        peer_close(&b);
        world_close(w);
    }
}

static void b10_connack_waits_for_the_will(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    peer_open(&p, w, PROTOCOL_311);
    say_connect(&p, &(struct connecting){.id = "p", .will = "w"});
    durable_to(w, fake_newest(&w->store, RECORD_WILL) - 1);
    turn(w);
    expect_silence(&p);
    durable_all(w);
    expect(&p, "CONNACK new");
    peer_close(&p);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(b1_publish_waits_for_its_packet_id),
        cmocka_unit_test(b2_pubrec_waits_for_the_one_record_of_the_message),
        cmocka_unit_test(b2_repeated_publish_waits_for_the_first),
        cmocka_unit_test(b2_pubrec_waits_for_the_held_id),
        cmocka_unit_test(b2_puback_waits),
        cmocka_unit_test(b2_onward_waits_whatever_the_receiver),
        cmocka_unit_test(b2_retained_message_waits_for_its_record),
        cmocka_unit_test(without_durable_sessions_nothing_waits_or_is_recorded),
        cmocka_unit_test(b3_pubrel_waits_for_received),
        cmocka_unit_test(b5_unknown_pubrec_waits_for_the_end_of_the_flow),
        cmocka_unit_test(b4_pubcomp_waits_for_freed),
        cmocka_unit_test(b7_connack_and_suback_wait),
        cmocka_unit_test(b8_clean_start_waits_for_the_discard),
        cmocka_unit_test(b8_expiry_waits_for_the_discard),
        cmocka_unit_test(b9_the_old_connection_is_silent),
        cmocka_unit_test(b9_the_old_connection_learns_why),
        cmocka_unit_test(b10_retained_message_waits),
        cmocka_unit_test(b10_a_topic_that_is_clear_already_waits_for_what_cleared_it),
        cmocka_unit_test(b10_connack_waits_for_the_will),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
