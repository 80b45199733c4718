/* The judge on a real client's wire: for each rule that it knows a history that breaks exactly this rule, and beside it
 * one that obeys. The histories are packets by hand; no client and no broker takes part.
 *
 *     > what the client writes     < what it reads     else: what happens to it
 *
 * m0 and m1 are its application's messages at QoS 2, m2 and m3 at QoS 1; m4 (QoS 2) and m5 (QoS 1) are another one's.
 * It has a session expiry of 40 seconds, a window of 2, and wants "#" at QoS 2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "sim/world.h"

struct fixture {
    struct plan plan;
    struct choices choices;
    struct world *w;
    struct peer *p;
};

static void begin(struct fixture *f) {
    memset(f, 0, sizeof *f);
    plan_base(&f->plan);
    f->plan.client_count = 2;
    f->plan.clients[0] = (struct plan_client){.real = true,
                                              .five = true,
                                              .durable = true,
                                              .publishes = true,
                                              .hand = 1,
                                              .window = 2,
                                              .session_expiry = 40,
                                              .packet_max = 200,
                                              .pipe_bytes = SIM_PIPE_BYTES_DRAWN,
                                              .wanted = {{.filter = 4, .qos = 2}},
                                              .wanted_count = 1};
    f->plan.clients[1] = (struct plan_client){.five = true, .pipe_bytes = SIM_PIPE_BYTES_DRAWN};
    choices_start(&f->choices, 1, NULL, 0, false);
    f->w = world_create(&f->plan, &f->choices, NULL);
    f->p = &f->w->peers[0];
    for (unsigned i = 0; i < 6; i++) {
        const struct sim_message m = {.state = SIM_MESSAGE_WAITING,
                                      .publisher = i < 4 ? 0 : 1,
                                      .qos = i < 2 || i == 4 ? 2 : 1,
                                      .bytes = 8,
                                      .order = i + 1};
        oracle_handed(f->w, i < 4 ? app_add_row(f->w, f->p, &m) : oracle_message(f->w, &m));
    }
}

static void end(struct fixture *f) {
    if (f->p->conn >= 0) {
        conn_abandon(&f->w->conns[f->p->conn], world_end(f->w));
    }
    world_destroy(f->w);
    choices_deinit(&f->choices);
}

/* ---- packets ---- */

static void give(struct fixture *f, bool out, const void *bytes, size_t len) {
    (out ? spy_out : spy_in)(f->w, f->p, span_of(bytes, len));
}

static void packet(struct fixture *f, bool out, struct mini_packet k) {
    uint8_t bytes[MINI_PACKET_BYTES];
    k.five = true;
    give(f, out, bytes, mini_encode(&k, bytes));
}

static void publish(struct fixture *f, bool out, unsigned id, unsigned message, bool dup) {
    uint8_t payload[MINI_PACKET_BYTES];
    const size_t len = oracle_payload(f->w, (int)message, payload);
    packet(f, out,
           (struct mini_packet){.type = MINI_PUBLISH,
                                .dup = dup,
                                .qos = f->w->oracle.messages[message].qos,
                                .id = (uint16_t)id,
                                .topic = span_str("a"),
                                .payload = span_of(payload, len)});
}

static void connack(struct fixture *f, bool present, unsigned reason, unsigned receive_maximum) {
    const uint8_t bytes[] = {0x20, 6, present, (uint8_t)reason, 3, 0x21, 0, (uint8_t)receive_maximum};
    give(f, false, bytes, sizeof bytes);
}

static void answered(struct fixture *f, unsigned type, unsigned id, unsigned reason) {
    const bool list = type == MINI_SUBACK || type == MINI_UNSUBACK; /* properties, reasons; else the other way round */
    const uint8_t bytes[] = {(uint8_t)(type << 4),      4, 0, (uint8_t)id, list ? 0 : (uint8_t)reason,
                             list ? (uint8_t)reason : 0};
    give(f, false, bytes, sizeof bytes);
}

static void connect(struct fixture *f, bool clean) {
    struct conn *c = world_connect(f->w, 0);
    f->p->conn = (int)(c - f->w->conns);
    spy_connected(f->w, f->p);
    packet(f, true, (struct mini_packet){.type = MINI_CONNECT, .clean = clean, .client = span_str("c0")});
}

static void lost(struct fixture *f) {
    spy_lost(&f->p->spy);
    conn_abandon(&f->w->conns[f->p->conn], world_end(f->w));
    f->p->conn = -1;
}

/* ---- the language ---- */

static unsigned type_of(const char *name) {
    for (unsigned type = MINI_CONNECT; type <= MINI_DISCONNECT; type++) {
        if (strcmp(name, mini_name(type)) == 0) {
            return type;
        }
    }
    fail_msg("%s is no packet", name);
    return 0;
}

static bool has(const char *step, const char *word) {
    return strstr(step, word) != NULL;
}

static void packet_step(struct fixture *f, bool out, const char *step, const char *name, const unsigned *numbers) {
    const unsigned type = type_of(name);
    if (type == MINI_CONNECT) {
        connect(f, has(step, "clean"));
    } else if (type == MINI_CONNACK) {
        connack(f, has(step, "resumed"), has(step, "refused") ? 0x87 : 0, has(step, "maximum 1") ? 1 : 16);
    } else if (type == MINI_PUBLISH) {
        publish(f, out, numbers[0], numbers[1], has(step, "dup"));
    } else if (type == MINI_SUBSCRIBE || type == MINI_UNSUBSCRIBE) {
        packet(f, true,
               (struct mini_packet){.type = (uint8_t)type,
                                    .id = (uint16_t)numbers[0],
                                    .qos = 2,
                                    .topic = span_str(has(step, "other") ? "b" : "#")});
    } else if (!out && type != MINI_PUBREL && type != MINI_PINGRESP && type != MINI_DISCONNECT) {
        answered(f, type, numbers[0], has(step, "refused") ? 0x97 : type == MINI_SUBACK && !has(step, "less") ? 2 : 0);
    } else if (type == MINI_PINGRESP) {
        give(f, false, "\xd0", 2);
    } else if (type == MINI_DISCONNECT && !out) {
        give(f, false, "\xe0\x01\x82", 3);
    } else {
        packet(f, out, (struct mini_packet){.type = (uint8_t)type, .id = (uint16_t)numbers[0]});
    }
}

static void event_step(struct fixture *f, const char *name, const unsigned *numbers) {
    if (strcmp(name, "lost") == 0) {
        lost(f);
    } else if (strcmp(name, "killed") == 0) {
        spy_died(f->w, f->p);
        lost(f);
    } else if (strcmp(name, "recorded") == 0) {
        spy_recorded(&f->p->spy);
    } else if (strcmp(name, "due") == 0) {
        spy_session_due(f->w, f->p);
    } else if (strcmp(name, "gone") == 0) {
        absence_all_lost(f->w);
        spy_session_due(f->w, f->p);
    } else if (strcmp(name, "disk-lost") == 0) { /* while it is away */
        f->plan.disk_losses = f->w->disk_losses_left + 1;
        spy_session_due(f->w, f->p);
    } else if (strcmp(name, "seconds") == 0) {
        f->w->now += numbers[0] * 1000;
        f->w->wall += numbers[0] * 1000;
    } else if (strcmp(name, "back") == 0) {
        f->p->wall_ahead -= numbers[0] * 1000;
    } else if (strcmp(name, "given-up") == 0) {
        spy_given_up(&f->p->spy);
    } else if (strcmp(name, "full") == 0) {
        f->w->expect_refusal = true;
    } else if (strcmp(name, "garbage") == 0) {
        give(f, true, "\x30\x03\x00\x01#", 5);
    } else if (strcmp(name, "nonsense") == 0) {
        give(f, false, "\x3e\x03\x00\x01#", 5);
    } else if (strcmp(name, "large") == 0) {
        f->w->oracle.messages[4].bytes = 300;
        publish(f, false, 1, 4, false);
    } else if (strcmp(name, "strange") == 0) {
        packet(f, false,
               (struct mini_packet){
                   .type = MINI_PUBLISH, .qos = 1, .id = 1, .topic = span_str("a"), .payload = span_str("m4:0.")});
    } else if (strcmp(name, "foreign") == 0) {
        publish(f, true, 1, 4, false);
    } else {
        fail_msg("%s is no event", name);
    }
}

static void play(struct fixture *f, const char *history) {
    char step[80], way[12], name[20];
    for (const char *at = history; *at != '\0';) {
        const size_t len = strcspn(at, ";");
        unsigned numbers[2] = {0, 0};
        assert_true(len < sizeof step);
        snprintf(step, sizeof step, "%.*s", (int)len, at);
        if (sscanf(step, " %1[<>] %19s %u m%u", way, name, &numbers[0], &numbers[1]) >= 2) {
            packet_step(f, way[0] == '>', step, name, numbers);
        } else if (sscanf(step, " %19s %u", name, &numbers[0]) >= 1) {
            event_step(f, name, numbers);
        }
        at += len + (at[len] == ';' ? 1 : 0);
    }
}

/* ---- the rules ---- */

#define BEGIN "> CONNECT; < CONNACK new; "
#define AGAIN "lost; > CONNECT; < CONNACK resumed; "
#define SURE BEGIN "recorded; > SUBSCRIBE 4; < SUBACK 4; "

static const struct {
    const char *rule; /* "": it obeys */
    const char *history;
} rows[] = {
    /* the four packets in their order */
    {"", BEGIN "> PUBLISH 1 m0; < PUBREC 1; > PUBREL 1; < PUBCOMP 1"},
    {"B3", BEGIN "> PUBLISH 1 m0; > PUBREL 1"},
    {"B3", BEGIN "> PUBLISH 1 m0; < PUBREC 1; > PUBREL 1; " AGAIN "> PUBLISH 1 m0 dup"},
    {"", BEGIN "> PUBLISH 1 m0; < PUBREC 1; > PUBREL 1; " AGAIN "> PUBREL 1"},
    {"G2", BEGIN "> PUBLISH 1 m0; < PUBREC 1; > PUBREL 1; < PUBCOMP 1; > PUBLISH 1 m0"},
    {"", BEGIN "> PUBLISH 1 m0; < PUBREC 1; > PUBREL 1; < PUBCOMP 1; > PUBLISH 1 m1"},
    {"", BEGIN "> PUBREL 1"}, /* it frees what somebody may have left held */
    /* one message for an id at a time, one id for a message */
    {"R4", BEGIN "> PUBLISH 1 m0; > PUBLISH 1 m1"},
    {"", BEGIN "> PUBLISH 1 m0; > PUBLISH 2 m1"},
    {"R4", BEGIN "> PUBLISH 8 m0; > PUBLISH 9 m1"},
    {"B1", BEGIN "> PUBLISH 1 m0; " AGAIN "> PUBLISH 2 m0"},
    {"", BEGIN "> PUBLISH 1 m0; " AGAIN "> PUBLISH 1 m0 dup"},
    /* resends: after a reconnect only, with DUP, in their order and before what is new */
    {"R7", BEGIN "> PUBLISH 1 m0; > PUBLISH 1 m0 dup"},
    {"DUP", BEGIN "> PUBLISH 1 m0; " AGAIN "> PUBLISH 1 m0"},
    {"G3", BEGIN "> PUBLISH 1 m0; > PUBLISH 2 m1; " AGAIN "> PUBLISH 2 m1 dup; > PUBLISH 1 m0 dup"},
    {"", BEGIN "> PUBLISH 2 m0; > PUBLISH 1 m1; " AGAIN "> PUBLISH 2 m0 dup; > PUBLISH 1 m1 dup"},
    {"G3", BEGIN "> PUBLISH 1 m0; " AGAIN "> PUBLISH 2 m1; > PUBLISH 1 m0 dup"},
    {"", BEGIN "> PUBLISH 1 m0; " AGAIN "> PUBLISH 1 m0 dup; > PUBLISH 2 m1"},
    /* the send quota: the broker's, and the window that was asked for */
    {"R5", "> CONNECT; < CONNACK new maximum 1; > PUBLISH 1 m0; > PUBLISH 2 m1"},
    {"R5", "> CONNECT; < CONNACK new maximum 1; > PUBLISH 1 m0; < PUBREC 1; > PUBREL 1; > PUBLISH 2 m1"},
    {"", "> CONNECT; < CONNACK new maximum 1; > PUBLISH 1 m0; < PUBREC 1; > PUBREL 1; < PUBCOMP 1; > PUBLISH 2 m1"},
    {"R5", BEGIN "> PUBLISH 1 m0; > PUBLISH 2 m1; > PUBLISH 3 m2"},
    {"", BEGIN "> PUBLISH 1 m0; > PUBLISH 2 m2; < PUBACK 2; > PUBLISH 3 m3"},
    {"", BEGIN "> PUBLISH 1 m0; > PUBLISH 2 m1; " AGAIN "> PUBLISH 1 m0 dup; > PUBLISH 2 m1 dup"},
    {"", BEGIN "full; > PUBLISH 1 m0; < PUBREC 1 refused; > PUBLISH 2 m1; > PUBLISH 3 m2"},
    /* refusals need a reason */
    {"refusal", BEGIN "> PUBLISH 1 m0; < PUBREC 1 refused"},
    {"refusal", BEGIN "> PUBLISH 1 m2; < PUBACK 1 refused"},
    /* answers: to what came here, each once, in their order */
    {"", SURE "< PUBLISH 1 m4; > PUBREC 1; < PUBREL 1; > PUBCOMP 1"},
    {"R7", SURE "> PUBREC 1"},
    {"R7", SURE "< PUBLISH 1 m5; > PUBACK 1; > PUBACK 1"},
    {"R7", SURE "< PUBLISH 1 m4; > PUBREC 1; > PUBCOMP 1"},
    {"R8", SURE "< PUBLISH 1 m4; < PUBLISH 2 m4; > PUBREC 2"},
    {"", SURE "< PUBLISH 1 m4; < PUBLISH 2 m4; > PUBREC 1; > PUBREC 2"},
    {"", SURE "< PUBLISH 1 m4; < PUBLISH 2 m5; > PUBACK 2; > PUBREC 1"},
    {"R7", SURE "< PUBLISH 1 m4; " AGAIN "> PUBREC 1"},
    /* content */
    {"content", BEGIN "foreign"},
    {"content", SURE "strange"},
    {"content", BEGIN "> SUBSCRIBE 1 other"},
    {"wire", BEGIN "garbage"},
    {"wire", BEGIN "nonsense"},
    {"wire", SURE "large"},
    /* subscriptions are granted as they were asked for */
    {"subscribe", BEGIN "> SUBSCRIBE 1; < SUBACK 1 less"},
    {"subscribe", BEGIN "> SUBSCRIBE 1; < SUBACK 1 refused"},
    {"", BEGIN "full; > SUBSCRIBE 1; < SUBACK 1 refused"},
    {"", SURE "> UNSUBSCRIBE 1; < UNSUBACK 1"},
    /* who is let in, and who is thrown out */
    {"connect", "> CONNECT; < CONNACK new refused"},
    {"", "full; > CONNECT; < CONNACK new refused"},
    {"R6", BEGIN "< DISCONNECT"},
    {"", BEGIN "> DISCONNECT; < DISCONNECT"},
    /* a session that was forgotten: only when it was due */
    {"session", BEGIN "lost; > CONNECT; < CONNACK new"},
    {"session", BEGIN "lost; seconds 100; > CONNECT; < CONNACK new"}, /* what the client's clock says is no excuse */
    {"", BEGIN "lost; seconds 100; due; > CONNECT; < CONNACK new"},
    {"session", BEGIN "lost; due; > CONNECT; < CONNACK new; lost; > CONNECT; < CONNACK new"},
    {"", "> CONNECT; gone; < CONNACK new; lost; > CONNECT; < CONNACK new"}, /* it was late: its session is gone again */
    /* after that: flows that were given up do not come again, others begin anew */
    {"", BEGIN "> PUBLISH 1 m0; lost; due; > CONNECT; < CONNACK new; > PUBLISH 2 m0"},
    {"lost", BEGIN "> PUBLISH 1 m0; lost; due; > CONNECT; < CONNACK new; given-up; > PUBLISH 2 m0"},
    {"", BEGIN "> PUBLISH 1 m0; lost; due; > CONNECT; < CONNACK new; given-up; > PUBLISH 1 m1"},
    /* a clean start that nobody asked for: only when a CONNACK is missing and the expiry has passed by its own clock */
    {"clean", SURE "lost; > CONNECT clean"},
    {"clean", SURE "lost; seconds 41; > CONNECT clean"},      /* every CONNACK came */
    {"clean", SURE "lost; > CONNECT; lost; > CONNECT clean"}, /* it cannot have expired */
    {"", SURE "lost; > CONNECT; lost; seconds 40; > CONNECT clean"},
    {"clean", SURE "lost; > CONNECT; lost; seconds 39; > CONNECT clean"},
    {"", SURE "lost; seconds 41; > CONNECT; lost; back 30; > CONNECT clean"}, /* nor does it deny what it has said */
    {"clean", SURE "lost; seconds 39; > CONNECT; lost; back 30; > CONNECT clean"},
    {"clean", SURE "lost; seconds 41; > CONNECT; < CONNACK resumed; lost; > CONNECT; lost; > CONNECT clean"},
    /* a client that dies before its disk knows that the broker's was lost trusts what follows; later it knows */
    {"", SURE "lost; disk-lost; > CONNECT; < CONNACK new; killed; > CONNECT; < CONNACK new"},
    {"session", SURE "lost; disk-lost; > CONNECT; < CONNACK new; > SUBSCRIBE 4; killed; > CONNECT; < CONNACK new"},
    {"", SURE "lost; > CONNECT; lost; back 100; > CONNECT clean"}, /* a clock that was put back says nothing */
    {"clean", SURE "seconds 30; > PINGREQ; < PINGRESP; lost; > CONNECT; lost; seconds 30; > CONNECT clean"},
    {"", SURE "seconds 30; > PINGREQ; < PINGRESP; lost; > CONNECT; lost; seconds 40; > CONNECT clean"},
    {"", SURE "seconds 30; > PINGREQ; lost; > CONNECT; lost; seconds 10; > CONNECT clean"}, /* no PINGRESP */
    /* what a crash leaves of what it knew */
    {"clean", SURE "recorded; killed; seconds 29; > CONNECT clean"},
    {"clean", SURE "recorded; killed; > CONNECT; lost; seconds 29; > CONNECT clean"},
    {"", SURE "recorded; killed; > CONNECT; lost; seconds 30; > CONNECT clean"}, /* the record may be ten seconds old */
    {"", SURE "recorded; lost; > CONNECT; < CONNACK resumed; killed; seconds 40; > CONNECT clean"},
    {"clean", SURE "recorded; lost; > CONNECT; < CONNACK resumed; recorded; killed; seconds 40; > CONNECT clean"},
    /* it stays with its decision until a CONNACK has come */
    {"clean", SURE "lost; > CONNECT; lost; seconds 40; > CONNECT clean; lost; > CONNECT"},
    {"",
     SURE "lost; > CONNECT; lost; seconds 40; > CONNECT clean; lost; > CONNECT clean; < CONNACK new; lost; > CONNECT"},
    {"", SURE "lost; > CONNECT; lost; seconds 40; > CONNECT clean; < CONNACK new; lost; > CONNECT clean"},
    {"session", SURE "lost; > CONNECT; lost; seconds 40; > CONNECT clean; < CONNACK resumed"},
    {"clean", SURE "lost; > CONNECT; lost; seconds 40; > CONNECT clean; < CONNACK new; recorded; > SUBSCRIBE 4; "
                   "< SUBACK 4; lost; > CONNECT clean"},
};

static void each_rule_is_seen(void **state) {
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        char rule[24] = "";
        begin(&f);
        play(&f, rows[i].history);
        snprintf(rule, sizeof rule, "%.*s", (int)strcspn(f.w->failure, ":"), f.w->failure);
        if (strcmp(rule, rows[i].rule) != 0) {
            print_error("%s\n  says \"%s\", expected \"%s\"\n", rows[i].history, f.w->failure, rows[i].rule);
            wrong++;
        }
        end(&f);
    }
    assert_int_equal(wrong, 0);
}

/* A history that breaks a rule obeys it up to its last step: the rule is broken by that and by nothing before. */
static void each_rule_is_seen_where_it_is_broken(void **state) {
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *last = strrchr(rows[i].history, ';');
        if (rows[i].rule[0] == '\0' || last == NULL) {
            continue;
        }
        struct fixture f;
        char before[400];
        snprintf(before, sizeof before, "%.*s", (int)(last - rows[i].history), rows[i].history);
        begin(&f);
        play(&f, before);
        if (f.w->failed) {
            print_error("%s\n  says \"%s\" too early\n", before, f.w->failure);
            wrong++;
        }
        end(&f);
    }
    assert_int_equal(wrong, 0);
}

/* Nothing is judged any more of a message whose flow can have ended in two ways; of others all is. */
static void only_what_was_under_way_is_doubtful(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    play(&f, BEGIN "> PUBLISH 1 m0; < PUBREC 1; > PUBREL 1; < PUBCOMP 1; > PUBLISH 2 m1; lost; due");
    assert_false(f.w->oracle.messages[0].doubtful);
    assert_true(f.w->oracle.messages[1].doubtful);
    assert_false(f.w->oracle.messages[4].doubtful);
    end(&f);
}

/* What it waits for is said, and nothing else: the calm waits for that. */
static void what_is_unfinished_is_told(void **state) {
    (void)state;
    static const struct {
        const char *history, *says;
    } waits[] = {
        {SURE, ""},
        {SURE "> PUBLISH 1 m0", "c0 has not finished its publish of m0 (id 1)"},
        {SURE "> PUBLISH 1 m0; < PUBREC 1; > PUBREL 1; < PUBCOMP 1", ""},
        {SURE "< PUBLISH 1 m4", "c0 owes a PUBREC"},
        {BEGIN, "c0 has no answer about its subscription 0"},
    };
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        struct fixture f;
        char text[200] = "";
        begin(&f);
        f.p->app.wants[0] = true;
        play(&f, waits[i].history);
        assert_int_equal(spy_describe(f.w, f.p, text, sizeof text), waits[i].says[0] != '\0');
        assert_string_equal(text, waits[i].says);
        end(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_is_seen),
        cmocka_unit_test(each_rule_is_seen_where_it_is_broken),
        cmocka_unit_test(only_what_was_under_way_is_doubtful),
        cmocka_unit_test(what_is_unfinished_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
