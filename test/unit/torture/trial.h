/* Recorded wires for the judge, built packet by packet, and what it says of them. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "torture/judge.h"

enum { PUBLISHER = 0, SUBSCRIBER = 1, MESSAGES = 3 };

/* A wire under construction, and its verdict. */
struct trial {
    struct wire wire;
    struct judge *judge;
    struct judgement judgement;
    struct judge_terms terms;
    uint16_t connections[3];
};

static inline int set_up(void **state) {
    static struct trial t;
    t = (struct trial){.judge = judge_create(), .terms = {PROTOCOL_311, MESSAGES, 1, 2}};
    *state = &t;
    return 0;
}

static inline int tear_down(void **state) {
    struct trial *t = *state;
    wire_deinit(&t->wire);
    judge_destroy(t->judge);
    return 0;
}

/* ---- the wire ---- */

static inline void add(struct trial *t, struct wire_record r) {
    r.time_ns = (int64_t)t->wire.count * 1000;
    r.connection = t->connections[r.who];
    wire_add(&t->wire, &r);
}

static inline void event(struct trial *t, uint8_t who, enum wire_event what) {
    add(t, (struct wire_record){.who = who, .event = (uint8_t)what, .message = WIRE_NO_MESSAGE});
}

static inline struct wire_record packet(enum wire_way way, uint8_t who, enum packet_type type, uint16_t id,
                                        uint32_t message) {
    return (struct wire_record){
        .way = (uint8_t)way, .who = who, .type = (uint8_t)type, .packet_id = id, .message = message};
}

static inline void sends(struct trial *t, uint8_t who, enum packet_type type, uint16_t id, uint32_t message) {
    add(t, packet(WIRE_TO_BROKER, who, type, id, message));
}

static inline void gets(struct trial *t, uint8_t who, enum packet_type type, uint16_t id, uint32_t message) {
    add(t, packet(WIRE_TO_CLIENT, who, type, id, message));
}

static inline void gets_again_from(struct trial *t, uint8_t who, enum packet_type type, uint16_t id, uint32_t message) {
    struct wire_record r = packet(WIRE_TO_CLIENT, who, type, id, message);
    r.dup = true;
    add(t, r);
}

static inline void gets_again(struct trial *t, uint16_t id, uint32_t message) {
    gets_again_from(t, SUBSCRIBER, PACKET_PUBLISH, id, message);
}

/* The proxy lets a packet arrive once more. */
static inline void repeats(struct trial *t, enum wire_way way, uint8_t who, enum packet_type type, uint16_t id,
                           uint32_t message) {
    struct wire_record r = packet(way, who, type, id, message);
    r.fate = WIRE_REPEATED;
    r.dup = type == PACKET_PUBLISH;
    add(t, r);
}

static inline void loses(struct trial *t, enum wire_way way, uint8_t who, enum packet_type type, uint16_t id,
                         uint32_t message) {
    struct wire_record r = packet(way, who, type, id, message);
    r.fate = WIRE_LOST;
    add(t, r);
}

static inline void connects(struct trial *t, uint8_t who, bool session) {
    t->connections[who]++;
    event(t, who, EVENT_OPENED);
    struct wire_record r = packet(WIRE_TO_CLIENT, who, PACKET_CONNACK, 0, WIRE_NO_MESSAGE);
    r.session = session;
    add(t, r);
}

static inline void both_connect(struct trial *t) {
    connects(t, PUBLISHER, false);
    connects(t, SUBSCRIBER, false);
}

static inline void published(struct trial *t, uint16_t id, uint32_t message) {
    sends(t, PUBLISHER, PACKET_PUBLISH, id, message);
    gets(t, PUBLISHER, PACKET_PUBREC, id, message);
    sends(t, PUBLISHER, PACKET_PUBREL, id, message);
    gets(t, PUBLISHER, PACKET_PUBCOMP, id, message);
}

static inline void delivered(struct trial *t, uint16_t id, uint32_t message) {
    gets(t, SUBSCRIBER, PACKET_PUBLISH, id, message);
    sends(t, SUBSCRIBER, PACKET_PUBREC, id, message);
    gets(t, SUBSCRIBER, PACKET_PUBREL, id, message);
    sends(t, SUBSCRIBER, PACKET_PUBCOMP, id, message);
}

static inline void all_published(struct trial *t) {
    for (uint32_t i = 0; i < MESSAGES; i++) {
        published(t, 1, i);
    }
}

/* ---- the verdict ---- */

/* What the judge says of one column; all others must be 0. */
static inline uint64_t only(struct trial *t, enum judge_column column) {
    judge_run(t->judge, &t->wire, &t->terms, &t->judgement);
    for (size_t i = 0; i < JUDGE_COLUMNS; i++) {
        if (i != column) {
            assert_int_equal(t->judgement.counts[i], 0);
        }
    }
    return t->judgement.counts[column];
}

static inline void clean(struct trial *t) {
    assert_int_equal(only(t, JUDGE_LOST), 0);
    assert_true(judgement_clean(&t->judgement));
    assert_int_equal(t->judgement.deliveries, MESSAGES);
}

/* One violation, of this statement. */
static inline void breaks(struct trial *t, const char *statement) {
    assert_int_equal(only(t, JUDGE_VIOLATION), 1);
    assert_string_equal(t->judgement.findings[0].statement, statement);
}

static inline void well_so_far(struct trial *t) {
    both_connect(t);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        published(t, 1, i);
        delivered(t, 1, i);
    }
}

static inline void from_broker(struct trial *t, uint8_t who, enum packet_type type, uint8_t reason) {
    struct wire_record r = packet(WIRE_TO_CLIENT, who, type, 0, WIRE_NO_MESSAGE);
    r.reason = reason;
    add(t, r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
